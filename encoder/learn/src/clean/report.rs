//! A page with pictures: of each class the photos that stay, with their boxes, and those that do
//! not, with the reason.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::metadata::Orientation;
use image::{Rgb, RgbImage};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ocelli_index::Error as IndexError;
use ocelli_index::container::AtomicFile;
use ocelli_pictures::{Decoded, PixelBox, Resizer, thumbnail};
use ocelli_text::{MAX_CHARS, counted, printable};

use crate::clean::class::{decoded, in_picture, picture};
use crate::clean::parallel;
use crate::clean::record::{Photo, Record, Seen};
use crate::clean::source::Class;
use crate::clean::summary::Summary;
use crate::clean::verdict::{Fate, Verdict};
use crate::error::Result;

/// Longest side of a picture of the page in pixels.
const PICTURE_PX: u32 = 160;

/// The colour of boxes.
const BOX: Rgb<u8> = Rgb([255, 40, 200]);

const STYLE: &str = include_str!("style.css");

/// Policy of a page that loads the pictures and the style in it, and nothing else.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// Settings of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportOptions {
    /// The file.
    pub path: PathBuf,
    /// Classes on the page, at most: the first by name.
    pub classes: usize,
    /// Photos of a class that stay, and as many that do not, at most: the first of the list.
    pub photos: usize,
    /// Threads that make pictures.
    pub threads: usize,
}

/// A page that is being written. It gets its name when it is complete.
pub struct Page {
    file: AtomicFile,
    options: ReportOptions,
    shown: usize,
}

/// A photo on the page.
struct Shown<'a> {
    fate: &'a Fate,
    jpeg: std::result::Result<Vec<u8>, String>,
    name: String,
}

impl Page {
    /// Begins the page of a list.
    ///
    /// # Errors
    /// `Index` for a file that cannot be written.
    pub fn begin(list: &Path, options: ReportOptions) -> Result<Page> {
        let title = format!("Cleaned: {}", printable(&list.display().to_string(), MAX_CHARS));
        let markup = html! {
            (DOCTYPE)
            (PreEscaped("<html lang=\"en\">"))
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            (PreEscaped("<body>"))
            h1 { (title) }
        };
        let file = AtomicFile::create(&options.path)?;
        let mut page = Page { file, options, shown: 0 };
        page.put(&markup.into_string())?;
        Ok(page)
    }

    /// Adds a class, unless the page is full.
    ///
    /// # Errors
    /// `Index` for a file that cannot be written.
    pub fn add(&mut self, class: &Class<'_>, record: &Record, verdict: &Verdict) -> Result<()> {
        if self.shown >= self.options.classes {
            return Ok(());
        }
        self.shown += 1;
        let all: Vec<usize> = (0..verdict.fates.len()).collect();
        let is_kept = |at: &usize| matches!(verdict.fates.get(*at), Some(Fate::Kept { .. }));
        let (kept, out): (Vec<usize>, Vec<usize>) = all.into_iter().partition(is_kept);
        let pairs = (record.pairs.len(), record.compared);
        let markup = html! {
            h2 {
                (printable(class.name, MAX_CHARS)) " "
                span.soft {
                    (kept.len()) " of " (counted(verdict.fates.len() as u64, "photo")) " stay, "
                    (pairs.0) " of " (counted(pairs.1 as u64, "pair")) " verified"
                }
            }
            (self.photos(&kept, class, record, verdict))
            (self.photos(&out, class, record, verdict))
        };
        self.put(&markup.into_string())
    }

    /// The pictures of some photos of a class.
    fn photos(
        &self,
        chosen: &[usize],
        class: &Class<'_>,
        record: &Record,
        verdict: &Verdict,
    ) -> Markup {
        let shown = chosen.get(..chosen.len().min(self.options.photos)).unwrap_or_default();
        let made = parallel::map(shown.len(), self.options.threads, |nth| {
            let at = *shown.get(nth)?;
            let (fate, photo) = (verdict.fates.get(at)?, record.photos.get(at)?);
            let entry = class.entries.get(at)?;
            let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
            let jpeg = match photo {
                Photo::Unreadable(reason) => Err(reason.clone()),
                Photo::Seen(seen) => decoded(entry).and_then(|(photo, _)| {
                    let upright = picture(&photo, PICTURE_PX)?;
                    let small = [upright.width(), upright.height()];
                    let seen = Seen { picture: small, ..seen.clone() };
                    let drawn = match fate {
                        Fate::Kept { bbox: Some(PixelBox { x0, y0, x1, y1 }) } => {
                            framed(upright, in_picture([*x0, *y0, *x1, *y1], &seen))
                        }
                        _ => upright,
                    };
                    jpeg(drawn)
                }),
            };
            Some(Shown { fate, jpeg, name: printable(&name, MAX_CHARS).into_owned() })
        });
        let hidden = (chosen.len() - shown.len()) as u64;
        html! {
            div.photos { @for shown in made.iter().flatten() { (figure(shown)) } }
            @if hidden > 0 { p.soft { "and " (counted(hidden, "photo")) " more" } }
        }
    }

    /// Ends the page with the numbers, and gives it its name.
    ///
    /// # Errors
    /// `Index` for a file that cannot be written.
    pub fn end(mut self, summary: &Summary) -> Result<()> {
        let hidden = summary.classes.saturating_sub(self.shown);
        let markup = html! {
            @if hidden > 0 { p.soft { "Classes that are not on this page: " (hidden) } }
            h2 { "In numbers" }
            pre { (ocelli_text::report(&summary.to_string())) }
            (PreEscaped("</body></html>\n"))
        };
        self.put(&markup.into_string())?;
        self.file.publish()?;
        Ok(())
    }

    fn put(&mut self, text: &str) -> Result<()> {
        let path = &self.options.path;
        let written = self.file.write_all(text.as_bytes());
        Ok(written.map_err(|e| IndexError::io(path, "write", e))?)
    }
}

fn figure(shown: &Shown<'_>) -> Markup {
    let (stays, told) = match shown.fate {
        Fate::Kept { bbox: Some(_) } => (true, String::new()),
        Fate::Kept { bbox: None } => (true, "whole".to_owned()),
        Fate::Alone => (false, "no verified pair".to_owned()),
        Fate::OtherComponent { photos } => {
            (false, format!("in a component of {}", counted(*photos as u64, "photo")))
        }
        Fate::Unreadable(_) => (false, "cannot be read".to_owned()),
    };
    html! {
        figure class=(if stays { "in" } else { "out" }) {
            @match &shown.jpeg {
                Ok(jpeg) => {
                    img alt="" src=(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)));
                }
                Err(reason) => { p.soft { (printable(reason, MAX_CHARS)) } }
            }
            figcaption { (shown.name) " " span.soft { (told) } }
        }
    }
}

/// The picture with a frame of two pixels along the edges.
fn framed(mut picture: RgbImage, edges: [f64; 4]) -> RgbImage {
    let (width, height) = picture.dimensions();
    let within = |edge: f64, length: u32| (edge.round().max(0.0) as u32).min(length);
    let [x0, y0, x1, y1] = edges;
    let (left, right) = (within(x0, width), within(x1, width));
    let (top, bottom) = (within(y0, height), within(y1, height));
    for y in top..bottom {
        for x in left..right {
            let deep = x >= left + 2 && y >= top + 2 && x + 2 < right && y + 2 < bottom;
            if !deep && let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
                *pixel = BOX;
            }
        }
    }
    picture
}

/// The file of a small picture.
fn jpeg(picture: RgbImage) -> std::result::Result<Vec<u8>, String> {
    let orientation = Orientation::NoTransforms;
    let photo = Decoded { pixels: picture, orientation, captured: None };
    thumbnail::jpeg(&photo, PICTURE_PX, &mut Resizer::new()).map_err(|e| e.to_string())
}
