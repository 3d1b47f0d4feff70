//! Query images to descriptors, by the encoder's command.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf, absolute};

use ocelli_index::container::write_atomically;
use ocelli_index::{Hash, Part, RejectedWriter};

use crate::evaluate::dataset::BoundingBox;
use crate::evaluate::list::{ListLine, list_text};
use crate::evaluate::prepare::Encode;
use crate::{Error, Result};

/// Descriptors of some images.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedImages {
    /// Hash of their spec.
    pub spec: Hash,
    /// The descriptor (dim,) of each image, in the order in which the images were given.
    pub descriptors: Vec<Vec<f32>>,
}

/// Has image files encoded, each with the box that is cut out, if there is one. `flags` say which
/// network.
///
/// # Errors
/// Those of `encode`; an image that cannot be encoded, with the reason.
pub fn encode_images(
    images: &[(PathBuf, Option<BoundingBox>)],
    flags: &[OsString],
    encode: Encode<'_>,
) -> Result<EncodedImages> {
    let folder = tempfile::tempdir().map_err(Error::io("make a folder in", &env::temp_dir()))?;
    let [list, part] = ["query.jsonl", "query.part"].map(|name| folder.path().join(name));
    let line = |(number, (path, bounding_box)): (usize, &(PathBuf, Option<BoundingBox>))| {
        let path = absolute(path).map_err(Error::io("find", path))?;
        // Not the path: the same image may be given twice, with other boxes.
        Ok(ListLine { path, key: number.to_string(), bounding_box: *bounding_box, rotate: None })
    };
    let lines: Vec<ListLine> = images.iter().enumerate().map(line).collect::<Result<_>>()?;
    write_atomically(&list, &list_text(&lines)?)?;
    let mut words: Vec<OsString> = vec!["--list".into(), list.into()];
    words.extend(["--include".into(), "*".into(), "--out".into(), part.clone().into()]);
    words.extend(flags.iter().cloned());
    encode(&words).map_err(Error::Encode)?;
    let part = Part::open(&part)?;
    let mut descriptors = vec![None; images.len()];
    for (key, row) in part.keys()?.into_iter().zip(0..) {
        if let Some(place) = key.parse().ok().and_then(|i: usize| descriptors.get_mut(i)) {
            *place = Some(part.read(row..row + 1)?);
        }
    }
    let missing = |(number, _): (usize, &Option<Vec<f32>>)| {
        let path = images[number].0.display();
        let reason = reason(&RejectedWriter::path_for(part.path()), number);
        Error::Invalid(format!("image {path}: {reason}"))
    };
    if let Some(error) = descriptors.iter().enumerate().find(|(_, x)| x.is_none()).map(missing) {
        return Err(error);
    }
    let descriptors = descriptors.into_iter().flatten().collect();
    Ok(EncodedImages { spec: part.spec().hash(), descriptors })
}

/// Why the encoder rejected an image, by its key.
fn reason(list: &Path, key: usize) -> String {
    let text = fs::read_to_string(list).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let key = key.to_string();
    let is_own = |line: &serde_json::Value| line["key"].as_str() == Some(key.as_str());
    let own = lines.into_iter().find(is_own);
    let reason = own.as_ref().and_then(|line| line["reason"].as_str());
    reason.unwrap_or("the encoder made no descriptor of it").to_owned()
}
