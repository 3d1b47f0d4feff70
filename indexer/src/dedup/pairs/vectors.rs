//! Stored vectors of rows: found by the rows' ids and keys, and read in the order of their places.
//!
//! A table has the place of each row's vector, eight bytes a row, in a file, and in memory where
//! there is enough. A vector that was made
//! of other content than the row has, by the hashes of the image files, gets no place. Where there
//! are no such hashes, a vector is looked at when it is read first: codewords of the row must be
//! those that the model gives it.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ocelli_index::attributes::names;
use ocelli_index::container::AtomicFile;
use ocelli_index::{
    Column, DescriptorSpec, Hash, Hasher, Metric, Model, Row, Snapshot, Value, simd,
};
use ocelli_vector::dense;
use serde::{Deserialize, Serialize};

use super::row_set::RowSet;
use crate::build::{OpenSource, Source, count_rows};
use crate::dedup::edge::RowNumber;
use crate::sort::{SortMemory, Sorter};
use crate::{Error, Result};

/// The place of a row that has no vector.
const NOWHERE: u64 = u64::MAX;
/// Set in the place of a vector that no hash has proven to be the row's.
const UNPROVEN: u64 = 1 << 63;
/// Rows whose names are read at once.
const NAMED_ROWS: usize = 1024;
/// Places that are read at once of a table in a file: rows of a block may be far apart.
const WINDOW: u64 = 16;
/// Sub-quantizers whose codewords are compared with those of the row.
const COMPARED: usize = 2;
/// A row without a vector in [`Vectors::read`].
pub(super) const NO_VECTOR: u32 = u32::MAX;

/// What the rows' vectors are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorCounts {
    /// Rows that have a vector.
    pub found: u64,
    /// Rows of the files of vectors whose image has changed since, by the hash of its file.
    pub stale: u64,
}

/// Opens files of vectors: parts, or files of other programs where the index is of such vectors.
///
/// # Errors
/// Those of opening; a file of vectors of another spec than the model's; region vectors or codes.
pub(super) fn open_sources(paths: &[PathBuf], model: &Model) -> Result<Vec<OpenSource>> {
    let name = match model.spec() {
        DescriptorSpec::Foreign { name, .. } => Some(name.as_str()),
        DescriptorSpec::Network(_) => None,
    };
    let open = |path: &PathBuf| {
        let opened = OpenSource::open(path, name)?;
        check_source(opened.source(), model)?;
        Ok(opened)
    };
    paths.iter().map(open).collect()
}

fn check_source(source: Source<'_>, model: &Model) -> Result<()> {
    source.require_descriptors()?;
    let place = source.path().display().to_string();
    DescriptorSpec::same_or_err(&place, model.spec(), source.spec())?;
    if source.code_form().is_some() {
        return Err(Error::Invalid(format!("{place}: expected vectors, found a part of codes")));
    }
    Ok(())
}

/// Writes the table of the places of the vectors of all rows.
///
/// # Errors
/// Vectors whose rows have neither ids nor keys, unless there are as many as rows of the index;
/// damaged files; those of writing.
pub(super) fn write_places(
    rows: &RowSet,
    sources: &[OpenSource],
    memory: Option<SortMemory>,
    mut out: AtomicFile,
) -> Result<(Hash, VectorCounts)> {
    let sources: Vec<Source<'_>> = sources.iter().map(OpenSource::source).collect();
    let mut counts = VectorCounts::default();
    let mut sorter = Sorter::<[u64; 2]>::new(memory);
    for (number, index) in rows.indexes().iter().enumerate() {
        let names = Named::new(index, &sources, rows.indexes().len() == 1)?;
        let first = rows.first_of(number);
        names.each_place(&sources, &mut counts, |row, place| {
            let mut start = first;
            for shard in index.shards().take(row.shard as usize) {
                start += u64::from(shard.rows());
            }
            sorter.push([start + u64::from(row.ordinal), place])
        })?;
    }
    let (mut sorted, mut hasher, mut next) = (sorter.finish()?, Hasher::new(), 0);
    let mut put = |out: &mut AtomicFile, place: u64| {
        hasher.update(&place.to_le_bytes());
        out.write_all(&place.to_le_bytes())
    };
    let failed = |e| Error::Index(ocelli_index::Error::io(Path::new("places"), "write", e));
    while let Some([row, place]) = sorted.next()? {
        while next < row {
            put(&mut out, NOWHERE).map_err(failed)?;
            next += 1;
        }
        // The first of several.
        if row == next {
            put(&mut out, place).map_err(failed)?;
            counts.found += 1;
            next += 1;
        }
    }
    for _ in next..rows.count() {
        put(&mut out, NOWHERE).map_err(failed)?;
    }
    out.publish()?;
    Ok((hasher.finish(), counts))
}

/// Names of the rows of files, looked up in one index.
struct Named<'a> {
    index: &'a Snapshot,
    /// The id of the first row, where rows are known by their order.
    first_id: Option<u64>,
    sha256: Option<Column>,
}

impl<'a> Named<'a> {
    fn new(index: &'a Snapshot, sources: &[Source<'_>], is_alone: bool) -> Result<Self> {
        let schema = index.schema()?;
        let mut named = Self { index, first_id: None, sha256: schema.find(names::SHA256).cloned() };
        for source in sources {
            if source.rows() == 0 || source.has_ids() || !source.key(0)?.is_empty() {
                continue;
            }
            let held: u64 = index.shards().map(|shard| u64::from(shard.rows())).sum();
            if !is_alone || held != count_rows(sources) as u64 {
                return Err(Error::Invalid(format!(
                    "{}: its rows have neither ids nor keys, and the index has {held} rows where \
                     the files have {}: expected vectors whose rows can be found in it",
                    source.path().display(),
                    count_rows(sources)
                )));
            }
            let ids = index.shards().map(|shard| shard.id(0));
            named.first_id = ids.collect::<ocelli_index::Result<Vec<u64>>>()?.into_iter().min();
        }
        Ok(named)
    }

    /// Hands out the row of each vector that the index has, with the vector's place.
    fn each_place(
        &self,
        sources: &[Source<'_>],
        counts: &mut VectorCounts,
        mut take: impl FnMut(Row, u64) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0u64;
        for source in sources {
            for start in (0..source.rows()).step_by(NAMED_ROWS) {
                let range = start..(start + NAMED_ROWS).min(source.rows());
                let mut found: Vec<(Row, usize)> = Vec::new();
                for image in range {
                    let row = self.find(*source, image, first + image as u64)?;
                    found.extend(row.map(|row| (row, image)));
                }
                for (row, image, is_proven) in self.current(*source, &found, counts)? {
                    let flag = if is_proven { 0 } else { UNPROVEN };
                    take(row, (first + image as u64) | flag)?;
                }
            }
            source.release();
            first += source.rows() as u64;
        }
        Ok(())
    }

    fn find(&self, source: Source<'_>, image: usize, row: u64) -> Result<Option<Row>> {
        Ok(match (source.id(image)?, self.first_id) {
            (Some(id), _) => self.index.find_id(id)?,
            (None, first) => match (source.key(image)?, first) {
                (key, _) if !key.is_empty() => self.index.find_key(&key)?,
                (_, Some(first)) => self.index.find_id(first + row)?,
                (_, None) => None,
            },
        })
    }

    /// Those of rows whose image is the same as then, as far as hashes say, and whether they do.
    fn current(
        &self,
        source: Source<'_>,
        found: &[(Row, usize)],
        counts: &mut VectorCounts,
    ) -> Result<Vec<(Row, usize, bool)>> {
        let columns: Vec<Column> = self.sha256.iter().cloned().collect();
        let rows: Vec<Row> = found.iter().map(|&(row, _)| row).collect();
        let mut current = Vec::with_capacity(found.len());
        for (&(row, image), values) in found.iter().zip(self.index.values(&rows, &columns)) {
            let now = values?.into_iter().next().flatten();
            let then = match source {
                Source::Part(part) => part.attributes(image)?.map(|seen| seen.sha256),
                Source::Vectors(..) => None,
            };
            match (now, then) {
                (Some(Value::Bytes32(now)), Some(then)) if now != then => counts.stale += 1,
                (Some(Value::Bytes32(_)), Some(_)) => current.push((row, image, true)),
                _ => current.push((row, image, false)),
            }
        }
        Ok(current)
    }
}

/// The table of places.
enum Table {
    Memory(Vec<u64>),
    File(File),
}

impl Table {
    /// Opens the table at `path`, in memory if it takes no more than `memory_bytes`.
    fn open(path: &Path, memory_bytes: usize) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        if bytes > memory_bytes as u64 {
            return Ok(Self::File(file));
        }
        let (mut file, mut words) = (BufReader::new(file), Vec::with_capacity(bytes as usize / 8));
        for _ in 0..bytes / 8 {
            let mut word = [0; 8];
            file.read_exact(&mut word)?;
            words.push(u64::from_le_bytes(word));
        }
        Ok(Self::Memory(words))
    }

    /// The places of rows, ascending.
    fn places(&self, numbers: &[RowNumber]) -> std::io::Result<Vec<u64>> {
        let table = match self {
            Self::Memory(words) => {
                let place = |&number: &RowNumber| words.get(number as usize).copied();
                return Ok(numbers.iter().map(|n| place(n).unwrap_or(NOWHERE)).collect());
            }
            Self::File(file) => file,
        };
        let len = table.metadata()?.len() / 8;
        let (mut window, mut first, mut places) = (Vec::new(), 0u64, Vec::new());
        for &number in numbers {
            let at = number.wrapping_sub(first) as usize;
            if number < first || at >= window.len() {
                first = number;
                let words = WINDOW.min(len.saturating_sub(first)).max(1) as usize;
                let mut bytes = vec![0; 8 * words];
                table.read_exact_at(&mut bytes, 8 * first)?;
                let words = bytes.as_chunks::<8>().0.iter();
                window = words.map(|&word| u64::from_le_bytes(word)).collect();
            }
            places.push(window[(number - first) as usize]);
        }
        Ok(places)
    }
}

/// Vectors of rows, by the table of their places.
pub(super) struct Vectors {
    sources: Vec<OpenSource>,
    /// The first place of each source.
    starts: Vec<u64>,
    table: Table,
    path: PathBuf,
    /// What was found of vectors that no hash proves, two bits a row; None where they cannot be
    /// compared with their rows' codes.
    proofs: Option<Proofs>,
    /// The numbers of codewords.
    words: Vec<u32>,
}

/// What was found of the vectors of rows.
struct Proofs(Vec<AtomicU64>);

impl Proofs {
    fn new(rows: u64) -> Self {
        Self((0..rows.div_ceil(32)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether the vector of a row is its own; `look` says so at first.
    fn get(&self, number: RowNumber, look: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let (word, shift) = (&self.0[number as usize / 32], 2 * (number % 32));
        // A look gives the same each time, so that it does not matter which thread is first.
        match word.load(Ordering::Relaxed) >> shift & 3 {
            0 => {
                let is_own = look()?;
                word.fetch_or((1 + u64::from(is_own)) << shift, Ordering::Relaxed);
                Ok(is_own)
            }
            found => Ok(found == 2),
        }
    }
}

impl Vectors {
    /// The vectors of `sources` by the table at `path`, which is kept in memory if it takes no more
    /// than `memory_bytes`.
    ///
    /// # Errors
    /// A table that is not the one of this hash.
    pub(super) fn open(
        rows: &RowSet,
        sources: Vec<OpenSource>,
        path: &Path,
        expected: &Hash,
        memory_bytes: usize,
    ) -> Result<Self> {
        super::edge_file::require_hash(path, expected)?;
        let table = Table::open(path, memory_bytes).map_err(Error::io("read", path))?;
        let mut starts = Vec::with_capacity(sources.len());
        let mut sum = 0;
        for source in &sources {
            starts.push(sum);
            sum += source.source().rows() as u64;
        }
        // Descriptors that were augmented before they were coded are not those of the files.
        let has_own_codes = rows.indexes().iter().all(|index| index.generation().dba.is_none());
        let proofs = has_own_codes.then(|| Proofs::new(rows.count()));
        let words = (0..rows.model().parts().ksub as u32).collect();
        Ok(Self { sources, starts, table, path: path.to_owned(), proofs, words })
    }

    /// Reads the vectors of the rows `numbers`, ascending: `slots` gets the number of each one's
    /// vector among those of `x` (n, dim), or [`NO_VECTOR`].
    ///
    /// # Errors
    /// Damaged files.
    pub(super) fn read(
        &self,
        rows: &RowSet,
        numbers: &[RowNumber],
        slots: &mut Vec<u32>,
        x: &mut Vec<f32>,
    ) -> Result<()> {
        let dim = rows.model().parts().dim;
        let places = self.table.places(numbers).map_err(Error::io("read", &self.path))?;
        slots.clear();
        slots.resize(numbers.len(), NO_VECTOR);
        let mut order: Vec<usize> = (0..places.len()).filter(|&i| places[i] != NOWHERE).collect();
        order.sort_unstable_by_key(|&i| places[i] & !UNPROVEN);
        x.clear();
        let place = |i: usize| places[i] & !UNPROVEN;
        let mut at = 0;
        while at < order.len() {
            let first = place(order[at]);
            let source = self.starts.partition_point(|&start| start <= first) - 1;
            let end = self.starts.get(source + 1).copied().unwrap_or(NOWHERE);
            // Vectors that lie behind each other are read together.
            let mut len = 1;
            while at + len < order.len()
                && place(order[at + len]) == first + len as u64
                && first + (len as u64) < end
            {
                len += 1;
            }
            let from = (first - self.starts[source]) as usize;
            let read = self.sources[source].source().read(from..from + len)?;
            for (&i, vector) in order[at..at + len].iter().zip(read.chunks_exact(dim)) {
                let look = || self.has_code_of(rows, numbers[i], vector);
                let proofs = self.proofs.as_ref().filter(|_| places[i] & UNPROVEN != 0);
                if proofs.map_or(Ok(true), |proofs| proofs.get(numbers[i], look))? {
                    slots[i] = (x.len() / dim) as u32;
                    x.extend_from_slice(vector);
                    if rows.model().parts().renormalize {
                        // As the model takes it: scores are those of vectors of length 1.
                        let start = x.len() - dim;
                        dense::l2_normalize(&mut x[start..]);
                    }
                }
            }
            at += len;
        }
        Ok(())
    }

    /// Whether the code of a row is that of a vector, as far as a few codewords say.
    fn has_code_of(&self, rows: &RowSet, number: RowNumber, vector: &[f32]) -> Result<bool> {
        let (model, row) = (rows.model(), rows.row(number));
        let Some(shard) = rows.all().shards().nth(row.shard as usize) else { return Ok(false) };
        // A vector without a direction, or of numbers that are too large, is nobody's.
        let Ok(z) = model.transform(vector) else { return Ok(false) };
        let (list, code) = shard.code(row.ordinal)?;
        let p = model.parts();
        let dsub = p.d / p.m;
        let centroid = model.centroid(list);
        let mut distances = Vec::new();
        // The row decides which ones are compared, so that a wrong vector is not right for all.
        let start = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % p.m;
        for i in 0..COMPARED.min(p.m) {
            let sub = (start + i) % p.m;
            let of = sub * dsub..(sub + 1) * dsub;
            let residual: Vec<f32> =
                z[of.clone()].iter().zip(&centroid[of]).map(|(a, b)| a - b).collect();
            let book = &p.codebooks[sub * p.ksub * dsub..(sub + 1) * p.ksub * dsub];
            Metric::L2.of_rows(simd(), &residual, book, &self.words, &mut distances);
            let nearest = distances.iter().copied().fold(f32::INFINITY, f32::min);
            if distances.iter().position(|&d| d == nearest) != Some(usize::from(code[sub])) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
