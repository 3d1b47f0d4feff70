//! FAISS's serialized indexes, as its versions 1.12 to 1.15 write them (`impl/index_write.cpp`).
//!
//! A file is a tree of objects without lengths or checksums: four characters name the class, its
//! fields follow. Numbers are little-endian, `size_t` and ids 64 bits wide; a vector is a u64 count
//! and its elements. Only classes that an IVF-PQ consists of are read. Any other class is named and
//! refused, as its end is unknown.
//!
//! ```text
//! header      i32 d, i64 ntotal, 2 × i64 unused, bool trained, i32 metric (0 inner product, 1 L2)
//! IxMp, IxM2  header, index, ids (an id map: vector i has id ids[i])
//! IxPT        header, i32 n, n transforms, index
//! IxF2, IxFI  header, u64 floats, floats
//! IHNf        header, graph, IxF2 or IxFI
//! IwPQ        header, u64 nlist, u64 nprobe, coarse index, direct map, by_residual,
//!             u64 code_size, quantizer, inverted lists
//! IwPf        the same, with fast-scan's shape before the quantizer
//! ```

use std::io::Read;

use ocelli_index::Metric;

use super::cursor::{Cursor, Result};
use super::fast_scan;
use super::lists::{List, code_bytes};
use super::transform::{Stage, Transform, compose, read_stage};

/// Transforms in front of an index: more than this no factory string makes.
const MAX_STAGES: i32 = 16;
/// Indexes within each other: transforms and id maps, in any order.
const MAX_DEPTH: usize = 8;

/// An IVF-PQ index with its transforms: everything that decides a score.
#[derive(Debug)]
pub struct IvfPq {
    /// The metric of scores, and by which lists are probed.
    pub metric: Metric,
    /// Dimension of the vectors before the transforms.
    pub dim: usize,
    /// The transforms in front, first to last.
    pub(super) stages: Vec<Stage>,
    /// Dimension of the centroids.
    pub d: usize,
    /// Coarse centroids, `(nlist, d)`.
    pub coarse: Vec<f32>,
    /// Number of lists.
    pub nlist: usize,
    /// Sub-quantizers.
    pub m: usize,
    /// Codewords of each, 16 or 256.
    pub ksub: usize,
    /// Codebooks, `(m, ksub, d / m)`.
    pub codebooks: Vec<f32>,
    /// The inverted lists, `nlist` of them.
    pub lists: Vec<List>,
    /// Rows of all lists.
    pub rows: u64,
}

impl IvfPq {
    /// Parses a file of `len` bytes; `progress` is called with the number of bytes read so far.
    ///
    /// # Errors
    /// The offset, and what was expected and found there: another class, a shape or length that
    /// does not fit, a metric or code size that is not imported.
    pub fn parse(
        from: impl Read,
        len: u64,
        progress: &dyn Fn(u64),
    ) -> std::result::Result<Self, String> {
        read(&mut Cursor::new(from, len), progress)
    }

    /// All transforms as one.
    ///
    /// # Errors
    /// The reason why a model of ours cannot do the same.
    pub fn transform(&self) -> std::result::Result<Transform, String> {
        compose(&self.stages, self.dim, self.metric)
    }
}

/// The fields that every index begins with, after its class.
struct Header {
    dim: usize,
    rows: u64,
    metric: Metric,
}

/// Reads a whole file.
fn read<R: Read>(file: &mut Cursor<R>, progress: &dyn Fn(u64)) -> Result<IvfPq> {
    let index = read_index(file, 0, progress)?;
    if file.left() > 0 {
        return Err(format!("offset {}: end expected, {} bytes follow", file.at(), file.left()));
    }
    Ok(index)
}

/// Reads an index that is within `depth` others.
fn read_index<R: Read>(
    file: &mut Cursor<R>,
    depth: usize,
    progress: &dyn Fn(u64),
) -> Result<IvfPq> {
    let at = file.at();
    if depth > MAX_DEPTH {
        return Err(format!("offset {at}: more than {MAX_DEPTH} indexes within each other"));
    }
    match file.code("class of the index")?.as_str() {
        "IxPT" => read_pre_transform(file, depth, progress),
        "IxMp" | "IxM2" => read_id_map(file, depth, progress),
        "IwPQ" => read_ivf_pq(file, false, progress),
        "IwPf" => read_ivf_pq(file, true, progress),
        other => {
            let expected = "an IVF-PQ index (IwPQ, IwPf), transforms or an id map in front of one \
                            (IxPT, IxMp, IxM2)";
            Err(refuse_class(other, at, expected))
        }
    }
}

/// The error text for a class that is not read.
fn refuse_class(class: &str, at: u64, expected: &str) -> String {
    let known = match class {
        "IwFl" | "IvFL" => "IVF without product quantization",
        "IxPf" => "fast-scan codes without lists",
        "IwQR" => "IVF-PQ with refinement codes",
        "IvPQ" | "IvQR" => "IVF-PQ of a FAISS before 1.5",
        "IwSq" | "IwSQ" => "IVF with a scalar quantizer",
        "IxPq" => "a product quantizer without lists",
        "IxF2" | "IxFI" | "IxFl" => "a flat index",
        "IxRF" => "an index with refinement",
        "IHNf" => "an HNSW graph",
        "IHN2" | "IHNs" | "IHNp" => "an HNSW graph over codes",
        "Imiq" => "a multi-index",
        _ => "",
    };
    let known = if known.is_empty() { String::new() } else { format!(" ({known})") };
    format!(
        "offset {at}: {expected} expected, found class \"{class}\"{known}, which is not imported"
    )
}

fn read_header<R: Read>(file: &mut Cursor<R>, what: &str) -> Result<Header> {
    let at = file.at();
    let dim: i32 = file.one(what)?;
    let rows: i64 = file.one(what)?;
    let _unused: [i64; 2] = [file.one(what)?, file.one(what)?];
    let trained = file.flag(what)?;
    let metric: i32 = file.one(what)?;
    let dim = usize::try_from(dim).ok().filter(|&dim| dim > 0);
    let (Some(dim), Ok(rows)) = (dim, u64::try_from(rows)) else {
        return Err(format!("offset {at}: {what}: its dimension or number of rows is no size"));
    };
    if !trained {
        return Err(format!("offset {at}: {what}: it is not trained"));
    }
    let metric = match metric {
        0 => Metric::InnerProduct,
        1 => Metric::L2,
        other => {
            return Err(format!(
                "offset {at}: {what}: metric 0 (inner product) or 1 (L2) expected, found {other}"
            ));
        }
    };
    Ok(Header { dim, rows, metric })
}

fn read_pre_transform<R: Read>(
    file: &mut Cursor<R>,
    depth: usize,
    progress: &dyn Fn(u64),
) -> Result<IvfPq> {
    let header = read_header(file, "header of the transformed index")?;
    let at = file.at();
    let n: i32 = file.one("number of transforms")?;
    if !(0..=MAX_STAGES).contains(&n) {
        return Err(format!("offset {at}: 0 to {MAX_STAGES} transforms expected, found {n}"));
    }
    let mut stages = Vec::new();
    let mut dim = header.dim;
    for _ in 0..n {
        let at = file.at();
        let stage = read_stage(file)?;
        if stage.d_in != dim {
            return Err(format!(
                "offset {at}: a transform of dimension {dim} expected, found {}",
                stage.d_in
            ));
        }
        dim = stage.d_out;
        stages.push(stage);
    }
    let at = file.at();
    let index = read_index(file, depth + 1, progress)?;
    check_inner(&index, &Header { dim, ..header }, at)?;
    stages.extend(index.stages);
    Ok(IvfPq { dim: header.dim, stages, ..index })
}

/// Compares an index within another, at offset `at`, with what the outer one says of it.
fn check_inner(index: &IvfPq, outer: &Header, at: u64) -> Result<()> {
    if (index.dim, index.rows, index.metric) == (outer.dim, outer.rows, outer.metric) {
        return Ok(());
    }
    Err(format!(
        "offset {at}: the inner index has dimension {}, {} rows, metric {}; expected are {}, {}, \
         {}",
        index.dim, index.rows, index.metric, outer.dim, outer.rows, outer.metric
    ))
}

/// An index whose vectors are numbered, and after it the id of each number.
fn read_id_map<R: Read>(
    file: &mut Cursor<R>,
    depth: usize,
    progress: &dyn Fn(u64),
) -> Result<IvfPq> {
    let header = read_header(file, "header of the id map")?;
    let at = file.at();
    let mut index = read_index(file, depth + 1, progress)?;
    check_inner(&index, &header, at)?;
    let at = file.at();
    let ids: Vec<i64> = file.vector("ids of the id map")?;
    if ids.len() as u64 != index.rows {
        return Err(format!(
            "offset {at}: an id map of {} rows expected, found {}",
            index.rows,
            ids.len()
        ));
    }
    if let Some(row) = ids.iter().position(|&id| id < 0) {
        return Err(format!(
            "offset {at}: id map, row {row}: id {}, expected 0 to 2^63 - 1",
            ids[row]
        ));
    }
    for (number, list) in index.lists.iter_mut().enumerate() {
        for (row, id) in list.ids.iter_mut().enumerate() {
            let found = usize::try_from(*id).ok().and_then(|row| ids.get(row));
            *id = *found.ok_or_else(|| {
                format!("list {number}, row {row}: row {id} of an id map of {} rows", ids.len())
            })?;
        }
    }
    Ok(index)
}

/// With plain codes, or with fast-scan ones.
fn read_ivf_pq<R: Read>(
    file: &mut Cursor<R>,
    fast_scan: bool,
    progress: &dyn Fn(u64),
) -> Result<IvfPq> {
    let header = read_header(file, "header of the IVF-PQ index")?;
    let at = file.at();
    let nlist: u64 = file.one("number of lists")?;
    let _nprobe: u64 = file.one("nprobe")?;
    let coarse = read_coarse(file, &header, nlist)?;
    // Cannot truncate: `read_coarse` has read a centroid for each list.
    let nlist = nlist as usize;
    read_direct_map(file)?;
    if !file.flag("by_residual")? {
        return Err(format!(
            "offset {at}: codes of residuals expected; by_residual is false, the codes are of the \
             vectors themselves, which is not imported"
        ));
    }
    let code_at = file.at();
    let code_size: u64 = file.one("code size")?;
    if fast_scan {
        fast_scan::read_shape(file)?;
    }
    let (m, ksub, codebooks) = read_quantizer(file, header.dim)?;
    let expected = code_bytes(m, ksub);
    if code_size != expected as u64 {
        return Err(format!(
            "offset {code_at}: codes of {expected} bytes expected, found {code_size}"
        ));
    }
    if fast_scan && ksub != 16 {
        return Err(format!(
            "offset {code_at}: fast-scan codes of 4 bits expected, ksub is {ksub}"
        ));
    }
    let lists = match fast_scan {
        false => read_lists(file, nlist, expected, progress)?,
        true => fast_scan::read_lists(file, nlist, m, progress)?,
    };
    let rows = lists.iter().map(|list| list.ids.len() as u64).sum();
    if rows != header.rows {
        return Err(format!("the header says {} rows, the lists hold {rows}", header.rows));
    }
    Ok(IvfPq {
        metric: header.metric,
        dim: header.dim,
        stages: Vec::new(),
        d: header.dim,
        coarse,
        nlist,
        m,
        ksub,
        codebooks,
        lists,
        rows,
    })
}

/// The coarse quantizer's centroids: (nlist, d). It must compare as the index does, since lists are
/// probed by the index's metric here, and every centroid is looked at: also where FAISS walks an
/// HNSW graph over them, which then finds the same lists or worse ones.
fn read_coarse<R: Read>(file: &mut Cursor<R>, index: &Header, nlist: u64) -> Result<Vec<f32>> {
    let at = file.at();
    let mut class = file.code("class of the coarse quantizer")?;
    if class == "IHNf" {
        read_graph(file)?;
        class = file.code("class of the graph's vectors")?;
    }
    if !matches!(class.as_str(), "IxF2" | "IxFI") {
        return Err(refuse_class(&class, at, "a coarse quantizer of floats (IxF2, IxFI, IHNf)"));
    }
    let header = read_header(file, "header of the coarse quantizer")?;
    let by_class = if class == "IxFI" { Metric::InnerProduct } else { Metric::L2 };
    if header.metric != by_class || header.metric != index.metric {
        return Err(format!(
            "offset {at}: a coarse quantizer by {} expected, as the index, found one by {} (class \
             \"{class}\")",
            index.metric, header.metric
        ));
    }
    if (header.dim, header.rows) != (index.dim, nlist) || nlist == 0 {
        return Err(format!(
            "offset {at}: {nlist} centroids of dimension {} expected, found {} of dimension {}",
            index.dim, header.rows, header.dim
        ));
    }
    let numbers = usize::try_from(nlist).ok().and_then(|n| n.checked_mul(index.dim));
    let numbers = numbers.ok_or_else(|| format!("offset {at}: {nlist} lists do not fit memory"))?;
    file.floats(numbers, "coarse centroids")
}

/// An HNSW graph, read over: header, then levels, offsets and links, then its parameters.
fn read_graph<R: Read>(file: &mut Cursor<R>) -> Result<()> {
    read_header(file, "header of the HNSW graph")?;
    file.vector::<f64>("HNSW level probabilities")?;
    file.vector::<i32>("HNSW neighbours per level")?;
    file.vector::<i32>("HNSW levels")?;
    file.vector::<u64>("HNSW offsets")?;
    file.vector::<i32>("HNSW links")?;
    let _entry_levels_ef_beam: [i32; 5] = file.one("HNSW parameters")?;
    Ok(())
}

/// id → list, where FAISS keeps such a map: read over, as a shard has its own.
fn read_direct_map<R: Read>(file: &mut Cursor<R>) -> Result<()> {
    let at = file.at();
    let kind: u8 = file.one("kind of the direct map")?;
    if kind > 2 {
        return Err(format!("offset {at}: a direct map of kind 0 to 2 expected, found {kind}"));
    }
    file.vector::<i64>("direct map")?;
    if kind == 2 {
        file.vector::<[i64; 2]>("direct map's table")?;
    }
    Ok(())
}

/// (m, ksub, codebooks).
fn read_quantizer<R: Read>(file: &mut Cursor<R>, d: usize) -> Result<(usize, usize, Vec<f32>)> {
    let at = file.at();
    let shape: [u64; 3] = file.one("product quantizer")?;
    let [pq_d, m, bits] = shape;
    let ksub = match bits {
        4 => 16,
        8 => 256,
        other => {
            return Err(format!("offset {at}: codes of 4 or 8 bits expected, found {other} bits"));
        }
    };
    if pq_d != d as u64 || m == 0 || m > pq_d || !pq_d.is_multiple_of(m) {
        return Err(format!(
            "offset {at}: a product quantizer of dimension {d} expected, found {m} sub-quantizers \
             of {pq_d} dimensions"
        ));
    }
    let numbers = d.checked_mul(ksub).ok_or_else(|| format!("offset {at}: dimension {d}"))?;
    Ok((m as usize, ksub, file.floats(numbers, "codebooks")?))
}

fn read_lists<R: Read>(
    file: &mut Cursor<R>,
    nlist: usize,
    code_size: usize,
    progress: &dyn Fn(u64),
) -> Result<Vec<List>> {
    let at = file.at();
    match file.code("class of the inverted lists")?.as_str() {
        "ilar" => {}
        "ilod" => {
            return Err(format!(
                "offset {at}: the inverted lists stand in another file (OnDiskInvertedLists), \
                 which is not imported"
            ));
        }
        other => return Err(refuse_class(other, at, "inverted lists (ilar)")),
    }
    let found: [u64; 2] = file.one("shape of the inverted lists")?;
    if found != [nlist as u64, code_size as u64] {
        return Err(format!(
            "offset {at}: {nlist} inverted lists with codes of {code_size} bytes expected, found \
             {} with {} bytes",
            found[0], found[1]
        ));
    }
    let sizes = read_sizes(file, nlist)?;
    let mut lists = Vec::with_capacity(nlist);
    for (list, n) in sizes.into_iter().enumerate() {
        let what = |of: &str| format!("{of} of list {list}");
        let bytes = n
            .checked_mul(code_size as u64)
            .ok_or_else(|| format!("offset {}: list {list} of {n} rows", file.at()))?;
        let codes = file.array(bytes, &what("codes"))?;
        let ids = file.array(n, &what("ids"))?;
        lists.push(List { ids, codes });
        progress(file.at());
    }
    Ok(lists)
}

/// Rows of each list: all sizes, or pairs (list, size) of those that are not empty.
fn read_sizes<R: Read>(file: &mut Cursor<R>, nlist: usize) -> Result<Vec<u64>> {
    let at = file.at();
    let kind = file.code("kind of the inverted lists")?;
    let numbers: Vec<u64> = match kind.as_str() {
        "full" | "sprs" => file.vector("sizes of the lists")?,
        _ => return Err(format!("offset {at}: \"full\" or \"sprs\" expected, found \"{kind}\"")),
    };
    if kind == "full" {
        if numbers.len() != nlist {
            return Err(format!("offset {at}: {nlist} sizes expected, found {}", numbers.len()));
        }
        return Ok(numbers);
    }
    let mut sizes = vec![0; nlist];
    let (pairs, rest) = numbers.as_chunks::<2>();
    let mut next = 0;
    for &[list, n] in pairs {
        match usize::try_from(list).ok().filter(|&list| list >= next && list < nlist) {
            Some(list) => {
                sizes[list] = n;
                next = list + 1;
            }
            None => return Err(format!("offset {at}: size of list {list}, which is not its turn")),
        }
    }
    if !rest.is_empty() {
        return Err(format!("offset {at}: pairs expected, found {} numbers", numbers.len()));
    }
    Ok(sizes)
}
