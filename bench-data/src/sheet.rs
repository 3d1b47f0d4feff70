//! A contact sheet: queries, and what was found for each.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::listed::{self, Listed};
use crate::{letters, set, source};

/// Sides of the square in which a picture is shown, and of the frame and the gap around it, pixels.
const CELL: u32 = 168;
const FRAME: u32 = 5;
const GAP: u32 = 8;
/// Height of the line of letters below a picture, pixels.
const LINE: u32 = 18;
const PAGE: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [70, 70, 70];

/// What a sheet shows; arguments of `ocelli-bench-data sheet`.
#[derive(Clone, Debug, clap::Args)]
pub struct SheetOptions {
    /// Rankings, as `ocelli eval retrieval --rankings-out FILE.csv` writes them.
    #[arg(long, value_name = "FILE")]
    pub rankings: PathBuf,
    /// The photos that were ranked: a list file, or several.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub list: Vec<PathBuf>,
    /// The queries with their boxes: a list file.
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// Names of the queries to show, from top to bottom.
    #[arg(long, value_name = "NAME", required = true, num_args = 1..)]
    pub show: Vec<String>,
    /// Hits of each query.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub hits: usize,
}

/// Report of a sheet that was drawn.
#[derive(Clone, Debug, Serialize)]
pub struct SheetSummary {
    /// The PNG file.
    pub path: PathBuf,
    /// Queries on it.
    pub queries: u64,
    /// Hits on it.
    pub hits: u64,
}

/// A row of the rankings.
#[derive(Debug, Deserialize)]
struct Ranked {
    query: String,
    image: String,
    score: f64,
    judgement: String,
}

/// Draws a sheet and writes it to `out` as PNG: a row for each query, its photo (or the box that
/// asks) first, then its hits with their scores. A hit's frame is green if it is right, red if it
/// is wrong, and grey if it does not count.
///
/// # Errors
/// [`Error::Invalid`] for rankings or lists that cannot be understood, and for a query that they do
/// not have; [`Error::Io`] if the system refuses. A photo that cannot be decoded is drawn as an
/// empty frame.
pub fn write_sheet(out: &Path, options: &SheetOptions) -> Result<SheetSummary> {
    let mut photos: HashMap<String, Listed> = HashMap::new();
    for list in &options.list {
        photos.extend(listed::read(list)?.into_iter().map(|line| (line.key.clone(), line)));
    }
    let queries: HashMap<String, Listed> =
        listed::read(&options.queries)?.into_iter().map(|line| (line.key.clone(), line)).collect();
    let rankings = rankings(&options.rankings)?;
    let step = (CELL + 2 * FRAME + GAP, CELL + 2 * FRAME + LINE + GAP);
    let columns = options.hits as u32 + 1;
    let rows = options.show.len() as u32;
    // The queries stand apart from their hits.
    let mut sheet =
        RgbImage::from_pixel(GAP * 4 + columns * step.0, GAP + rows * step.1, Rgb(PAGE));
    let mut shown = 0;
    for (row, name) in (0u32..).zip(&options.show) {
        let unknown = |file: &Path| {
            Error::invalid(format!("{}: expected the query {name}, found none", file.display()))
        };
        let query = queries.get(name).ok_or_else(|| unknown(&options.queries))?;
        let hits = rankings.get(name).ok_or_else(|| unknown(&options.rankings))?;
        let top = GAP + row * step.1;
        draw(&mut sheet, [GAP, top], Some(query), [40, 90, 200], "QUERY");
        for (place, hit) in (1u32..).zip(hits.iter().take(options.hits)) {
            let frame = match hit.judgement.as_str() {
                "positive" => [40, 160, 70],
                "junk" => [170, 170, 170],
                _ => [210, 50, 40],
            };
            let text = format!("{place}  {:.3}", hit.score);
            let left = GAP * 3 + place * step.0;
            draw(&mut sheet, [left, top], photos.get(&hit.image), frame, &text);
            shown += 1;
        }
    }
    let mut png = Cursor::new(Vec::new());
    let name = out.display().to_string();
    sheet.write_to(&mut png, ImageFormat::Png).map_err(|cause| Error::Encode { name, cause })?;
    set::replace(out, png.get_ref())?;
    Ok(SheetSummary { path: out.to_owned(), queries: rows.into(), hits: shown })
}

/// The rankings by query, in the file's order.
fn rankings(file: &Path) -> Result<HashMap<String, Vec<Ranked>>> {
    let refuse = |error: csv::Error| Error::invalid(format!("{}: {error}", file.display()));
    let mut rankings: HashMap<String, Vec<Ranked>> = HashMap::new();
    for row in csv::Reader::from_path(file).map_err(refuse)?.into_deserialize() {
        let row: Ranked = row.map_err(refuse)?;
        rankings.entry(row.query.clone()).or_default().push(row);
    }
    Ok(rankings)
}

/// Draws one picture in its frame, with a line below it.
fn draw(sheet: &mut RgbImage, at: [u32; 2], photo: Option<&Listed>, frame: [u8; 3], text: &str) {
    let [left, top] = at.map(i64::from);
    let (side, inner) = (CELL + 2 * FRAME, i64::from(FRAME));
    letters::fill(sheet, [left, top], [side, side], frame);
    letters::fill(sheet, [left + inner, top + inner], [CELL, CELL], [236, 236, 236]);
    if let Some(photo) = photo.and_then(|photo| photo.read().ok()) {
        let small = source::fit(photo, CELL);
        let middle = |length: u32| inner + i64::from((CELL - length.min(CELL)) / 2);
        let (x, y) = (left + middle(small.width()), top + middle(small.height()));
        imageops::replace(sheet, &small, x, y);
    }
    letters::write(sheet, left + inner, top + i64::from(side) + 4, 2, text, INK);
}
