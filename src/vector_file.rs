//! Files with one query vector.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ocelli_service::role;

/// The largest image or vector file in bytes: a larger one does not fit a message.
pub const MAX_FILE_BYTES: u64 = ocelli_proto::limits::DEFAULT_MAX_MESSAGE_BYTES as u64;

/// Reads one vector, (n,), by the file's extension.
pub fn read_vector(path: &Path) -> Result<Vec<f32>> {
    let bytes = role::read_at_most(path, MAX_FILE_BYTES)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => parse_npy(&bytes),
        Some("json") => serde_json::from_slice(&bytes).context("expected an array of numbers"),
        _ => {
            let text = std::str::from_utf8(&bytes).context("expected text or an .npy file")?;
            let words = text.split_whitespace();
            words
                .map(|word| word.parse().with_context(|| format!("{word:?} is no number")))
                .collect()
        }
    }
}

/// Parses NumPy's format, versions 1 to 3, for one vector: shape (n,) or (1, n), little-endian
/// float32 or float64. Layout: magic (6 bytes), version (2), length of the header (2, from version
/// 2 on 4, little-endian), the header (a Python literal), the values.
fn parse_npy(bytes: &[u8]) -> Result<Vec<f32>> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").context("expected an .npy file")?;
    let (header_len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => bail!("expected .npy format version 1 to 3"),
    };
    let (header, data) =
        rest.split_at_checked(header_len).context("the file ends in its header")?;
    let header = std::str::from_utf8(header).context("the header is no text")?;
    let field = |name: &str| header.split(&format!("'{name}':")).nth(1).map(str::trim_start);
    let shape = field("shape").and_then(|text| text.strip_prefix('(')?.split(')').next());
    let shape: Vec<usize> = shape
        .context("the header has no shape")?
        .split(',')
        .filter(|side| !side.trim().is_empty())
        .map(|side| side.trim().parse().with_context(|| format!("shape {side:?}")))
        .collect::<Result<_>>()?;
    let ([n] | [1, n]) = shape[..] else {
        bail!("the array has shape {shape:?}; expected one vector");
    };
    let descr = field("descr").unwrap_or_default();
    let size = match descr {
        _ if descr.starts_with("'<f4'") => 4,
        _ if descr.starts_with("'<f8'") => 8,
        _ => bail!("expected float32 or float64, little-endian; found {}", descr.trim_end()),
    };
    ensure!(
        n.checked_mul(size) == Some(data.len()),
        "{n} values of {size} bytes are declared and {} bytes stored",
        data.len()
    );
    let values = data.chunks_exact(size).map(|value| match *value {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN, // chunks_exact gives no other length; NaN would be refused by the server
    });
    Ok(values.collect())
}
