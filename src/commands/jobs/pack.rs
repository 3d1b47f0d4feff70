//! From `--pack` and `--code-bytes` to a pack and one of its variants.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ocelli_index::Pack;
use ocelli_indexer::collection::{Maker, Settings};

/// The pack of a collection.
pub struct Chosen {
    pack: Pack,
    built_in: Option<&'static [u8]>,
    code_bytes: Option<usize>,
}

impl Chosen {
    /// What the collection at `dir` was made with, or what the flags say.
    ///
    /// # Errors
    /// A pack that cannot be opened.
    pub fn open(dir: &Path, pack: Option<&Path>, code_bytes: Option<usize>) -> Result<Self> {
        let known = Settings::read(dir)?;
        let choice: PathBuf = match (pack, &known) {
            (Some(pack), _) => pack.to_owned(),
            (None, Some(_)) => Settings::pack_file(dir)?,
            (None, None) => ocelli_packs::DEFAULT.into(),
        };
        let is_default = choice == Path::new(ocelli_packs::DEFAULT);
        let built_in = ocelli_packs::default_bytes().filter(|_| is_default);
        let code_bytes = code_bytes.or(known.map(|known| known.code_bytes));
        Ok(Chosen { pack: ocelli_packs::open(&choice)?, built_in, code_bytes })
    }

    /// The pack's variant.
    ///
    /// # Errors
    /// A size of codes that the pack lacks.
    pub fn maker(&self) -> Result<Maker<'_>> {
        Ok(Maker::new(&self.pack, self.built_in, self.code_bytes)?)
    }
}
