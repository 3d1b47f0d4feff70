//! `ocelli find`: photos like a photo, without a server.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;
use ocelli_index::Predicate;
use ocelli_index::container::write_atomically;
use ocelli_indexer::BoxError;
use ocelli_indexer::collection::{FindOptions, FindReport, find, find_page};

use super::child;
use crate::commands::check_out;
use crate::output::{OutputArgs, cell, counted, print};

const FIND_EXAMPLE: &str = "\
An image file, of the collection or not; a part of it; a photo of the collection by its key:
  ocelli find photos.index tower.jpg
  ocelli find photos.index tower.jpg --box 120,40,600,900
  ocelli find photos.index paris/tower.jpg -k 5 --html like-tower.html
A photo of the collection is not encoded again, and is none of its own hits.";

/// First bytes of a page.
const PAGE_START: &[u8; 14] = b"<!DOCTYPE html";

/// Flags of `find`.
#[derive(Args)]
#[command(after_help = FIND_EXAMPLE)]
pub struct FindArgs {
    /// Directory that `ocelli index` made
    #[arg(value_name = "DIR")]
    pub index: PathBuf,
    /// An image file, or the key of a photo of the index
    #[arg(value_name = "IMAGE|KEY")]
    pub query: PathBuf,
    /// Number of photos
    #[arg(short, default_value_t = 20, value_name = "N")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub k: usize,
    /// The part of the image to look for, in pixels of the stored image
    #[arg(long = "box", value_name = "X0,Y0,X1,Y1")]
    pub bounding_box: Option<PixelBox>,
    /// Only photos with such attributes: `width >= 640 and captured > 2019-05-01`
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<Predicate>,
    /// Print the attributes of each photo
    #[arg(long)]
    pub attributes: bool,
    /// Write a page with thumbnails of the photos
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where the network computes: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<OsString>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A box as `X0,Y0,X1,Y1`.
#[derive(Clone, Copy, Debug)]
pub struct PixelBox([f64; 4]);

impl FromStr for PixelBox {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x0, y0, x1, y1]) if x0 < x1 && y0 < y1 => Ok(PixelBox([x0, y0, x1, y1])),
            _ => Err("expected four numbers, X0,Y0,X1,Y1, with X0 < X1 and Y0 < Y1".to_owned()),
        }
    }
}

/// Searches, and prints what was found.
pub fn run(args: FindArgs) -> Result<()> {
    if let Some(html) = &args.html {
        check_out(html)?;
        check_page(html)?;
    }
    let encode = |words: &[OsString], progress: &dyn Fn(u64, u64)| -> Result<(), BoxError> {
        Ok(child::encode(words, None, progress)?)
    };
    let device = args.device.into_iter().flat_map(|device| ["--device".into(), device]);
    let options = FindOptions {
        k: args.k,
        bounding_box: args.bounding_box.map(|b| b.0),
        filter: args.filter,
        attributes: args.attributes,
        encoder_flags: device.collect(),
    };
    let report = find(&args.index, &args.query, &options, &encode)?;
    if let Some(html) = &args.html {
        write_atomically(html, find_page(&report).as_bytes())?;
    }
    print(args.output.format, &report, |report| text(report, args.html.as_deref()))
}

/// A page is written over a page, and over nothing else: not over a photo, say.
fn check_page(path: &Path) -> Result<()> {
    let mut start = [0; PAGE_START.len()];
    if !path.is_file() {
        return Ok(());
    }
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    match file.read(&mut start).with_context(|| format!("cannot read {}", path.display()))? {
        0 => Ok(()),
        _ if start.eq_ignore_ascii_case(PAGE_START) => Ok(()),
        _ => bail!(
            "{}: expected a page or no file, found another file: it is not written over",
            path.display()
        ),
    }
}

fn text(report: &FindReport, html: Option<&Path>) -> String {
    let wide = report.hits.iter().map(|hit| cell(&hit.key).chars().count()).max().unwrap_or(0);
    let wide = wide.clamp(3, 40);
    let mut text = format!("{:>4}  {:>9}  {:wide$}  file\n", "rank", "score", "key");
    for hit in &report.hits {
        let path = hit.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let (key, path) = (cell(&hit.key), cell(&path));
        let _ = writeln!(text, "{:>4}  {:>9.6}  {key:wide$}  {path}", hit.rank, hit.score);
        for (column, value) in hit.attributes.iter().flatten() {
            let _ = writeln!(text, "      {column} = {}", cell(&value.to_string()));
        }
    }
    let by = report.scores.in_words();
    let _ = writeln!(
        text,
        "{} of {}, by {by}; {:.2} s, {}",
        report.hits.len(),
        counted(report.photos, "photo"),
        report.seconds,
        match report.encode_seconds > 0.0 {
            true => format!("{:.2} s of it to encode the image", report.encode_seconds),
            false => "the query was encoded before".to_owned(),
        }
    );
    if let Some(note) = &report.note {
        let _ = writeln!(text, "{}", cell(note));
    }
    if let Some(html) = html {
        let _ = writeln!(text, "page: {}", html.display());
    }
    text
}
