//! Compares pairs of photos: `./bench copies` runs it.
//!
//! Reads lines of two paths with a tab between them from standard input. Writes a line of JSON for
//! each: the verdict and the numbers behind it, and the microseconds that the comparison took. Each
//! photo is decoded once. A line of one path gives the perceptual hash of the photo. The last line
//! has the means over all.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use ocelli_pictures::agree::{Agreement, Sketch, Verdict, agree};
use ocelli_pictures::limits::DEFAULT_MAX_PIXELS;
use ocelli_pictures::{Fingerprint, Resizer, decode};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

fn sketch(path: &str, resizer: &mut Resizer) -> Result<(Sketch, f64), Failure> {
    let photo = decode(&std::fs::read(path)?, DEFAULT_MAX_PIXELS)?;
    let start = Instant::now();
    let sketch = Sketch::of(&photo, resizer)?;
    Ok((sketch, micros(start)))
}

fn phash(path: &str) -> Result<String, Failure> {
    let photo = decode(&std::fs::read(path)?, DEFAULT_MAX_PIXELS)?;
    Ok(Fingerprint::of(&photo).phash.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

fn line(found: &Agreement, took: f64) -> serde_json::Value {
    json!({
        "verdict": match found.verdict {
            Verdict::Copy => "copy",
            Verdict::Other => "other",
            Verdict::NoEvidence => "no-evidence",
        },
        "score": found.score(),
        "share": found.share,
        "correlation": found.correlation,
        "covers": found.covers,
        "blocks": found.blocks,
        "scale": found.scale,
        "blur": found.blur,
        "framed": found.framed,
        "micros": took,
    })
}

fn main() -> Result<(), Failure> {
    let mut sketches: HashMap<String, Sketch> = HashMap::new();
    let mut resizer = Resizer::new();
    let (mut making, mut comparing, mut bytes, mut pairs) = (0.0, 0.0, 0usize, 0usize);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for pair in std::io::stdin().lock().lines() {
        let pair = pair?;
        let Some((a, b)) = pair.split_once('\t') else {
            let phash = phash(&pair).map_err(|error| format!("{pair}: {error}"))?;
            writeln!(out, "{}", json!({ "phash": phash }))?;
            continue;
        };
        for path in [a, b] {
            if !sketches.contains_key(path) {
                let (made, took) =
                    sketch(path, &mut resizer).map_err(|error| format!("{path}: {error}"))?;
                (making, bytes) = (making + took, bytes + made.bytes());
                sketches.insert(path.to_owned(), made);
            }
        }
        let start = Instant::now();
        let found = agree(&sketches[a], &sketches[b]);
        let took = micros(start);
        (comparing, pairs) = (comparing + took, pairs + 1);
        writeln!(out, "{}", line(&found, took))?;
    }
    let photos = sketches.len().max(1) as f64;
    let means = json!({
        "pairs": pairs,
        "photos": sketches.len(),
        "sketch_micros": making / photos,
        "sketch_bytes": bytes as f64 / photos,
        "pair_micros": comparing / pairs.max(1) as f64,
    });
    writeln!(out, "{means}")?;
    Ok(())
}
