//! Reading a safetensors file as a set of named tensors. Nothing in the file is trusted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ocelli_index::foreign::{LOOK_BYTES, looks_like};
use ocelli_index::{Hash, Hasher};
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::error::{Error, Result};
use crate::onnx::is_onnx;

/// Length of the little-endian header size at the start of a safetensors file.
const PREFIX_LEN: usize = 8;

/// Tensors of one file, by name, with the file's own metadata.
pub struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
}

/// A tensor's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Floats {
    /// Any number of axes, each of size 1 or more.
    pub shape: Vec<usize>,
    /// Row-major, finite; as many as the product of the shape.
    pub values: Vec<f64>,
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Weights {
    /// Reads the whole file. Anything but a complete safetensors file is an error that says what
    /// the file looks like instead.
    ///
    /// # Errors
    /// [`Error::BadWeights`], or [`Error::Index`] for a file that cannot be read.
    pub fn read(path: &Path) -> Result<Weights> {
        let bad = |what: String| Error::BadWeights { path: path.to_path_buf(), what };
        let mut file = File::open(path).map_err(Error::io(path, "read"))?;
        let found = file.metadata().map_err(Error::io(path, "read"))?;
        if !found.is_file() {
            return Err(bad("expected a safetensors file, found no regular file".to_owned()));
        }
        // A look at the start first: another file may be larger than the memory.
        let mut bytes = Vec::new();
        file.by_ref()
            .take(LOOK_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(Error::io(path, "read"))?;
        check_prefix(&bytes, found.len()).map_err(bad)?;
        file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
        Weights::parse(path, &bytes)
    }

    /// Takes a file's bytes; `path` is what messages call it.
    ///
    /// # Errors
    /// [`Error::BadWeights`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Weights> {
        let bad = |what: String| Error::BadWeights { path: path.to_path_buf(), what };
        let (header_len, header) = SafeTensors::read_metadata(bytes)
            .map_err(|error| bad(describe(&error, bytes.len())))?;
        let data = bytes.get(PREFIX_LEN + header_len..).unwrap_or_default();
        let mut tensors = BTreeMap::new();
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let bytes = data.get(start..end).ok_or_else(|| {
                bad(format!(
                    "tensor {name} ends at byte {end} of {} bytes of data: the file is truncated",
                    data.len()
                ))
            })?;
            tensors.insert(
                name,
                Stored { dtype: info.dtype, shape: info.shape.clone(), bytes: bytes.to_vec() },
            );
        }
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Weights { path: path.to_path_buf(), tensors: without_prefix(tensors), metadata })
    }

    /// The file, as messages call it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, if there is one of this name.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }

    /// A value of the file's `__metadata__`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// All metadata, in order of their keys.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The tensor's numbers as float64, in the shape asked for, where `None` stands for any
    /// positive size.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`]; [`Error::BadWeights`] for integers and for
    /// values that are not finite.
    pub fn floats(&self, name: &str, expected: &[Option<usize>]) -> Result<Floats> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(self.missing(name, expected));
        };
        let fits = stored.shape.len() == expected.len()
            && stored
                .shape
                .iter()
                .zip(expected)
                .all(|(&found, &want)| found > 0 && want.is_none_or(|w| w == found));
        if !fits {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_string(),
                expected: shape_text(expected),
                found: shape_text(&stored.shape.iter().map(|&n| Some(n)).collect::<Vec<_>>()),
            });
        }
        let Some(values) = floats(stored.dtype, &stored.bytes) else {
            return Err(self.bad(format!(
                "tensor {name} has dtype {:?}, expected F32, F16, BF16 or F64",
                stored.dtype
            )));
        };
        if !values.iter().all(|v| v.is_finite()) {
            return Err(self.bad(format!("tensor {name} holds values that are not finite")));
        }
        Ok(Floats { shape: stored.shape.clone(), values })
    }

    /// The error of a tensor that is not there, although `expected` is its shape.
    #[must_use]
    pub fn missing(&self, name: &str, expected: &[Option<usize>]) -> Error {
        Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_string(),
            expected: shape_text(expected),
        }
    }

    /// The error of a file that is not what it should be.
    #[must_use]
    pub fn bad(&self, what: impl Into<String>) -> Error {
        Error::BadWeights { path: self.path.clone(), what: what.into() }
    }

    /// Hash of all tensors in order of their names: for each the name, dtype, shape and bytes,
    /// every variable part preceded by its length as u64 (little-endian). Metadata and the order in
    /// the file do not count.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for (name, stored) in &self.tensors {
            field(name.as_bytes());
            field(format!("{:?}", stored.dtype).as_bytes());
            field(
                &stored.shape.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect::<Vec<u8>>(),
            );
            field(&stored.bytes);
        }
        hasher.finish()
    }
}

/// Hash of the network in a file: over its tensors, or over the bytes of an ONNX file.
///
/// # Errors
/// As [`Weights::read`].
pub fn hash_of(path: &Path) -> Result<Hash> {
    if is_onnx(path) {
        return std::fs::read(path).map(|bytes| Hash::of(&bytes)).map_err(Error::io(path, "read"));
    }
    Ok(Weights::read(path)?.hash())
}

/// Takes away what wrappers put before a backbone's names: `module.` (`DataParallel`), `model.`,
/// `backbone.` and the like.
///
/// The first convolution tells the prefix. Names without it (a head beside the backbone) and files
/// with two backbones stay as they are, and what looks for the tensors says what is missing.
fn without_prefix(tensors: BTreeMap<String, Stored>) -> BTreeMap<String, Stored> {
    const HF_PATCH: &str = "embeddings.patch_embeddings.projection.weight";
    const FIRST: [(&str, &str); 5] = [
        ("conv1.weight", "layer1.0.conv1.weight"),
        ("features.0.weight", "features.0.weight"),
        ("_conv_stem.weight", "_conv_stem.weight"),
        ("patch_embed.proj.weight", "blocks.0.norm1.weight"),
        (HF_PATCH, HF_PATCH),
    ];
    let mut prefixes = Vec::new();
    for (first, also) in FIRST {
        for prefix in tensors.keys().filter_map(|name| name.strip_suffix(first)) {
            if tensors.contains_key(&format!("{prefix}{also}")) {
                prefixes.push(prefix.to_owned());
            }
        }
    }
    let [prefix] = prefixes.as_slice() else { return tensors };
    let shorter =
        |name: String| name.strip_prefix(prefix.as_str()).map(str::to_owned).unwrap_or(name);
    tensors.into_iter().map(|(name, stored)| (shorter(name), stored)).collect()
}

/// Little-endian numbers as float64; None where these are no floating-point numbers.
pub(crate) fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], read: fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&b| read(b)).collect()
    }
    Some(match dtype {
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f64()),
        _ => return None,
    })
}

fn shape_text(shape: &[Option<usize>]) -> String {
    let sizes: Vec<String> =
        shape.iter().map(|n| n.map_or("_".to_string(), |n| n.to_string())).collect();
    format!("({})", sizes.join(", "))
}

/// Kinds of file that `weights convert` reads, by a part of what [`looks_like`] calls them.
const CONVERTED: [&str; 2] = ["PyTorch", "pickle"];

/// Tells a truncated safetensors file from one that never was one, by the first bytes of a file of
/// `len` bytes: the parser reports both alike.
fn check_prefix(bytes: &[u8], len: u64) -> std::result::Result<(), String> {
    let expected = |found: &str| Err(format!("expected a safetensors file, found {found}"));
    let prefix = match bytes.split_first_chunk::<PREFIX_LEN>() {
        Some((prefix, [b'{', ..])) => prefix,
        short => {
            return match (looks_like(bytes), short) {
                (Some(name), _) if CONVERTED.iter().any(|kind| name.contains(kind)) => {
                    expected(&format!("{name}: convert it first (ocelli-encoder weights convert)"))
                }
                (Some(name), _) if len >= PREFIX_LEN as u64 || bytes.is_empty() => expected(&name),
                (_, None | Some((_, []))) => {
                    expected(&format!("{} bytes: the file is truncated", bytes.len()))
                }
                _ => expected("an unknown file type"),
            };
        }
    };
    let header_len = u64::from_le_bytes(*prefix);
    let rest = len.saturating_sub(PREFIX_LEN as u64);
    if header_len > rest {
        // Another kind of file whose ninth byte happens to be a brace.
        let other = looks_like(bytes).filter(|name| !name.contains("safetensors"));
        if let Some(name) = other {
            return expected(&name);
        }
        return Err(format!(
            "the safetensors header should have {header_len} bytes, found {rest}: the file is \
             truncated"
        ));
    }
    Ok(())
}

fn describe(error: &SafeTensorError, len: usize) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            format!(
                "the safetensors header describes another length than the file's {len} bytes: \
                 truncated or damaged"
            )
        }
        other => format!("not a readable safetensors file: {other}"),
    }
}
