//! A walk over a JPEG file's segments, which decides what is decoded.
//!
//! The decoders believe much: one takes missing data for zeros, another reads restart markers in
//! any order, both read profiles that are not needed. So they never see the file itself. The walk
//! reads the markers (ITU-T T.81, annex B), refuses by name what no decoder here gets right, and
//! writes the file anew: tables, frame, scans, and behind the data of each restart interval a row
//! of ones. No Huffman code of a JPEG consists of ones alone (T.81, C.2), so a decoder that wants
//! more data than there are meets an error there in place of a marker, and reports it.

use super::super::decoded::check_pixels;
use super::dc::FirstScan;
use super::layout::{Colour, Component, Frame, Layout, Process, Scan};
use super::{FORMAT, undecodable};
use crate::image_error::ImageError;

/// Stuffed bytes of ones behind the data of a restart interval. 48 bits are more than the longest
/// code with its value; with 56, jpeg-decoder would not find the marker behind them.
const ONES_BEFORE_RESTART: usize = 6;

/// The same behind a scan's data.
const ONES_BEHIND_SCAN: usize = 32;

/// The result of walking through a JPEG file.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    /// The file as the decoders get it.
    pub(super) clean: Vec<u8>,
    pub(super) layout: Layout,
    /// The EXIF block, from its TIFF header on.
    pub(super) exif: Option<&'a [u8]>,
}

/// Reads the whole file up to the end of its first image. Whatever follows (a second picture,
/// padding) does not matter.
///
/// # Errors
/// [`ImageError::TooManyPixels`], [`ImageError::Truncated`], [`ImageError::Undecodable`].
pub(super) fn walk(bytes: &[u8], max_pixels: u64) -> Result<Walked<'_>, ImageError> {
    let mut walk = Walk {
        bytes,
        at: 2, // behind the start-of-image marker
        max_pixels,
        clean: Vec::with_capacity(bytes.len() + 1024),
        exif: None,
        jfif: false,
        adobe: None,
        interval: 0,
        frame: None,
        layout: None,
        huffman: Vec::new(),
    };
    walk.clean.extend([0xff, 0xd8]);
    while walk.segment()? {}
    walk.clean.extend([0xff, 0xd9]);
    let Some(layout) = walk.layout else {
        return Err(undecodable("no scan before the end-of-image marker"));
    };
    layout.check_complete()?;
    Ok(Walked { clean: walk.clean, layout, exif: walk.exif })
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    max_pixels: u64,
    clean: Vec<u8>,
    exif: Option<&'a [u8]>,
    jfif: bool,
    /// The transform of an Adobe segment.
    adobe: Option<u8>,
    /// MCUs between restart markers; 0: there are none.
    interval: u64,
    /// The frame header until the first scan; then it is part of the layout.
    frame: Option<Frame>,
    layout: Option<Layout>,
    /// Segments of Huffman tables before the first scan.
    huffman: Vec<&'a [u8]>,
}

impl<'a> Walk<'a> {
    /// One segment, and for a scan its data; false at the end of the image.
    fn segment(&mut self) -> Result<bool, ImageError> {
        let marker = self.marker()?;
        if marker == 0xd9 {
            return Ok(false);
        }
        // Markers without a segment: TEM, stray restarts between segments, a second start.
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            return Ok(true);
        }
        if matches!(marker, 0x02..=0xbf | 0xf0..=0xfd) {
            return Err(undecodable(format!("unknown marker ff {marker:02x}")));
        }
        let from = self.at;
        let length = match self.bytes.get(from..from + 2) {
            Some(b) => usize::from(u16::from_be_bytes([b[0], b[1]])),
            None => return Err(truncated()),
        };
        if length < 2 {
            return Err(undecodable(format!("segment ff {marker:02x} of {length} bytes")));
        }
        let whole = self.bytes.get(from..from + length).ok_or_else(truncated)?;
        self.at += length;
        let body = &whole[2..];
        match marker {
            0xc4 | 0xdb => {
                // DHT, DQT
                self.copy(marker, whole);
                if marker == 0xc4 && self.layout.is_none() {
                    self.huffman.push(body);
                }
            }
            0xc0..=0xcf => self.frame_header(marker, body)?,
            0xdd => {
                let &[high, low] = body else {
                    return Err(undecodable("restart interval of another length than two bytes"));
                };
                self.interval = u64::from(u16::from_be_bytes([high, low]));
                self.copy(marker, whole);
            }
            0xda => self.scan(body)?,
            0xdc => return Err(undecodable("the height comes after the data (DNL marker)")),
            0xde | 0xdf => return Err(undecodable("hierarchical JPEG")),
            0xe0 => {
                self.jfif |= body.starts_with(b"JFIF\0");
                // Frames of motion JPEG leave out the Huffman tables; the decoders know them.
                if body.starts_with(b"AVI1") {
                    self.copy(marker, whole);
                }
            }
            0xe1 if self.exif.is_none() => self.exif = body.strip_prefix(b"Exif\0\0"),
            0xee if body.starts_with(b"Adobe") => self.adobe = body.get(11).copied(),
            // Profiles, thumbnails, comments: not needed.
            _ => {}
        }
        Ok(true)
    }

    /// The code of the next marker; `at` moves behind it. Bytes between two segments that
    /// belong to neither are skipped, as libjpeg does.
    fn marker(&mut self) -> Result<u8, ImageError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let found = memchr::memchr(0xff, rest).ok_or_else(truncated)?;
            self.at += found + 1;
            while let Some(&code) = self.bytes.get(self.at) {
                self.at += 1;
                match code {
                    0xff => {}     // a fill byte: the marker's code is still to come
                    0x00 => break, // not a marker
                    _ => return Ok(code),
                }
            }
        }
    }

    fn copy(&mut self, marker: u8, whole: &[u8]) {
        self.clean.extend([0xff, marker]);
        self.clean.extend_from_slice(whole);
    }

    fn frame_header(&mut self, marker: u8, body: &[u8]) -> Result<(), ImageError> {
        let process = Process::of(marker)?;
        if self.frame.is_some() || self.layout.is_some() {
            return Err(undecodable("two frame headers"));
        }
        let &[bits, h1, h0, w1, w0, count, ref rest @ ..] = body else {
            return Err(undecodable("frame header too short"));
        };
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if bits != 8 {
            return Err(undecodable(format!("{bits} bits a sample; only 8 are supported")));
        }
        if height == 0 && width > 0 {
            return Err(undecodable("the height comes after the data (DNL marker)"));
        }
        check_pixels(FORMAT, u32::from(width), u32::from(height), self.max_pixels)?;
        if !matches!(count, 1 | 3 | 4) || rest.len() != 3 * usize::from(count) {
            return Err(undecodable(format!("{count} components; expected 1, 3 or 4")));
        }
        let components =
            rest.chunks_exact(3).map(Component::read).collect::<Result<Vec<_>, _>>()?;
        self.frame = Some(Frame::new(process, width, height, components)?);
        Ok(())
    }

    fn scan(&mut self, header: &[u8]) -> Result<(), ImageError> {
        if self.layout.is_none() {
            let Some(frame) = self.frame.take() else {
                return Err(undecodable("a scan before the frame header"));
            };
            let colour = Colour::of(&frame, self.jfif, self.adobe);
            frame.write(colour, &mut self.clean);
            self.layout = Some(Layout::new(frame, colour));
        }
        let Some(layout) = &mut self.layout else {
            return Err(undecodable("a scan before the frame header"));
        };
        let scan = Scan::read(header, &layout.frame)?;
        // What is left of the file cannot hold the scan: said before anything is allocated for it.
        let (needed, left) = (layout.least_bits(&scan).div_ceil(8), self.bytes.len() - self.at);
        if needed > left as u64 {
            let what = format!(
                "{} x {} pixels need at least {needed} bytes of data, the file has {left} left",
                layout.frame.width, layout.frame.height
            );
            return Err(ImageError::Truncated { format: FORMAT, what });
        }
        layout.write_scan(&scan, header, &mut self.clean);
        let restarts = layout.restarts(&scan, self.interval);
        let mut first = match layout.frame.process {
            Process::Progressive if layout.scans.is_empty() && scan.first == 0 => {
                let (mcus, order) = layout.dc_order(&scan, header);
                Some(FirstScan::new(&self.huffman, &order, mcus, self.interval)?)
            }
            _ => None,
        };
        layout.scans.push(scan);
        let checked = first.is_some();
        self.entropy_coded(restarts, &mut |data| first.as_mut().is_none_or(|f| f.holds(data)))?;
        // zune-jpeg wants the marker directly behind the first scan of a progressive file.
        if !checked {
            ones(ONES_BEHIND_SCAN, &mut self.clean);
        }
        Ok(())
    }

    /// Copies a scan's data up to the marker behind them. Restart markers must be the expected
    /// ones, one after the other; one more at the very end does no harm and is left out. `whole`
    /// judges the data of each interval.
    fn entropy_coded(
        &mut self,
        restarts: u64,
        whole: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), ImageError> {
        let mut seen = 0;
        loop {
            let from = self.at;
            let marker = self.end_of_data()?;
            let data = &self.bytes[from..self.at];
            if seen <= restarts && !whole(data) {
                return Err(super::cut("first scan"));
            }
            self.clean.extend_from_slice(data);
            match marker {
                0xd0..=0xd7 if seen < restarts => {
                    let expected = 0xd0 + (seen % 8) as u8;
                    if marker != expected {
                        return Err(undecodable(format!(
                            "damaged: restart marker {} of {restarts} should be RST{}, found RST{}",
                            seen + 1,
                            expected - 0xd0,
                            marker - 0xd0
                        )));
                    }
                    ones(ONES_BEFORE_RESTART, &mut self.clean);
                    self.clean.extend([0xff, marker]);
                    seen += 1;
                    self.skip_marker();
                }
                0xd0..=0xd7 if seen == restarts && restarts > 0 => {
                    seen += 1;
                    self.skip_marker();
                }
                0xd0..=0xd7 => {
                    let what = format!("damaged: more restart markers than {restarts} in a scan");
                    return Err(undecodable(what));
                }
                _ if seen < restarts => {
                    return Err(ImageError::Truncated {
                        format: FORMAT,
                        what: format!("{seen} of {restarts} restart markers, then the scan ends"),
                    });
                }
                _ => return Ok(()),
            }
        }
    }

    /// Moves to the next marker of entropy-coded data and says its code.
    fn end_of_data(&mut self) -> Result<u8, ImageError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += memchr::memchr(0xff, rest).ok_or_else(truncated)?;
            let code = self.bytes[self.at..].iter().find(|&&b| b != 0xff).ok_or_else(truncated)?;
            match code {
                0x00 => self.at += 2, // a stuffed 0xff of the data
                &code => return Ok(code),
            }
        }
    }

    /// Steps over a marker with its fill bytes.
    fn skip_marker(&mut self) {
        while self.bytes.get(self.at) == Some(&0xff) {
            self.at += 1;
        }
        self.at += 1;
    }
}

fn ones(count: usize, out: &mut Vec<u8>) {
    for _ in 0..count {
        out.extend([0xff, 0x00]);
    }
}

fn truncated() -> ImageError {
    ImageError::Truncated {
        format: FORMAT,
        what: "the file ends before the end-of-image marker".to_owned(),
    }
}
