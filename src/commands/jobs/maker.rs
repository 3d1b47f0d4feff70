//! From `--pack` and `--code-bytes` to a network and a model.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ocelli_index::{Hash, Model};
use ocelli_indexer::collection::{Maker, Settings};
use serde::Deserialize;

/// A file that names network and model.
#[derive(Deserialize)]
struct Recipe {
    flags: Vec<String>,
    model: PathBuf,
}

/// Network and model of a collection, and the flags by which the encoder takes them.
pub struct Chosen {
    pub maker: Maker,
    /// For `encode` and `serve`.
    pub flags: Vec<OsString>,
}

/// What the collection at `dir` was made with, or what the flags say in a new one.
pub fn choose(dir: &Path, pack: Option<&Path>, code_bytes: Option<usize>) -> Result<Chosen> {
    let known = Settings::read(dir)?;
    let own = known.as_ref().and_then(|settings| settings.pack_file(dir));
    let file = pack.map(Path::to_owned).or(own).context("no pack: give --pack FILE")?;
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let recipe: Recipe = serde_json::from_slice(&bytes)?;
    let model = Model::open(&recipe.model)?;
    let maker = Maker {
        name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        hash: Hash::of(&bytes).to_string(),
        file: Some(file),
        code_bytes: code_bytes.unwrap_or(model.parts().m),
        dim: model.parts().dim,
        model,
    };
    Ok(Chosen { maker, flags: recipe.flags.into_iter().map(Into::into).collect() })
}
