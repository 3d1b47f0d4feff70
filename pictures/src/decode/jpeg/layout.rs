//! The layout of a JPEG file by its headers: frame, components, scans. It decides which decoder is
//! right, and whether the scans are complete.

use super::{FORMAT, undecodable};
use crate::image_error::ImageError;

/// Coding processes that are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    /// Baseline and extended sequential, Huffman coded.
    Sequential,
    /// Progressive, Huffman coded.
    Progressive,
}

/// The colour space of the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

/// A component of the frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    id: u8,
    /// Horizontal and vertical sampling factors, 1 to 4.
    h: u64,
    v: u64,
    table: u8,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) process: Process,
    pub(super) width: u64,
    pub(super) height: u64,
    pub(super) components: Vec<Component>,
    /// Largest factors of the frame.
    h_max: u64,
    v_max: u64,
}

#[derive(Debug)]
pub(super) struct Scan {
    /// Indices into the frame's components.
    components: Vec<usize>,
    /// Coefficients from `first` to `last`, in zigzag order.
    pub(super) first: usize,
    last: usize,
    /// Low bits that earlier scans left out of the coefficients (0 if there was none), and that
    /// this scan leaves out.
    high: u8,
    low: u8,
}

/// Frame and scans.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) frame: Frame,
    pub(super) colour: Colour,
    pub(super) scans: Vec<Scan>,
}

/// The crate that decodes a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// zune-jpeg: fast, right where all components come in the first scan and none is finer than
    /// the first one.
    Zune,
    /// jpeg-decoder: five times slower, right for nearly every layout.
    JpegDecoder,
}

impl Process {
    pub(super) fn of(marker: u8) -> Result<Process, ImageError> {
        let name = match marker {
            0xc0 | 0xc1 => return Ok(Process::Sequential),
            0xc2 => return Ok(Process::Progressive),
            0xc3 => "lossless JPEG",
            0xc5..=0xc7 | 0xcd..=0xcf => "hierarchical JPEG",
            0xc9 | 0xca | 0xcc => "arithmetic coding",
            0xcb => "lossless JPEG with arithmetic coding",
            _ => "an unknown coding process",
        };
        Err(undecodable(format!("{name} is not supported")))
    }
}

impl Colour {
    /// As libjpeg decides: JFIF is YCbCr; then the Adobe segment; then the components' ids.
    pub(super) fn of(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Colour {
        let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
        match (ids.len(), adobe) {
            (1, _) => Colour::Grey,
            (3, Some(0)) if !jfif => Colour::Rgb,
            (3, None) if !jfif && ids == *b"RGB" => Colour::Rgb,
            (3, _) => Colour::YCbCr,
            (_, None | Some(0)) => Colour::Cmyk,
            _ => Colour::Ycck,
        }
    }

    /// The component ids by which both decoders recognise this colour.
    fn id(self, index: usize) -> u8 {
        match self {
            Colour::Rgb => b"RGB"[index],
            _ => index as u8 + 1,
        }
    }
}

impl Component {
    pub(super) fn read(bytes: &[u8]) -> Result<Component, ImageError> {
        let &[id, factors, table] = bytes else {
            return Err(undecodable("frame header too short"));
        };
        let (h, v) = (u64::from(factors >> 4), u64::from(factors & 15));
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) || table > 3 {
            return Err(undecodable(format!(
                "component {id}: sampling {h}x{v}, table {table}; expected 1 to 4 and 0 to 3"
            )));
        }
        Ok(Component { id, h, v, table })
    }
}

impl Frame {
    pub(super) fn new(
        process: Process,
        width: u16,
        height: u16,
        mut components: Vec<Component>,
    ) -> Result<Frame, ImageError> {
        for (i, c) in components.iter().enumerate() {
            if components[..i].iter().any(|other| other.id == c.id) {
                return Err(undecodable(format!("two components with the id {}", c.id)));
            }
        }
        // The factors of a single component mean nothing: its blocks lie row by row.
        if let [only] = components.as_mut_slice() {
            (only.h, only.v) = (1, 1);
        }
        let h_max = components.iter().map(|c| c.h).max().unwrap_or(1);
        let v_max = components.iter().map(|c| c.v).max().unwrap_or(1);
        let frame = Frame {
            process,
            width: u64::from(width),
            height: u64::from(height),
            components,
            h_max,
            v_max,
        };
        if frame.components.iter().any(|c| h_max % c.h != 0 || v_max % c.v != 0) {
            let what = format!("sampling {} is no whole ratio; not supported", frame.sampling());
            return Err(undecodable(what));
        }
        Ok(frame)
    }

    /// The factors as cjpeg's -sample takes them: "2x2,1x1,1x1".
    fn sampling(&self) -> String {
        let factors: Vec<String> =
            self.components.iter().map(|c| format!("{}x{}", c.h, c.v)).collect();
        factors.join(",")
    }

    /// Columns and rows of MCUs in a scan of several components.
    fn mcus(&self) -> (u64, u64) {
        (self.width.div_ceil(8 * self.h_max), self.height.div_ceil(8 * self.v_max))
    }

    /// Columns and rows of blocks in a scan of this component alone.
    fn own_blocks(&self, c: &Component) -> (u64, u64) {
        let blocks = |px: u64, factor: u64, max: u64| (px * factor).div_ceil(max).div_ceil(8);
        (blocks(self.width, c.h, self.h_max), blocks(self.height, c.v, self.v_max))
    }

    /// Whether jpeg-decoder counts the blocks of a scan of this component alone as the standard
    /// does.
    fn jpeg_decoder_counts(&self, c: &Component) -> bool {
        let (columns, rows) = self.mcus();
        let counted = (
            (columns * c.h).min(self.width.div_ceil(8)),
            (rows * c.v).min(self.height.div_ceil(8)),
        );
        counted == self.own_blocks(c)
    }

    /// Writes the frame header, with ids that say the colour.
    pub(super) fn write(&self, colour: Colour, out: &mut Vec<u8>) {
        if colour == Colour::Ycck {
            out.extend(b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\x02");
        }
        let marker = if self.process == Process::Progressive { 0xc2 } else { 0xc1 };
        let length = 8 + 3 * self.components.len() as u16;
        out.extend([0xff, marker]);
        out.extend(length.to_be_bytes());
        out.push(8);
        // Both came from 16 bits.
        out.extend((self.height as u16).to_be_bytes());
        out.extend((self.width as u16).to_be_bytes());
        out.push(self.components.len() as u8);
        for (i, c) in self.components.iter().enumerate() {
            out.extend([colour.id(i), (c.h << 4 | c.v) as u8, c.table]);
        }
    }
}

impl Scan {
    pub(super) fn read(header: &[u8], frame: &Frame) -> Result<Scan, ImageError> {
        let malformed = || undecodable("malformed scan header");
        let (&count, rest) = header.split_first().ok_or_else(malformed)?;
        let count = usize::from(count);
        if count == 0 || rest.len() != 2 * count + 3 {
            return Err(malformed());
        }
        let mut components = Vec::with_capacity(count);
        for pair in rest[..2 * count].chunks_exact(2) {
            let found = frame.components.iter().position(|c| c.id == pair[0]);
            let index = found.ok_or_else(malformed)?;
            if components.contains(&index) || pair[1] & 0xcc != 0 {
                return Err(malformed());
            }
            components.push(index);
        }
        let (first, last) = (usize::from(rest[2 * count]), usize::from(rest[2 * count + 1]));
        let (high, low) = (rest[2 * count + 2] >> 4, rest[2 * count + 2] & 15);
        if frame.process == Process::Sequential {
            // These fields have one right value; some writers leave zeros.
            return Ok(Scan { components, first: 0, last: 63, high: 0, low: 0 });
        }
        let dc_alone = first == 0 && last == 0;
        let ac_of_one = first > 0 && last >= first && last < 64 && count == 1;
        if !(dc_alone || ac_of_one) || low > 13 || high > 13 || (high > 0 && high != low + 1) {
            return Err(malformed());
        }
        Ok(Scan { components, first, last, high, low })
    }
}

impl Layout {
    pub(super) fn new(frame: Frame, colour: Colour) -> Layout {
        Layout { frame, colour, scans: Vec::new() }
    }

    /// MCUs of a scan, and the blocks in all of them.
    fn counts(&self, scan: &Scan) -> (u64, u64) {
        if let &[only] = scan.components.as_slice() {
            let (columns, rows) = self.frame.own_blocks(&self.frame.components[only]);
            return (columns * rows, columns * rows);
        }
        let (columns, rows) = self.frame.mcus();
        let each: u64 =
            scan.components.iter().map(|&i| &self.frame.components[i]).map(|c| c.h * c.v).sum();
        (columns * rows, columns * rows * each)
    }

    /// MCUs of a scan, and for each block of one the number of its DC table.
    pub(super) fn dc_order(&self, scan: &Scan, header: &[u8]) -> (u64, Vec<usize>) {
        let alone = scan.components.len() == 1;
        let pairs = scan.components.iter().zip(header[1..].chunks_exact(2));
        let order = pairs.flat_map(|(&index, pair)| {
            let c = &self.frame.components[index];
            let blocks = if alone { 1 } else { c.h * c.v };
            (0..blocks).map(|_| usize::from(pair[1] >> 4))
        });
        (self.counts(scan).0, order.collect())
    }

    /// Restart markers that a scan must have.
    pub(super) fn restarts(&self, scan: &Scan, interval: u64) -> u64 {
        match interval {
            0 => 0,
            _ => self.counts(scan).0.div_ceil(interval) - 1,
        }
    }

    /// The fewest bits that a scan can have: a code for each DC coefficient, one for the rest of a
    /// sequential block; a run of 32,767 blocks without AC coefficients may be one code.
    pub(super) fn least_bits(&self, scan: &Scan) -> u64 {
        let blocks = self.counts(scan).1;
        match (self.frame.process, scan.first) {
            (Process::Sequential, _) => 2 * blocks,
            (Process::Progressive, 0) => blocks,
            (Process::Progressive, _) => blocks / 32_767,
        }
    }

    /// Writes a scan header with the ids that [`Frame::write`] gave.
    pub(super) fn write_scan(&self, scan: &Scan, header: &[u8], out: &mut Vec<u8>) {
        out.extend([0xff, 0xda]);
        out.extend((header.len() as u16 + 2).to_be_bytes());
        out.push(scan.components.len() as u8);
        for (&index, pair) in scan.components.iter().zip(header[1..].chunks_exact(2)) {
            out.extend([self.colour.id(index), pair[1]]);
        }
        out.extend([scan.first as u8, scan.last as u8, scan.high << 4 | scan.low]);
    }

    /// Whether the scans give every coefficient of every component, once and in full: a file that
    /// was cut between two scans has an end, and half of its detail.
    ///
    /// # Errors
    /// [`ImageError::Truncated`], [`ImageError::Undecodable`].
    pub(super) fn check_complete(&self) -> Result<(), ImageError> {
        let mut missing = vec![[None::<u8>; 64]; self.frame.components.len()];
        for scan in &self.scans {
            for &index in &scan.components {
                for bits in &mut missing[index][scan.first..=scan.last] {
                    let expected = match scan.high {
                        0 => None,
                        high => Some(high),
                    };
                    if *bits != expected {
                        let what =
                            "scans in an order that makes no sense: a coefficient comes twice";
                        return Err(undecodable(what));
                    }
                    *bits = Some(scan.low);
                }
            }
        }
        match missing.iter().position(|all| all.iter().any(|&bits| bits != Some(0))) {
            None => Ok(()),
            Some(index) => Err(ImageError::Truncated {
                format: FORMAT,
                what: format!(
                    "{} scans do not give component {} in full",
                    self.scans.len(),
                    self.frame.components[index].id
                ),
            }),
        }
    }

    /// The decoder that is right for this layout; found by trying all of them
    /// (`src/tests/layouts.rs`).
    ///
    /// # Errors
    /// [`ImageError::Undecodable`] if neither is right.
    pub(super) fn decoder(&self) -> Result<Decoder, ImageError> {
        let frame = &self.frame;
        let together =
            self.scans.first().is_some_and(|s| s.components.len() == frame.components.len());
        let first = frame.components[0];
        let coarser = (first.h, first.v) == (frame.h_max, frame.v_max);
        // zune-jpeg wants horizontal factors that are powers of two.
        if together && coarser && frame.components.iter().all(|c| c.h != 3) {
            return Ok(Decoder::Zune);
        }
        let alone = |scan: &&Scan| scan.components.len() == 1;
        let miscounted = self.scans.iter().filter(alone).find_map(|scan| {
            let component = &frame.components[scan.components[0]];
            (!frame.jpeg_decoder_counts(component)).then_some(component.id)
        });
        match miscounted {
            None => Ok(Decoder::JpegDecoder),
            Some(id) => Err(undecodable(format!(
                "component {id} alone in a scan, with sampling {} and {} x {} pixels: not \
                 supported",
                frame.sampling(),
                frame.width,
                frame.height
            ))),
        }
    }
}
