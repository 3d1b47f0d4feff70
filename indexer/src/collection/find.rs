//! Searching a collection in this process.

use std::ffi::OsString;
use std::fs;
use std::iter::once;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ocelli_index::attributes::record::{self, Fields};
use ocelli_index::{Filter, FineKind, Metric, Model, Predicate, SearchParams, Snapshot};
use serde::Serialize;

use super::maker::EncodeFn;
use super::photos::{Photos, no_such_key, owned};
use crate::encode_images::encode_images;
use crate::{Error, Result};

/// Codes up to which all lists of an index are scanned: some milliseconds of one core.
const SCAN_ALL: u64 = 4_000_000;
/// Lists that are scanned beyond.
const NPROBE: usize = 64;
/// Candidates that are scored again from finer codes, where there are any.
const REFINE: usize = 150;

/// Options of [`find`].
#[derive(Clone, Debug)]
pub struct FindOptions {
    /// Number of hits, at least 1.
    pub k: usize,
    /// The part of an image that is looked for: x0, y0, x1, y1 in stored pixels.
    pub bounding_box: Option<[f64; 4]>,
    /// Only photos with such attributes.
    pub filter: Option<Predicate>,
    /// Whether hits have their attributes.
    pub attributes: bool,
    /// Flags of `ocelli-encoder encode` that say how it runs.
    pub encoder_flags: Vec<OsString>,
}

/// The query of a search: an image file, or the key of a photo of the collection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Query {
    /// An image file.
    Image(PathBuf),
    /// A photo of the collection, by key.
    Key(String),
}

/// A photo that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindHit {
    /// From 1.
    pub rank: usize,
    /// The score, of the kind that the report names.
    pub score: f32,
    /// Id in the index.
    pub id: u64,
    /// Key in the index.
    pub key: String,
    /// File of the photo.
    pub path: Option<PathBuf>,
    /// The photo's attributes by column, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Fields>,
}

/// Answer of [`find`].
#[derive(Clone, Debug, Serialize)]
pub struct FindReport {
    /// The directory.
    pub index: PathBuf,
    /// The query, as it was given.
    pub query: Query,
    /// File of the query.
    pub query_path: Option<PathBuf>,
    /// The part of it that was looked for, in stored pixels.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bounding_box: Option<[f64; 4]>,
    /// Best first. A query that is a photo of the index is not among them.
    pub hits: Vec<FindHit>,
    /// The meaning of the scores.
    pub scores: Scores,
    /// A remark on the query: its file has changed since it was encoded, or is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Photos of the index.
    pub photos: u64,
    /// Generation of the index.
    pub generation: u64,
    /// Wall time of encoding the query; 0 if it was encoded before.
    pub encode_seconds: f64,
    /// Wall time of everything.
    pub seconds: f64,
}

/// Looks for photos like `query`: an image file, or else a key of the collection. An image that is
/// a photo of the collection, whole and unchanged, is not encoded again.
///
/// # Errors
/// No collection; neither a file nor a key, with keys that may be meant; an image that cannot be
/// encoded; a box in a photo of the collection that is named by its key.
pub fn find(
    dir: &Path,
    query: &Path,
    options: &FindOptions,
    encode: EncodeFn<'_>,
) -> Result<FindReport> {
    let start = Instant::now();
    let photos = Photos::open(dir)?;
    let snapshot = Snapshot::open(photos.dir(), None)?;
    let Asked { query, path, key, x, encode_seconds } =
        ask(&photos, &snapshot, query, options, encode)?;
    let note = match &query {
        Query::Key(key) => stale(&photos, key),
        Query::Image(_) => None,
    };
    let hits = search(&photos, &snapshot, &x, key.as_deref(), options)?;
    Ok(FindReport {
        index: dir.to_owned(),
        query,
        query_path: path,
        bounding_box: options.bounding_box,
        hits,
        scores: Scores::of(snapshot.model()),
        note,
        photos: snapshot.rows(),
        generation: snapshot.generation().number,
        encode_seconds,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// A remark on a photo whose file is no longer what was encoded.
fn stale(photos: &Photos, key: &str) -> Option<String> {
    let path = photos.path(key)?;
    let what = match path.metadata() {
        Err(e) => format!("cannot be read any more ({e})"),
        Ok(metadata) if !photos.is_unchanged(key, &metadata) => "has changed since".to_owned(),
        Ok(_) => return None,
    };
    Some(format!(
        "{}: the file {what}; these are photos like the picture that was indexed. `ocelli index \
         --out {}` brings the index up to date",
        path.display(),
        photos.dir().display()
    ))
}

/// The meaning of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scores {
    /// Inner products with what the codes stand for: the larger, the more alike.
    InnerProduct,
    /// Cosines with what the codes stand for: the larger, the more alike.
    Cosine,
    /// Squared distances: the smaller, the more alike.
    SquaredDistance,
}

impl Scores {
    fn of(model: &Model) -> Scores {
        let by_cosine = model.fine_codec().is_some_and(|codec| codec.kind() == FineKind::Cosine);
        match model.parts().metric {
            _ if by_cosine => Scores::Cosine,
            Metric::InnerProduct => Scores::InnerProduct,
            Metric::L2 => Scores::SquaredDistance,
        }
    }

    /// Name of the score, and which scores are good.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Scores::InnerProduct => "inner product, the larger the more alike",
            Scores::Cosine => "cosine, the larger the more alike",
            Scores::SquaredDistance => "squared distance, the smaller the more alike",
        }
    }
}

/// A query that is ready to be searched.
struct Asked {
    query: Query,
    path: Option<PathBuf>,
    /// The query's key, if it is a photo of the collection.
    key: Option<String>,
    /// Descriptor of the query, (dim,).
    x: Vec<f32>,
    encode_seconds: f64,
}

fn ask(
    photos: &Photos,
    snapshot: &Snapshot,
    query: &Path,
    options: &FindOptions,
    encode: EncodeFn<'_>,
) -> Result<Asked> {
    if let Ok(metadata) = query.metadata().map_err(drop)
        && metadata.is_file()
    {
        let real = fs::canonicalize(query).map_err(Error::io("find", query))?;
        let known = photos.key_at(&real, &metadata).filter(|_| options.bounding_box.is_none());
        let (key, query) = (known.map(str::to_owned), Query::Image(query.to_owned()));
        if let Some(key) = &key
            && let Some(x) = photos.descriptor(key)?
        {
            let key = Some(key.clone());
            return Ok(Asked { query, path: Some(real), key, x, encode_seconds: 0.0 });
        }
        let start = Instant::now();
        let x = encode_image(&real, photos, snapshot, options, encode)?;
        let encode_seconds = start.elapsed().as_secs_f64();
        return Ok(Asked { query, path: Some(real), key, x, encode_seconds });
    }
    let Some(key) = query.to_str() else { return Err(no_such_key(photos, query)) };
    let x = match photos.descriptor(key)? {
        Some(x) => x,
        None => match snapshot.find_key(key)? {
            Some(row) => snapshot.vector(row)?,
            None if photos.rejected(key).is_some() => {
                return Err(Error::Invalid(format!(
                    "{key}: it has no descriptor: {}",
                    photos.rejected(key).unwrap_or_default()
                )));
            }
            None => return Err(no_such_key(photos, query)),
        },
    };
    if options.bounding_box.is_some() {
        let file = photos.path(key).map(|path| format!(": {}", path.display()));
        return Err(Error::Invalid(format!(
            "{key}: a box needs an image file, and this is a key of the index; give the file{}",
            file.unwrap_or_default()
        )));
    }
    let path = owned(photos.path(key));
    let query = Query::Key(key.to_owned());
    Ok(Asked { query, path, key: Some(key.to_owned()), x, encode_seconds: 0.0 })
}

/// The descriptor of an image file, (dim,).
fn encode_image(
    path: &Path,
    photos: &Photos,
    snapshot: &Snapshot,
    options: &FindOptions,
    encode: EncodeFn<'_>,
) -> Result<Vec<f32>> {
    let mut flags = photos.settings().encoder_flags(photos.dir())?;
    flags.extend(options.encoder_flags.iter().cloned());
    let run = |words: &[OsString]| {
        let words: Vec<OsString> = once("encode".into()).chain(words.iter().cloned()).collect();
        encode(&words, &|_, _| {})
    };
    let made = encode_images(&[(path.to_owned(), options.bounding_box)], &flags, &run)
        .map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))?;
    let expected = snapshot.model().parts().spec.hash();
    match made.descriptors.into_iter().next().filter(|_| made.spec == expected) {
        Some(x) => Ok(x),
        None => Err(Error::Invalid(format!(
            "{}: expected a descriptor of the spec {expected}, which the index has, found {}",
            path.display(),
            made.spec
        ))),
    }
}

fn search(
    photos: &Photos,
    snapshot: &Snapshot,
    x: &[f32],
    own: Option<&str>,
    options: &FindOptions,
) -> Result<Vec<FindHit>> {
    let (k, nlist) = (options.k, snapshot.model().parts().nlist);
    let filter = options.filter.clone().map(|predicate| {
        snapshot.resolve(&Filter { predicate: Some(predicate), ..Filter::default() }).map(Arc::new)
    });
    let params = SearchParams {
        k: k.saturating_add(usize::from(own.is_some())),
        nprobe: nprobe(snapshot.rows(), nlist),
        refine_candidates: if snapshot.fine_codec().is_some() { REFINE } else { 0 },
        filter: filter.transpose()?,
        ..SearchParams::default()
    };
    let mut hits = Vec::new();
    for hit in snapshot.search(x, &params)?.hits {
        let key = snapshot.key(hit.row)?;
        if own == Some(key.as_str()) || hits.len() >= k {
            continue;
        }
        let path = owned(photos.path(&key));
        let attributes = options.attributes.then(|| record::decode(&snapshot.record(hit.row)?));
        let (rank, attributes) = (hits.len() + 1, attributes.transpose()?);
        hits.push(FindHit { rank, score: hit.score, id: hit.id, key, path, attributes });
    }
    Ok(hits)
}

/// Lists to scan in an index of `rows` photos and `nlist` lists: all of them while that takes some
/// milliseconds. A pack has many lists, of which a small collection fills few.
#[must_use]
pub fn nprobe(rows: u64, nlist: usize) -> usize {
    if rows <= SCAN_ALL { nlist } else { NPROBE.min(nlist) }
}
