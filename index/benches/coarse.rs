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
/// Lists, best first, each with the part of the score that its centroid decides.
type Lists = Vec<(u32, f32)>;

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

/// A model whose centroids are in groups, the same one without groups, and queries.
struct Bench {
    grouped: Model,
    exact: Model,
    queries: Vec<Query>,
}

fn main() -> Result<(), Error> {
    // `cargo bench` adds a flag of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [centroids, queries, path, metric, groups @ ..] = args.as_slice() else {
        return Err("usage: coarse CENTROIDS QUERIES MODEL METRIC [GROUPS]".into());
    };
    let (centroids, path) = (Path::new(centroids), Path::new(path));
    let exact = model_of(centroids, metric)?;
    let start = Instant::now();
    let mut grouped = model_of(centroids, metric)?;
    grouped.group_centroids(groups.first().map(|g| g.parse()).transpose()?);
    let build_s = start.elapsed().as_secs_f64();
    grouped.write(path)?;
    drop(grouped);
    let open_ms = open_ms(path)?;
    let grouped = Model::open(path)?;
    println!(
        "{{\"nlist\": {}, \"groups\": {}, \"build_s\": {build_s:.2}, \"open_ms\": {open_ms:.2}, \
         \"file_bytes\": {}, \"simd\": \"{}\"}}",
        grouped.parts().nlist,
        grouped.groups().unwrap_or(0),
        std::fs::metadata(path)?.len(),
        ocelli_index::simd().level()
    );
    let file = VectorFile::open(Path::new(queries))?;
    let x = file.read(0..file.rows())?;
    let queries = x.chunks_exact(file.dim()).map(|x| grouped.prepare(x)).collect::<Result<_, _>>();
    let bench = Bench { queries: queries?, grouped, exact };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |i: usize| words.get(i).copied().ok_or("a word is missing");
        let nprobe: usize = word(1)?.parse()?;
        match word(0)? {
            "single" => bench.single(nprobe, word(2)?, word(3)?.parse()?)?,
            "exact" => bench.single(nprobe, "exact", word(2)?.parse()?)?,
            "batch" => bench.batch(nprobe),
            "lists" => bench.lists(nprobe, word(2)?, Path::new(word(3)?))?,
            other => return Err(format!("unknown request {other:?}").into()),
        }
    }
    Ok(())
}

/// Milliseconds to open the model: the median of several, since the first pays for the page cache.
fn open_ms(path: &Path) -> Result<f64, Error> {
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        drop(Model::open(path)?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[2])
}

impl Bench {
    /// The lists of one query; `effort` is `default`, `exact` or a number of groups.
    fn probe(&self, query: &Query, nprobe: usize, effort: &str) -> Result<Lists, Error> {
        Ok(match effort {
            "default" => self.grouped.probe(query, nprobe),
            "exact" => self.exact.probe(query, nprobe),
            groups => self.grouped.probe_groups(query, nprobe, groups.parse()?),
        })
    }

    fn single(&self, nprobe: usize, effort: &str, n: usize) -> Result<(), Error> {
        let start = Instant::now();
        let mut found = 0;
        for i in 0..n {
            // A step that has no divisor in common with most sizes: no neighbours in turn.
            let query = &self.queries[(i * 7919 + 13) % self.queries.len()];
            found += self.probe(query, nprobe, effort)?.len();
        }
        let us = start.elapsed().as_secs_f64() * 1e6 / n as f64;
        println!("{{\"us\": {us:.2}, \"found\": {found}}}");
        Ok(())
    }

    fn batch(&self, nprobe: usize) {
        let start = Instant::now();
        let found = self.grouped.probe_batch(&self.queries, nprobe).len();
        let us = start.elapsed().as_secs_f64() * 1e6 / self.queries.len() as f64;
        println!("{{\"us\": {us:.2}, \"found\": {found}}}");
    }

    fn lists(&self, nprobe: usize, effort: &str, path: &Path) -> Result<(), Error> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
        let all: Vec<Lists> = match effort {
            "batch" => self.grouped.probe_batch(&self.queries, nprobe),
            _ => {
                let probe = |query| self.probe(query, nprobe, effort);
                self.queries.iter().map(probe).collect::<Result<_, _>>()?
            }
        };
        for lists in all {
            out.write_all(&(lists.len() as i32).to_le_bytes())?;
            for (list, _) in lists {
                out.write_all(&(list as i32).to_le_bytes())?;
            }
        }
        out.flush()?;
        println!("{{}}");
        Ok(())
    }
}
