//! Ground truth as Oxford5k and Paris6k were published: text files in one directory.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ocelli_text::quoted;

use super::photos::entries;
use super::setups::{self, Contents, Draft, Lists};
use super::text::{self, refuse};
use super::{BoundingBox, Dataset, Form, Named};
use crate::{Error, Result};

/// How the names of the query files end.
pub(super) const QUERY_END: &str = "_query.txt";

/// In the query files of Oxford5k, and only there, photos carry this prefix.
pub(super) const PHOTO_PREFIX: &str = "oxc1_";

/// The photos of Paris6k that are published as corrupt, in the file `corrupt.txt` beside them.
const CORRUPT_PARIS: [&str; 20] = [
    "paris_louvre_000136",
    "paris_louvre_000146",
    "paris_moulinrouge_000422",
    "paris_museedorsay_001059",
    "paris_notredame_000188",
    "paris_pantheon_000284",
    "paris_pantheon_000960",
    "paris_pantheon_000974",
    "paris_pompidou_000195",
    "paris_pompidou_000196",
    "paris_pompidou_000201",
    "paris_pompidou_000467",
    "paris_pompidou_000640",
    "paris_sacrecoeur_000299",
    "paris_sacrecoeur_000330",
    "paris_sacrecoeur_000353",
    "paris_triomphe_000662",
    "paris_triomphe_000833",
    "paris_triomphe_000863",
    "paris_triomphe_000867",
];

/// Reads `NAME_query.txt` (`photo x0 y0 x1 y1`) and `NAME_good.txt`, `NAME_ok.txt`, `NAME_junk.txt`
/// (a photo per line) for every NAME in `dir`, in the order of names.
///
/// # Errors
/// No query files; a query file that cannot be understood; a missing file of good or ok photos (one
/// without junk may lack); a file of photos without its query file.
pub(super) fn read(dir: &Path) -> Result<Dataset> {
    let files = entries(dir)?;
    check_lists(&files)?;
    let names = files.iter().filter_map(|path| path.file_name()?.to_str()?.strip_suffix(QUERY_END));
    let queries: Vec<(Draft, bool)> =
        names.map(|name| read_query(dir, name)).collect::<Result<_>>()?;
    let is_oxford = queries.iter().any(|(_, has_prefix)| *has_prefix);
    let drafts: Vec<Draft> = queries.into_iter().map(|(draft, _)| draft).collect();
    if drafts.is_empty() {
        let what = format!("expected files named *{QUERY_END}, found none");
        return Err(Error::GroundTruth { path: dir.to_owned(), what });
    }
    let is_paris = drafts.iter().all(|draft| draft.photo.name.starts_with("paris_"));
    let name = match (is_paris, is_oxford) {
        (true, _) => "paris6k",
        (false, true) => "oxford5k",
        // A set of one's own, which is named by its directory.
        (false, false) => "",
    };
    let contents = Contents { drafts, ..Contents::default() };
    let mut dataset = setups::dataset(name.to_owned(), Form::Oxford, contents)?;
    if is_paris {
        dataset.damaged = CORRUPT_PARIS.map(str::to_owned).to_vec();
    }
    Ok(dataset)
}

/// Refuses a list whose query file is missing: its name may be mistyped.
fn check_lists(files: &[PathBuf]) -> Result<()> {
    let names = || files.iter().filter_map(|path| Some((path, path.file_name()?.to_str()?)));
    let queries: BTreeSet<&str> =
        names().filter_map(|(_, name)| name.strip_suffix(QUERY_END)).collect();
    for (path, file) in names() {
        let list = ["_good.txt", "_ok.txt", "_junk.txt"].iter().find_map(|e| file.strip_suffix(e));
        if let Some(name) = list.filter(|name| !queries.contains(name)) {
            let query = quoted(&format!("{name}{QUERY_END}"));
            let what = format!("expected the query of this list in {query}, found no such file");
            return Err(Error::GroundTruth { path: path.clone(), what });
        }
    }
    Ok(())
}

/// A query, and whether its photo has the prefix of Oxford5k.
fn read_query(dir: &Path, name: &str) -> Result<(Draft, bool)> {
    let path = dir.join(format!("{name}{QUERY_END}"));
    let (text, file) = text::read(&path)?;
    let mut lines = text::lines(&text, &file);
    let Some((line, place)) = lines.next() else {
        let what = "expected \"photo x0 y0 x1 y1\", found nothing".to_owned();
        return Err(Error::GroundTruth { path, what });
    };
    if let Some((second, place)) = lines.next() {
        return Err(refuse(&place, format!("expected one line, found also {}", quoted(second))));
    }
    let (photo, bounding_box) = parse_query(line).ok_or_else(|| {
        refuse(&place, format!("expected \"photo x0 y0 x1 y1\", found {}", quoted(line)))
    })?;
    let list = |kind: &str| text::names(&dir.join(format!("{name}_{kind}.txt")));
    let junk = match list("junk") {
        Err(Error::Index(ocelli_index::Error::Io { cause, .. }))
            if cause.kind() == ErrorKind::NotFound =>
        {
            None
        }
        junk => Some(junk?),
    };
    let lists =
        Lists { good: Some(list("good")?), ok: Some(list("ok")?), junk, ..Lists::default() };
    let photo = Named::new(photo, place);
    let name = name.to_owned();
    let draft = Draft { name, photo, bounding_box: Some(bounding_box), lists };
    Ok((draft, line.starts_with(PHOTO_PREFIX)))
}

fn parse_query(line: &str) -> Option<(&str, BoundingBox)> {
    let mut words = line.split_whitespace();
    let photo = words.next()?;
    let numbers: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some((photo.strip_prefix(PHOTO_PREFIX).unwrap_or(photo), numbers.try_into().ok()?))
}
