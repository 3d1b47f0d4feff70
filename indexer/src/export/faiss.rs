//! An index as a file that FAISS reads, with the same codes and ids.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::container::AtomicFile;
use ocelli_index::{Metric, ModelParts, Shard, Snapshot};
use ocelli_vector::dense;
use serde::Serialize;

use crate::{Error, Progress, ProgressFn, Result};

/// Memory that an export takes, whatever its rows, if no list is long.
pub const FAISS_BYTES: usize = 16 << 20;

/// Report of an export.
#[derive(Clone, Debug, Serialize)]
pub struct ExportReport {
    /// FAISS's file.
    pub path: PathBuf,
    /// Generation that was exported.
    pub generation: u64,
    /// Vectors.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

/// Writes an index as FAISS's IVF-PQ (`IwPQ`, after `IxPT` if the model transforms), as FAISS
/// 1.12 to 1.15 read it: centroids, codebooks, transform, codes and ids. Keys have no place there.
/// FAISS then finds what a search here finds with the same nprobe, scores being equal up to the
/// rounding of float32.
///
/// # Errors
/// [`Error::Invalid`] for what FAISS cannot say: a centred transform under inner product without
/// normalising again (FAISS would centre the query too), and deleted rows, which its lists would
/// bring back; [`Error::Index`] where the index cannot be read or the file not be written.
pub fn export_faiss(
    index: &Path,
    generation: Option<u64>,
    out: &Path,
    progress: ProgressFn<'_>,
) -> Result<ExportReport> {
    let start = Instant::now();
    let snapshot = Snapshot::open(index, generation)?;
    let model = snapshot.model().parts();
    if !snapshot.generation().tombstones.is_empty() {
        return Err(Error::Invalid(
            "the generation has deleted rows, which an IVF-PQ of FAISS cannot leave out: build it \
             again without them first"
                .to_owned(),
        ));
    }
    if model.mean.is_some() && model.metric == Metric::InnerProduct && !model.renormalize {
        return Err(Error::Invalid(
            "the model centres vectors and compares by inner product without normalising again: \
             FAISS would centre the query too and rank otherwise"
                .to_owned(),
        ));
    }
    let mut file = Output { file: AtomicFile::create(out)?, bytes: 0 };
    let rows = snapshot.rows();
    write_transform(&mut file, model, rows)?;
    write_ivf(&mut file, model, rows)?;
    let shards: Vec<&Shard> = snapshot.shards().collect();
    write_lists(&mut file, &snapshot, &shards, progress)?;
    let bytes = file.bytes;
    // Its centroids may still be mapped.
    snapshot.model().intact()?;
    file.file.publish()?;
    Ok(ExportReport {
        path: out.to_owned(),
        generation: snapshot.generation().number,
        rows,
        bytes,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Little-endian numbers as FAISS lays them out; [`crate::import`] reads the same.
struct Output {
    file: AtomicFile,
    bytes: u64,
}

impl Output {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(self.file.append(bytes)?)
    }

    fn i32(&mut self, n: usize) -> Result<()> {
        let n = i32::try_from(n)
            .map_err(|_| Error::Invalid(format!("{n} is more than FAISS's 32-bit fields hold")))?;
        self.raw(&n.to_le_bytes())
    }

    fn u64(&mut self, n: u64) -> Result<()> {
        self.raw(&n.to_le_bytes())
    }

    fn floats(&mut self, numbers: &[f32]) -> Result<()> {
        self.u64(numbers.len() as u64)?;
        self.raw(bytemuck::cast_slice(numbers))
    }

    /// The beginning of every index: class, d, rows, two unused numbers, trained,
    /// metric.
    fn header(&mut self, class: &[u8; 4], d: usize, rows: u64, metric: Metric) -> Result<()> {
        self.raw(class)?;
        self.i32(d)?;
        self.u64(rows)?;
        self.u64(1 << 20)?;
        self.u64(1 << 20)?;
        self.raw(&[1])?;
        self.i32(usize::from(metric == Metric::L2))
    }

    /// The end of every transform: shape, trained.
    fn shape(&mut self, d_in: usize, d_out: usize) -> Result<()> {
        self.i32(d_in)?;
        self.i32(d_out)?;
        self.raw(&[1])
    }
}

/// The chain in front: R x − R mean, or x − mean, then L2; nothing where the model has none.
fn write_transform(file: &mut Output, model: &ModelParts, rows: u64) -> Result<()> {
    let linear = model.rotation.is_some() || model.mean.is_some();
    let stages = usize::from(linear) + usize::from(model.renormalize);
    if stages == 0 {
        return Ok(());
    }
    file.header(b"IxPT", model.dim, rows, model.metric)?;
    file.i32(stages)?;
    match (&model.rotation, &model.mean) {
        (Some(rotation), mean) => {
            file.raw(b"LTra")?;
            file.raw(&[u8::from(mean.is_some())])?;
            file.floats(rotation)?;
            let bias = mean.as_ref().map(|mean| {
                let mut bias = Vec::new();
                dense::matvec(rotation, mean, &mut bias);
                bias.iter_mut().for_each(|b| *b = -*b);
                bias
            });
            file.floats(&bias.unwrap_or_default())?;
            file.shape(model.dim, model.d)?;
        }
        (None, Some(mean)) => {
            file.raw(b"VCnt")?;
            file.floats(mean)?;
            file.shape(model.dim, model.d)?;
        }
        (None, None) => {}
    }
    if model.renormalize {
        file.raw(b"VNrm")?;
        file.raw(&2f32.to_le_bytes())?;
        file.shape(model.d, model.d)?;
    }
    Ok(())
}

/// The IVF-PQ up to its lists.
fn write_ivf(file: &mut Output, model: &ModelParts, rows: u64) -> Result<()> {
    let (d, metric) = (model.d, model.metric);
    file.header(b"IwPQ", d, rows, metric)?;
    file.u64(model.nlist as u64)?;
    file.u64(1)?; // nprobe
    let class = if metric == Metric::L2 { b"IxF2" } else { b"IxFI" };
    file.header(class, d, model.nlist as u64, metric)?;
    file.floats(&model.coarse)?;
    // No direct map, codes of residuals.
    file.raw(&[0])?;
    file.u64(0)?;
    file.raw(&[1])?;
    file.u64(code_bytes(model) as u64)?;
    file.u64(d as u64)?;
    file.u64(model.m as u64)?;
    file.u64(u64::from(model.ksub.ilog2()))?;
    file.floats(&model.codebooks)
}

fn code_bytes(model: &ModelParts) -> usize {
    if model.ksub == 16 { model.m.div_ceil(2) } else { model.m }
}

/// Inverted lists (`ilar`): sizes of all or, where at most half have rows, pairs of list and size;
/// then of each list the codes and the ids.
fn write_lists(
    file: &mut Output,
    snapshot: &Snapshot,
    shards: &[&Shard],
    progress: ProgressFn<'_>,
) -> Result<()> {
    let model = snapshot.model().parts();
    let mut sizes = vec![0u64; model.nlist];
    for (list, size) in sizes.iter_mut().enumerate() {
        for shard in shards {
            *size += u64::from(shard.list(list as u32)?.len);
        }
    }
    file.raw(b"ilar")?;
    file.u64(model.nlist as u64)?;
    file.u64(code_bytes(model) as u64)?;
    let filled: Vec<u64> =
        (0..).zip(&sizes).filter(|(_, size)| **size > 0).flat_map(|(l, &size)| [l, size]).collect();
    let full = filled.len() / 2 > model.nlist / 2;
    let numbers = if full { &sizes } else { &filled };
    file.raw(if full { b"full" } else { b"sprs" })?;
    file.u64(numbers.len() as u64)?;
    file.raw(bytemuck::cast_slice(numbers))?;

    let layout = snapshot.model().layout();
    let (mut codes, mut ids, mut code) = (Vec::new(), Vec::<u64>::new(), vec![0u8; model.m]);
    for list in 0..model.nlist as u32 {
        codes.clear();
        ids.clear();
        for shard in shards {
            let entry = shard.list(list)?;
            let packed = shard.list_codes(&entry)?;
            for i in 0..entry.len {
                layout.get(packed, entry.len as usize, i as usize, &mut code);
                match model.ksub {
                    16 => codes.extend(
                        code.chunks(2).map(|two| two[0] | two.get(1).map_or(0, |high| high << 4)),
                    ),
                    _ => codes.extend_from_slice(&code),
                }
                ids.push(shard.id(shard.ordinal(entry.first + i)?)?);
            }
        }
        file.raw(&codes)?;
        file.raw(bytemuck::cast_slice(&ids))?;
        if list.is_multiple_of((model.nlist as u32 / 100).max(1)) {
            let (done, total) = (u64::from(list), model.nlist as u64);
            progress(Progress { stage: "write", done, total });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::import::{ImportOptions, import_faiss};
    use crate::silent;

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/faiss/{name}.faiss"))
    }

    /// FAISS's own bytes come back from what has no transform, plain lists and codes of 4 bits.
    /// With 8 bits codewords get other numbers: what was exported once comes back the next time.
    /// An index with a transform comes back with the same codes, ids and answers.
    #[test]
    fn a_file_of_faiss_survives_import_and_export() {
        let options = |shards| ImportOptions { name: "x".into(), shards };
        for (name, same_bytes) in [
            ("l2", true),
            ("ip", true),
            ("l2-4bit-odd", true),
            ("1.12.0-ip-sparse", false),
            ("l2-sparse", false),
            ("l2-opq", false),
            ("l2-pca-opq", false),
            ("ip-pca-norm", false),
            ("ip-opq-reduce", false),
            ("ip-fastscan-odd", false),
        ] {
            let tmp = tempfile::tempdir().unwrap();
            let (first, second) = (tmp.path().join("first"), tmp.path().join("second"));
            let out = tmp.path().join("out.faiss");
            import_faiss(&golden(name), &first, &options(2), &silent).unwrap();
            let report = export_faiss(&first, None, &out, &silent).unwrap();
            let bytes = fs::read(&out).unwrap();
            assert_eq!(report.bytes, bytes.len() as u64);
            let original = fs::read(golden(name)).unwrap();
            import_faiss(&out, &second, &options(1), &silent).unwrap();
            if same_bytes {
                assert_eq!(bytes.len(), original.len(), "{name}");
                let four_bits = name.contains("4bit");
                assert!(!four_bits || bytes == original, "{name}: other bytes");
                export_faiss(&second, None, &out, &silent).unwrap();
                assert!(bytes == fs::read(&out).unwrap(), "{name}: other bytes, exported again");
            }
            let [first, second] = [first, second].map(|path| Snapshot::open(&path, None).unwrap());
            assert_eq!(first.rows(), second.rows(), "{name}");
            let dim = first.model().parts().dim;
            let params = ocelli_index::SearchParams { k: 50, nprobe: 2, ..Default::default() };
            for i in 0..10 {
                let q: Vec<f32> = (0..dim).map(|j| ((i * 7 + j * 3) % 11) as f32 / 4.0).collect();
                let hits = [&first, &second].map(|s| s.search(&q, &params).unwrap().hits);
                assert_eq!(hits[0].len(), hits[1].len(), "{name}");
                for (a, b) in hits[0].iter().zip(&hits[1]) {
                    let slack = 1e-4 * a.score.abs().max(1.0);
                    assert!((a.score - b.score).abs() < slack, "{name}: {a:?} {b:?}");
                }
            }
        }
    }
}
