//! Answers timed coarse probes over standard input, one thread: our side of `./bench coarse`.
//!
//! Usage: `coarse CENTROIDS QUERIES MODEL METRIC [GROUPS]`. Makes a model of the centroids (a file
//! of vectors), writes it to MODEL (its groups are built then), opens it, and answers requests, one
//! line of JSON each. Where GROUPS is given there are so many groups, and else as many as Ocelli
//! chooses.
//!
//! - `single NPROBE EFFORT N`: N probes, one after the other, of a random sequence of the queries;
//!   `{"us": …}` per query. EFFORT is the number of groups looked at, or `default`
//! - `batch NPROBE`: all queries in one call; `{"us": …}` per query
//! - `exact NPROBE N`: as `single`, of a model without groups, which looks at all centroids
//! - `lists NPROBE EFFORT FILE`: writes the lists found as ivecs; EFFORT may also be `batch` or
//!   `exact`

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use ocelli_index::model::Query;
use ocelli_index::{DescriptorSpec, Metric, Model, ModelParts, VectorFile};

/// A failure of the worker.
type Error = Box<dyn std::error::Error>;

fn model_of(centroids: &Path, metric: &str) -> Result<Model, Error> {
    let file = VectorFile::open(centroids)?;
    let (dim, nlist) = (file.dim(), file.rows());
    let (m, ksub) = (1, 16);
    Ok(Model::from_parts(ModelParts {
        spec: DescriptorSpec::foreign("bench", u32::try_from(dim)?)?,
        metric: if metric == "ip" { Metric::InnerProduct } else { Metric::L2 },
        mean: None,
        rotation: None,
        renormalize: false,
        dim,
        d: dim,
        nlist,
        coarse: file.read(0..nlist)?.into(),
        m,
        ksub,
        // Probing does not look at codes.
        codebooks: vec![0.0; ksub * dim],
        training: BTreeMap::new(),
    })?)
}

fn main() -> Result<(), Error> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [centroids, queries, path, metric, groups @ ..] = args.as_slice() else {
        return Err("usage: coarse CENTROIDS QUERIES MODEL METRIC [GROUPS]".into());
    };
    let path = Path::new(path);
    let all = model_of(Path::new(centroids), metric)?;
    let start = Instant::now();
    let mut grouped = model_of(Path::new(centroids), metric)?;
    grouped.group_centroids(groups.first().map(|g| g.parse()).transpose()?);
    let build_s = start.elapsed().as_secs_f64();
    grouped.write(path)?;
    drop(grouped);
    // Several times: the first pays for the page cache.
    let mut open_ms: Vec<f64> = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        drop(Model::open(path)?);
        open_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    open_ms.sort_by(f64::total_cmp);
    let model = Model::open(path)?;
    let file = VectorFile::open(Path::new(queries))?;
    let dim = file.dim();
    let x = file.read(0..file.rows())?;
    let prepared: Result<Vec<Query>, _> = x.chunks_exact(dim).map(|x| model.prepare(x)).collect();
    let prepared = prepared?;
    // A step that has no divisor in common with most sizes: no neighbours in turn.
    let sequence = |n: usize| (0..n).map(|i| &prepared[(i * 7919 + 13) % prepared.len()]);
    println!(
        "{{\"nlist\": {}, \"groups\": {}, \"build_s\": {build_s:.2}, \"open_ms\": {:.2}, \"file_bytes\": {}, \"simd\": \"{}\"}}",
        model.parts().nlist,
        model.groups().unwrap_or(0),
        open_ms[2],
        std::fs::metadata(path)?.len(),
        ocelli_index::simd().level()
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |i: usize| words.get(i).copied().ok_or("a word is missing");
        let nprobe: usize = word(1)?.parse()?;
        let probe = |query: &Query, effort: &str| -> Result<Vec<(u32, f32)>, Error> {
            Ok(match effort {
                "default" => model.probe(query, nprobe),
                "exact" => all.probe(query, nprobe),
                groups => model.probe_groups(query, nprobe, groups.parse()?),
            })
        };
        match word(0)? {
            request @ ("single" | "exact") => {
                let (effort, n) =
                    if request == "exact" { ("exact", word(2)?) } else { (word(2)?, word(3)?) };
                let n: usize = n.parse()?;
                let start = Instant::now();
                let mut found = 0;
                for query in sequence(n) {
                    found += probe(query, effort)?.len();
                }
                let us = start.elapsed().as_secs_f64() * 1e6 / n as f64;
                println!("{{\"us\": {us:.2}, \"found\": {found}}}");
            }
            "batch" => {
                let start = Instant::now();
                let found = model.probe_batch(&prepared, nprobe).len();
                let us = start.elapsed().as_secs_f64() * 1e6 / prepared.len() as f64;
                println!("{{\"us\": {us:.2}, \"found\": {found}}}");
            }
            "lists" => {
                let mut out = std::io::BufWriter::new(std::fs::File::create(word(3)?)?);
                let batch = word(2)? == "batch";
                let together =
                    if batch { model.probe_batch(&prepared, nprobe) } else { Vec::new() };
                for (i, query) in prepared.iter().enumerate() {
                    let lists = if batch { together[i].clone() } else { probe(query, word(2)?)? };
                    out.write_all(&(lists.len() as i32).to_le_bytes())?;
                    for (list, _) in lists {
                        out.write_all(&(list as i32).to_le_bytes())?;
                    }
                }
                out.flush()?;
                println!("{{}}");
            }
            other => return Err(format!("unknown request {other:?}").into()),
        }
    }
    Ok(())
}
