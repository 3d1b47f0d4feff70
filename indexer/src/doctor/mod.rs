//! Says with numbers whether training a model of one's own pays.
//!
//! Some of the descriptors are held out and judged: how much of them the codes of a model lose, and
//! how well the codes find each descriptor's nearest ones. A model is trained on the others and
//! judged in the same way. Both models make codes of the same size, so that only their training
//! differs.

mod gather;
mod judge;
mod lists;
#[cfg(test)]
mod tests;

use ocelli_index::{DescriptorSpec, Dtype, Model, Part, PartKind, PartWriter, Snapshot};
use serde::Serialize;

pub use self::gather::{Patient, open_patient};
pub use self::judge::Judgement;
pub use self::lists::Lists;
use crate::sample::{
    SplitMix64, chosen_rows, common_spec, count_distinct, count_rows, gather_rows,
    require_descriptors,
};
use crate::train::ROWS_PER_CENTROID;
use crate::{Error, ProgressFn, Result, TrainOptions, auto_nlist, no_opq, train};
use judge::{Sample, judge};

/// Bounds of an examination.
#[derive(Clone, Debug, PartialEq)]
pub struct DoctorOptions {
    /// Most descriptors that are judged; at most half of all.
    pub judged: usize,
    /// Most of the judged descriptors that are also queries.
    pub queries: usize,
    /// Most descriptors that a model is trained on.
    pub train: usize,
    /// Seed of the samples and of the training.
    pub seed: u32,
    /// Threads; 0: one per core.
    pub threads: usize,
}

impl Default for DoctorOptions {
    /// Half a minute on two cores for 64 bytes.
    fn default() -> Self {
        Self { judged: 10_000, queries: 500, train: 50_000, seed: 1234, threads: 0 }
    }
}

/// Neighbours of each query that are compared.
pub const NEIGHBOURS: usize = 10;
/// Fewer descriptors tell nothing.
pub const MIN_ROWS: usize = 400;
/// The gain of recall from which on a training pays, if it is also beyond chance.
pub const MIN_GAIN: f64 = 0.01;
/// Standard errors beyond which a gain is no chance.
const ERRORS_OF_CHANCE: f64 = 2.0;
/// A search scans so many times the rows that it would scan in lists of equal length: beyond that,
/// lists are called uneven.
const UNEVEN: f64 = 4.0;
/// Times the lists that the model has: from so many that a training would choose on, they are
/// called few.
const FEW_LISTS: usize = 8;

/// The result of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A model of one's own finds more.
    TrainYourOwn,
    /// The model is as good as one of one's own.
    AsGood,
    /// There are no descriptors, or too few of them.
    Unknown,
}

/// Findings of an examination.
#[derive(Clone, Debug, Serialize)]
pub struct DoctorReport {
    /// The name of the pack that the model came with, if it did.
    pub pack: Option<String>,
    /// Descriptors of all parts.
    pub rows: usize,
    /// Dimension of a descriptor.
    pub dim: usize,
    /// Bytes of a code.
    pub code_bytes: usize,
    /// The lists of the model, with the rows of the index or of the sample.
    pub lists: Option<Lists>,
    /// The two models side by side; none without enough descriptors.
    pub comparison: Option<Comparison>,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict and its reason in one line.
    pub advice: String,
    /// Anything else that a user should know, a line each.
    pub notes: Vec<String>,
}

/// The model beside one that was trained on other descriptors of the same collection.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Descriptors that were judged.
    pub judged: usize,
    /// Number of the judged descriptors that were queries.
    pub queries: usize,
    /// Descriptors that the other model was trained on.
    pub trained_on: usize,
    /// How many of these differ from each other.
    pub trained_on_distinct: usize,
    /// The model.
    pub model: Judgement,
    /// The model that was trained on the others.
    pub own: Judgement,
    /// Recall of the trained model minus that of the model.
    pub gain: f64,
    /// Standard error of the gain, over the queries.
    pub gain_error: f64,
}

impl Comparison {
    fn pays(&self) -> bool {
        self.gain > MIN_GAIN.max(ERRORS_OF_CHANCE * self.gain_error)
    }
}

/// Examines `model` on descriptors, and on the index that was built under it.
///
/// # Errors
/// Parts that do not hold descriptors of the model's spec; damaged files.
pub fn doctor(
    parts: &[Part],
    index: Option<&Snapshot>,
    model: &Model,
    options: &DoctorOptions,
    progress: ProgressFn<'_>,
) -> Result<DoctorReport> {
    let p = model.parts();
    for part in parts {
        require_descriptors(part)?;
        let place = part.path().display().to_string();
        DescriptorSpec::same_or_err(&place, &p.spec, part.spec())?;
    }
    let rows = count_rows(parts);
    let index = index.filter(|index| index.model().hash() == model.hash());
    let mut lists = index.map(Lists::of_index).transpose()?;
    let mut comparison = None;
    if rows >= MIN_ROWS {
        let sample = draw(parts, options)?;
        if lists.is_none() {
            lists = Some(Lists::of_sample(model, &sample, rows)?);
        }
        comparison = Some(compare(parts, &sample, model, options, progress)?);
    }
    let (verdict, advice) = verdict(rows, comparison.as_ref());
    let notes = notes(rows, lists.as_ref(), comparison.as_ref(), p.ksub);
    Ok(DoctorReport {
        pack: p.training.get("pack").cloned(),
        rows,
        dim: p.dim,
        code_bytes: model.layout().columns(),
        lists,
        comparison,
        verdict,
        advice,
        notes,
    })
}

/// Draws the descriptors that are judged, and those that a model is trained on.
fn draw(parts: &[Part], options: &DoctorOptions) -> Result<Sample> {
    let dim = common_spec(parts)?.dim();
    let judged = options.judged.min(count_rows(parts) / 2);
    let (x, n) = gather_rows(parts, judged + options.train, u64::from(options.seed))?;
    let mut numbers = SplitMix64::new(u64::from(options.seed)).sample(n, judged);
    let queries = (0..judged).take(options.queries).collect();
    let rows = |numbers: &[usize]| -> Vec<f32> { chosen_rows(&x, dim, numbers.iter().copied()) };
    let held_out = rows(&numbers);
    numbers.sort_unstable();
    let others: Vec<usize> = (0..n).filter(|i| numbers.binary_search(i).is_err()).collect();
    Ok(Sample { dim, judged: held_out, queries, others: rows(&others) })
}

fn compare(
    parts: &[Part],
    sample: &Sample,
    model: &Model,
    options: &DoctorOptions,
    progress: ProgressFn<'_>,
) -> Result<Comparison> {
    let (p, spec) = (model.parts(), common_spec(parts)?);
    let trained_on = sample.others.len() / sample.dim;
    let trained_on_distinct = count_distinct(&sample.others, sample.dim);
    let options = TrainOptions {
        m: p.m,
        ksub: p.ksub,
        nlist: auto_nlist(trained_on),
        metric: Some(p.metric),
        opq: Some(false),
        seed: options.seed,
        threads: options.threads,
        force: true,
        ..TrainOptions::default()
    };
    let own = train_on(&sample.others, spec, &options, progress)?;
    let nearest = sample.nearest(p.metric);
    let (model, recalls) = judge(model, sample, &nearest)?;
    let (own, own_recalls) = judge(&own, sample, &nearest)?;
    let differences: Vec<f64> = own_recalls.iter().zip(&recalls).map(|(a, b)| a - b).collect();
    let n = differences.len() as f64;
    let gain = differences.iter().sum::<f64>() / n;
    let spread = differences.iter().map(|d| (d - gain).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    Ok(Comparison {
        judged: sample.judged.len() / sample.dim,
        queries: sample.queries.len(),
        trained_on,
        trained_on_distinct,
        model,
        own,
        gain,
        gain_error: (spread / n).sqrt(),
    })
}

/// A model trained on `rows` (n, dim).
fn train_on(
    rows: &[f32],
    spec: &DescriptorSpec,
    options: &TrainOptions,
    progress: ProgressFn<'_>,
) -> Result<Model> {
    let folder =
        tempfile::tempdir().map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
    let path = folder.path().join("sample.part");
    let mut part = PartWriter::create(&path, PartKind::Descriptors, Dtype::F32, spec)?;
    for row in rows.chunks_exact(spec.dim()) {
        part.push("", None, row)?;
    }
    part.finish()?;
    Ok(train(&[Part::open(&path)?], options, &no_opq, progress)?.0)
}

fn verdict(rows: usize, comparison: Option<&Comparison>) -> (Verdict, String) {
    let Some(c) = comparison else {
        let advice = match rows {
            0 => "no verdict: descriptors are needed: name the parts that the index was built of"
                .to_owned(),
            _ => format!(
                "keep this model: {rows} descriptors are too few to judge or to train on (at \
                 least {MIN_ROWS})"
            ),
        };
        return (Verdict::Unknown, advice);
    };
    let numbers = format!(
        "its codes find {:.1} % of the {NEIGHBOURS} nearest, those of a model trained on {} of \
         these descriptors {:.1} % (± {:.1})",
        100.0 * c.model.recall,
        ocelli_text::thousands(c.trained_on as u64),
        100.0 * c.own.recall,
        100.0 * c.gain_error,
    );
    match c.pays() {
        true => {
            (Verdict::TrainYourOwn, format!("train your own: this model is worse here: {numbers}"))
        }
        false => (Verdict::AsGood, format!("this model is as good as your own: {numbers}")),
    }
}

fn notes(
    rows: usize,
    lists: Option<&Lists>,
    comparison: Option<&Comparison>,
    ksub: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(lists) = lists {
        if lists.imbalance > UNEVEN {
            notes.push(format!(
                "lists are uneven: a search scans {:.1} times the rows that it would scan in lists \
                 of equal length",
                lists.imbalance
            ));
        }
        let wanted = auto_nlist(lists.rows as usize);
        if wanted >= FEW_LISTS * lists.nlist {
            notes.push(format!(
                "{} lists are few for so many rows: searches would be faster with {wanted}, as \
                 `ocelli train` chooses",
                lists.nlist
            ));
        }
    }
    if let Some(c) = comparison
        && c.pays()
    {
        let needed = ROWS_PER_CENTROID * ksub;
        if rows < needed {
            notes.push(format!(
                "`ocelli train` wants {needed} different rows: give it the region vectors of these \
                 photos"
            ));
        }
    }
    notes
}
