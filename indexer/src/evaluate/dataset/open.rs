//! Which form the files of a data set have, and reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelli_index::foreign::open_regular;
use ocelli_text::{counted, quoted};

use super::photos::{entries, list_flat, photo_folder};
use super::{
    Dataset, Form, Named, copydays, disc, gldv2, holidays, ilias, instre, json, lists, matches,
    oxford, table, text, ukbench,
};
use crate::{Error, Result};

/// Where the names of photos alone may tell a form.
const NAMED_IN: [&str; 4] = ["", "jpg", "full", "images"];

/// The file of turns that make photos upright.
const ROTATIONS: &str = "rotations.txt";

/// The form of this project's own JSON, in a directory.
const OWN_JSON: &str = "groundtruth.json";

/// Bytes of a CSV file that are looked at for its header.
const HEADER_BYTES: usize = 256;

/// The files by which each form is told.
const MARKS: [(Form, &str); 11] = [
    (Form::Oxford, "files *_query.txt in it or in a folder of it"),
    (Form::Lists, "gnd_*.pkl or gnd_*.json"),
    (Form::Holidays, "holidays_images.dat, or photos with names of six digits"),
    (Form::UkBench, "photos named ukbench00000.jpg, in it or in full/"),
    (Form::Instre, "gnd_instre.mat or gnd_instre.pkl, or folders INSTRE-S1 and so on"),
    (Form::Gldv2, "retrieval_solution*.csv"),
    (Form::Ilias, "image_ids/image_query_ids.txt"),
    (Form::Copydays, "original/ beside strong/, jpegqual/ or crops/"),
    (Form::Disc21, "*ground_truth.csv or *groundtruth.csv of query_id,reference_id"),
    (Form::Json, "groundtruth.json"),
    (Form::Matches, "matches.csv, matches.tsv or matches.jsonl"),
];

/// How much a mark says: an official file more than names of photos, and these more than a file of
/// one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Official,
    Photos,
    Own,
}

/// What speaks for a form.
#[derive(Debug)]
struct Mark {
    form: Form,
    strength: Strength,
    /// The files or the directory that the form's reader reads.
    at: Vec<PathBuf>,
    /// As [`Dataset::why`].
    why: String,
    /// Weaker marks that are there too, as the end of that sentence.
    ruled_out: String,
}

impl Mark {
    fn new(form: Form, at: &Path, why: String) -> Self {
        let strength = match form {
            Form::Json | Form::Matches => Strength::Own,
            _ => Strength::Official,
        };
        Self { form, strength, at: vec![at.to_owned()], why, ruled_out: String::new() }
    }

    fn first(&self) -> &Path {
        self.at.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

impl Dataset {
    /// Reads the data set in a directory, or in one file of ground truth.
    ///
    /// The form is told by what is there, unless `form` says it. Official files win over names of
    /// photos, and these over this project's JSON and a user's list of matches.
    ///
    /// # Errors
    /// A path that is not there; no mark of any form, or marks of several; files that cannot be
    /// understood; lists that contradict themselves. The error says where.
    pub fn open(path: &Path, form: Option<Form>) -> Result<Self> {
        let is_directory = path.is_dir();
        let mark = match (is_directory, form) {
            (true, _) => choose(path, form)?,
            (false, Some(form)) => mark_of_named_file(path, form)?,
            (false, None) => mark_of_file(path)?,
        };
        let directory = match path.parent() {
            _ if is_directory => path,
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut dataset = read(&mark)?;
        dataset.form = mark.form;
        if dataset.name.is_empty() {
            let whole = fs::canonicalize(directory).map_err(Error::io("read", directory))?;
            dataset.name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        }
        if dataset.why.is_empty() {
            dataset.why = mark.why;
        }
        dataset.why.push_str(&mark.ruled_out);
        if dataset.photos.is_empty() {
            dataset.photos.extend(photo_folder(directory)?);
        }
        let rotations = directory.join(ROTATIONS);
        if rotations.is_file() {
            let turned = read_rotations(&rotations)?;
            dataset.mentioned.extend(turned.iter().map(|(photo, _)| photo.clone()));
            dataset.rotations =
                turned.into_iter().map(|(photo, turn)| (photo.name.to_string(), turn)).collect();
        }
        super::check::check(&dataset)?;
        Ok(dataset)
    }
}

/// Reads the files of a form.
fn read(mark: &Mark) -> Result<Dataset> {
    match mark.form {
        Form::Oxford => oxford::read(mark.first()),
        Form::Lists => lists::read(&mark.at),
        Form::Holidays if mark.first().is_dir() => holidays::read_photos(mark.first()),
        Form::Holidays => holidays::read_list(mark.first()),
        Form::UkBench => ukbench::read(mark.first()),
        Form::Copydays => copydays::read(mark.first()),
        Form::Json => json::read(mark.first()),
        Form::Instre if is_pickle(mark.first()) => lists::read(&mark.at),
        Form::Instre => instre::read(mark.first()),
        Form::Gldv2 => gldv2::read(mark.first()),
        Form::Ilias => ilias::read(mark.first()),
        Form::Disc21 => disc::read(mark.first()),
        Form::Matches => matches::read(mark.first()),
    }
}

fn is_pickle(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("pkl"))
}

/// What tells a form, for a message.
fn mark_text(form: Form) -> &'static str {
    MARKS.iter().find(|(marked, _)| *marked == form).map_or("", |(_, text)| text)
}

/// The mark of a directory that counts.
fn choose(directory: &Path, form: Option<Form>) -> Result<Mark> {
    let mut marks = marks_of(directory)?;
    if let Some(form) = form {
        marks.retain(|mark| mark.form == form);
        return match (marks.pop(), marks.pop()) {
            (Some(mark), None) => Ok(mark),
            (Some(second), Some(first)) => Err(ambiguous(directory, &[first, second])),
            (None, _) => Err(Error::GroundTruth {
                path: directory.to_owned(),
                what: format!("form {form}: expected {}, found none", mark_text(form)),
            }),
        };
    }
    marks.sort_by_key(|mark| mark.strength);
    let Some(strength) = marks.first().map(|mark| mark.strength) else {
        let looked: Vec<String> =
            MARKS.iter().map(|(form, text)| format!("{text} ({form})")).collect();
        return Err(Error::GroundTruth {
            path: directory.to_owned(),
            what: format!("found no data set; looked for {}", looked.join("; ")),
        });
    };
    let weaker = marks.split_off(marks.partition_point(|mark| mark.strength == strength));
    if marks.len() > 1 {
        return Err(ambiguous(directory, &marks));
    }
    let Some(mut mark) = marks.pop() else { return Err(ambiguous(directory, &[])) };
    let wins = match strength {
        Strength::Official => "official files win",
        Strength::Photos | Strength::Own => "the photos' names win",
    };
    for other in &weaker {
        let too = if other.why.ends_with("there") { " too" } else { "" };
        mark.ruled_out
            .push_str(&format!("; {}{too}, which would be form {}; {wins}", other.why, other.form));
    }
    Ok(mark)
}

/// The error about several marks.
fn ambiguous(directory: &Path, marks: &[Mark]) -> Error {
    let found: Vec<String> =
        marks.iter().map(|mark| format!("{} (form {})", mark.why, mark.form)).collect();
    let same = marks.windows(2).all(|two| two[0].form == two[1].form);
    let remedy = match same {
        true => "give the path of the one that is meant",
        false => "choose with --protocol FORM",
    };
    Error::GroundTruth {
        path: directory.to_owned(),
        what: format!("found several data sets: {}; {remedy}", found.join(", and ")),
    }
}

/// All marks in a directory.
fn marks_of(directory: &Path) -> Result<Vec<Mark>> {
    let entries = entries(directory)?;
    let mut marks = oxford_marks(directory, &entries)?;
    marks.extend(list_marks(&entries));
    let named = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let mut instre_folders = 0;
    for path in &entries {
        let Some(name) = named(path) else { continue };
        if path.is_dir() {
            instre_folders += usize::from(is_instre_folder(&name));
            continue;
        }
        let form = match name.as_str() {
            holidays::LIST => Form::Holidays,
            "gnd_instre.mat" | "gnd_instre.pkl" => Form::Instre,
            OWN_JSON => Form::Json,
            "matches.csv" | "matches.tsv" | "matches.jsonl" => Form::Matches,
            _ if is_gldv2(&name) => Form::Gldv2,
            _ if disc::is_pairs(&name) && is_disc21(path)? => Form::Disc21,
            _ => continue,
        };
        marks.push(Mark::new(form, path, format!("{name} is there")));
    }
    // The published files are sorted by their versions.
    let last = |names: &[String]| names.len().checked_sub(1);
    let public = |names: &[String]| names.iter().position(|name| disc::is_public(name));
    prefer(&mut marks, Form::Gldv2, "the last version", last);
    prefer(&mut marks, Form::Disc21, "the public development set", public);
    if instre_folders > 0 && !marks.iter().any(|mark| mark.form == Form::Instre) {
        let why = match instre_folders {
            1 => "1 folder INSTRE-* is there".to_owned(),
            n => format!("{n} folders INSTRE-* are there"),
        };
        marks.push(Mark::new(Form::Instre, directory, why));
    }
    if directory.join("image_ids/image_query_ids.txt").is_file() {
        let why = "image_ids/image_query_ids.txt is there".to_owned();
        marks.push(Mark::new(Form::Ilias, directory, why));
    }
    let copies = copydays::COPIES.iter().filter(|folder| directory.join(folder).is_dir());
    let copies: Vec<String> = copies.map(|folder| format!("{folder}/")).collect();
    if directory.join(copydays::ORIGINAL).is_dir() && !copies.is_empty() {
        let why = format!("original/ is there, with {}", copies.join(", "));
        marks.push(Mark::new(Form::Copydays, directory, why));
    }
    // A user who lists matches may have photos of any names.
    let own_matches = marks.iter().any(|mark| mark.form == Form::Matches);
    for folder in NAMED_IN.iter().filter(|_| !own_matches) {
        let folder = if folder.is_empty() { directory.to_owned() } else { directory.join(folder) };
        if folder.is_dir() {
            marks.extend(photo_mark(&folder, &marks)?);
        }
    }
    Ok(marks)
}

/// Keeps one of several marks of a form: the one whose file `choose` chooses, if it does.
fn prefer(
    marks: &mut Vec<Mark>,
    form: Form,
    what: &str,
    choose: impl Fn(&[String]) -> Option<usize>,
) {
    let of_form = |mark: &&Mark| mark.form == form;
    let names: Vec<String> =
        marks.iter().filter(of_form).map(|mark| table::file_name(mark.first())).collect();
    let Some(chosen) = choose(&names).and_then(|place| names.get(place)) else { return };
    let others: Vec<&str> = names.iter().filter(|n| *n != chosen).map(String::as_str).collect();
    if others.is_empty() {
        return;
    }
    marks.retain(|mark| mark.form != form || table::file_name(mark.first()) == *chosen);
    if let Some(mark) = marks.iter_mut().find(|mark| mark.form == form) {
        mark.ruled_out = format!(", {what}; {} is there too", others.join(", "));
    }
}

/// Folders with query files of Oxford's form: the directory and those in it.
fn oxford_marks(directory: &Path, inside: &[PathBuf]) -> Result<Vec<Mark>> {
    let is_query = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(oxford::QUERY_END))
    };
    let mark = |folder: &Path, inside: &[PathBuf]| -> Result<Option<Mark>> {
        let queries: Vec<&PathBuf> = inside.iter().filter(|path| is_query(path)).collect();
        let Some(first) = queries.first() else { return Ok(None) };
        let (text, _) = text::read(first)?;
        let prefix = text.starts_with(oxford::PHOTO_PREFIX);
        let why = format!(
            "{} has {} *{}{}",
            match folder == directory {
                true => "the directory".to_owned(),
                false => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            },
            counted(queries.len() as u64, "file"),
            oxford::QUERY_END,
            if prefix { ", with photos named oxc1_…" } else { "" }
        );
        Ok(Some(Mark::new(Form::Oxford, folder, why)))
    };
    let mut marks: Vec<Mark> = mark(directory, inside)?.into_iter().collect();
    for folder in inside.iter().filter(|path| path.is_dir()) {
        marks.extend(mark(folder, &entries(folder)?)?);
    }
    Ok(marks)
}

/// One mark for each set that files gnd_* are of; the revisited set is one with the official.
fn list_marks(inside: &[PathBuf]) -> Vec<Mark> {
    let mut files: BTreeMap<&str, &PathBuf> = BTreeMap::new();
    for path in inside {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let (Some("pkl" | "json"), Some(stem)) = (ending, stem) else { continue };
        let Some(set) = stem.strip_prefix("gnd_").filter(|&set| set != "instre") else { continue };
        // Sorted, .json comes before .pkl: of the same set, the pickle is read.
        files.insert(set, path);
    }
    let mut sets: BTreeMap<&str, Vec<&PathBuf>> = BTreeMap::new();
    for (set, path) in files {
        let official = match set {
            "roxford5k" => "oxford5k",
            "rparis6k" => "paris6k",
            other => other,
        };
        sets.entry(official).or_default().push(path);
    }
    sets.into_values()
        .map(|paths| {
            let names: Vec<String> = paths
                .iter()
                .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
                .collect();
            let is = if names.len() == 1 { "is" } else { "are" };
            let why = format!("{} {is} there", names.join(" and "));
            let at = paths.into_iter().cloned().collect();
            Mark { at, ..Mark::new(Form::Lists, Path::new(""), why) }
        })
        .collect()
}

/// The form that the names of a folder's photos tell, unless a mark tells it already.
fn photo_mark(folder: &Path, marks: &[Mark]) -> Result<Option<Mark>> {
    let photos = list_flat(folder)?;
    if photos.is_empty() {
        return Ok(None);
    }
    let ukbench = photos.iter().filter(|photo| ukbench::number(&photo.key).is_some()).count();
    let (form, why) = if ukbench > 0 {
        let why = format!("{ukbench} of {} photos are named ukbench00000.jpg", photos.len());
        (Form::UkBench, format!("{why} and so on"))
    } else if let Some(groups) = holidays_groups(photos.iter().map(|photo| photo.key.as_str())) {
        let why = format!(
            "all {} photos have names of six digits, in {} of a hundred numbers",
            photos.len(),
            counted(groups as u64, "group")
        );
        (Form::Holidays, why)
    } else {
        return Ok(None);
    };
    if marks.iter().any(|mark| mark.form == form) {
        return Ok(None);
    }
    Ok(Some(Mark { strength: Strength::Photos, ..Mark::new(form, folder, why) }))
}

/// Number of groups, if all names are of Holidays' kind, and a photo of some group asks for others.
fn holidays_groups<'a>(names: impl Iterator<Item = &'a str>) -> Option<usize> {
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for name in names {
        let number = holidays::number(name)?;
        groups.entry(number / holidays::GROUP).or_default().push(number % holidays::GROUP);
    }
    let asks = |group: &Vec<u32>| group.len() > 1 && group.contains(&0);
    groups.values().any(asks).then_some(groups.len())
}

/// The mark of a file by its name, and by its header where the name does not say enough.
fn mark_of_file(path: &Path) -> Result<Mark> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_lists = name.starts_with("gnd_");
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let form = match ending.to_ascii_lowercase().as_str() {
        _ if name == holidays::LIST => Form::Holidays,
        "mat" => Form::Instre,
        "pkl" if name == "gnd_instre.pkl" => Form::Instre,
        "pkl" => Form::Lists,
        "json" if is_lists => Form::Lists,
        "json" => Form::Json,
        "csv" if is_gldv2(&name) => Form::Gldv2,
        "csv" if is_disc21(path)? => Form::Disc21,
        "csv" | "tsv" | "jsonl" => Form::Matches,
        _ => {
            // A path that is not there is told as such.
            open_regular(path).map_err(Error::io("read", path))?;
            return Err(Error::GroundTruth {
                path: path.to_owned(),
                what: "expected a directory, or a file .pkl, .mat, .json, .csv, .tsv, .jsonl or \
                       holidays_images.dat"
                    .to_owned(),
            });
        }
    };
    Ok(Mark::new(form, path, format!("the file is {name}")))
}

/// A file that the user says the form of.
fn mark_of_named_file(path: &Path, form: Form) -> Result<Mark> {
    if matches!(form, Form::Oxford | Form::UkBench | Form::Copydays | Form::Ilias) {
        open_regular(path).map_err(Error::io("read", path))?;
        return Err(Error::GroundTruth {
            path: path.to_owned(),
            what: format!("form {form}: expected a directory, with {}", mark_text(form)),
        });
    }
    Ok(Mark::new(form, path, "the form was given".to_owned()))
}

fn is_gldv2(name: &str) -> bool {
    name.starts_with("retrieval_solution") && name.ends_with(".csv")
}

fn is_instre_folder(name: &str) -> bool {
    ["INSTRE-S1", "INSTRE-S2", "INSTRE-M"].contains(&name)
}

/// Whether a CSV file has DISC21's header, or its lines without one: `Q00000,R000000`.
fn is_disc21(path: &Path) -> Result<bool> {
    let file = open_regular(path).map_err(Error::io("read", path))?;
    let mut start = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(Error::io("read", path))?;
    let start = String::from_utf8_lossy(&start);
    let line = start.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().trim();
    let Some((query, reference)) = line.split_once(',') else { return Ok(false) };
    let is_id = |id: &str, letter: char| {
        let digits = id.strip_prefix(letter).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_pair = is_id(query, 'Q') && (reference.is_empty() || is_id(reference, 'R'));
    Ok(is_pair || (query, reference) == ("query_id", "reference_id"))
}

/// Photos and their turns, from lines `NAME DEGREES`.
fn read_rotations(path: &Path) -> Result<Vec<(Named, u16)>> {
    let (content, file) = text::read(path)?;
    let mut rotations = Vec::new();
    let mut seen = BTreeSet::new();
    for (line, place) in text::lines(&content, &file) {
        let parsed = line.rsplit_once(char::is_whitespace).and_then(|(name, degrees)| {
            let degrees: u16 = degrees.parse().ok()?;
            [90, 180, 270].contains(&degrees).then(|| (name.trim_end().to_owned(), degrees))
        });
        let Some((name, degrees)) = parsed else {
            let what =
                format!("expected \"NAME DEGREES\" with 90, 180 or 270, found {}", quoted(line));
            return Err(text::refuse(&place, what));
        };
        if !seen.insert(name.clone()) {
            let what = format!("photo {} is turned twice", quoted(&name));
            return Err(text::refuse(&place, what));
        }
        rotations.push((Named::new(name, place), degrees));
    }
    Ok(rotations)
}

/// The form that a path is taken for.
#[cfg(test)]
pub(super) fn form_of(path: &Path) -> Result<Form> {
    let mark = if path.is_dir() { choose(path, None) } else { mark_of_file(path) };
    Ok(mark?.form)
}
