//! A generated set: a folder that appears as a whole or not at all, with a manifest that says what
//! it was made from.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::error::{Error, Result};

/// Makes the folder `dir`: `write` fills a temporary folder beside it, which is renamed. A set that
/// another process has finished in the meantime is taken, if `existing` finds that it is the same.
/// Returns the manifest, and whether the set was there already.
pub(crate) fn make<M>(
    dir: &Path,
    existing: impl Fn() -> Result<Option<M>>,
    write: impl FnOnce(&Path) -> Result<M>,
) -> Result<(M, bool)> {
    if let Some(manifest) = existing()? {
        return Ok((manifest, true));
    }
    let target = std::path::absolute(dir).map_err(Error::io("resolve", dir))?;
    let work = workspace(&target)?;
    let manifest = write(work.path())?;
    match fs::rename(work.path(), &target) {
        Ok(()) => {
            // It has another name now, so there is nothing to remove.
            let _ = work.keep();
            Ok((manifest, false))
        }
        Err(cause) => match existing()? {
            Some(manifest) => Ok((manifest, true)),
            None => Err(Error::Io { path: target, op: "rename the finished set to", cause }),
        },
    }
}

/// The manifest of the set in `dir`: `None` if `dir` is missing or an empty folder.
pub(crate) fn manifest<M: DeserializeOwned>(dir: &Path) -> Result<Option<M>> {
    let differs = |what: String| Error::Exists { path: dir.to_owned(), what };
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            return Err(differs("expected a folder, found a file".into()));
        }
        Err(error) => return Err(Error::io("read", dir)(error)),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(None);
            }
        }
    }
    let path = dir.join("manifest.json");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(differs("expected a generated set, found no manifest.json in it".into()));
        }
        other => other.map_err(Error::io("read", &path))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        differs(format!("its manifest.json is not one of this generator: {error}"))
    })
}

/// Refuses a set of another version of its generator, or with another number of photos.
pub(crate) fn check(dir: &Path, version: [u32; 2], photos: u64) -> Result<()> {
    let differs = |what: String| Error::Exists { path: dir.to_owned(), what };
    let [found, current] = version;
    if found != current {
        return Err(differs(format!(
            "it was made by generator version {found}, this is version {current}"
        )));
    }
    let folder = dir.join("photos");
    let found = fs::read_dir(&folder).map_err(Error::io("read", &folder))?.count() as u64;
    if found != photos {
        return Err(differs(format!("expected {photos} photos in it, found {found}")));
    }
    Ok(())
}

/// Refuses a set that was made with other options: "seed 1, not 2".
pub(crate) fn check_options<O: Serialize>(dir: &Path, asked: &O, found: &O) -> Result<()> {
    let fields = |options: &O| {
        serde_json::to_value(options).map_err(|error| Error::invalid(error.to_string()))
    };
    let (asked, found) = (fields(asked)?, fields(found)?);
    let differing: Vec<String> = asked
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, asked)| found[*name] != **asked)
        .map(|(name, asked)| format!("{name} {}, not {asked}", found[name]))
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    let what = format!("it was made with other options: {}", differing.join(", "));
    Err(Error::Exists { path: dir.to_owned(), what })
}

/// Writes `name`.jpg into a folder and returns its bytes.
pub(crate) fn write_jpeg(folder: &Path, name: &str, image: &RgbImage, quality: u8) -> Result<u64> {
    let bytes = jpeg(name, image, quality)?;
    let path = folder.join(format!("{name}.jpg"));
    fs::write(&path, &bytes).map_err(Error::io("write", &path))?;
    Ok(bytes.len() as u64)
}

/// A picture as JPEG of a quality of 1 to 100.
pub(crate) fn jpeg(name: &str, image: &RgbImage, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(|cause| Error::Encode { name: name.into(), cause })?;
    Ok(bytes)
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    text.push('\n');
    fs::write(path, text).map_err(Error::io("write", path))
}

/// Writes a file under a temporary name, then gives it its own. Its folder is made if it is
/// missing.
pub(crate) fn replace(out: &Path, content: &[u8]) -> Result<()> {
    let out = std::path::absolute(out).map_err(Error::io("resolve", out))?;
    let Some(home) = out.parent() else {
        return Err(Error::invalid(format!("{}: expected the name of a file", out.display())));
    };
    fs::create_dir_all(home).map_err(Error::io("create", home))?;
    let readable = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().permissions(readable).tempfile_in(home);
    let mut file = file.map_err(Error::io("write", &out))?;
    file.write_all(content).map_err(Error::io("write", &out))?;
    file.persist(&out).map(drop).map_err(|error| Error::io("write", &out)(error.error))
}

/// A pool of so many threads; 0 for one per core.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::invalid(format!("threads: cannot start {threads}: {error}")))
}

/// A temporary folder beside the target, on the same file system; removed unless it is kept.
fn workspace(target: &Path) -> Result<TempDir> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        let path = target.display();
        return Err(Error::invalid(format!("{path}: expected a folder that can be created")));
    };
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    tempfile::Builder::new()
        .prefix(&format!(".{}.tmp-", name.to_string_lossy()))
        .permissions(Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(Error::io("create a folder in", parent))
}
