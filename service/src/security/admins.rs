//! The names in client certificates that give the role `admin`.
//!
//! A file has one name on each line: `cn NAME`, `dns NAME` or `uri URI`. `cn` is the common name of
//! a certificate's subject, `dns` and `uri` are alternative names. Names must be equal letter by
//! letter. Empty lines and lines that begin with `#` are skipped.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use x509_parser::extensions::GeneralName;

use super::files::Watched;

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Common(String),
    Dns(String),
    Uri(String),
}

/// The names that give the role `admin`.
#[derive(Debug)]
pub(super) struct Admins(HashSet<Name>);

impl Admins {
    /// Reads a file of names.
    ///
    /// # Errors
    /// A file that cannot be read, and those of [`Admins::parse`].
    pub(super) fn open(path: &Path) -> Result<Watched<Admins>> {
        let place = path.display().to_string();
        Watched::open("names of administrators", vec![PathBuf::from(path)], move |contents| {
            let bytes = contents.first().context("no file")?;
            Admins::parse(bytes).with_context(|| place.clone())
        })
    }

    /// Parses a file of names. A file without names is valid: then nobody may administer.
    ///
    /// # Errors
    /// A line that is not a name.
    pub(super) fn parse(bytes: &[u8]) -> Result<Admins> {
        let text = std::str::from_utf8(bytes).ok().context("expected text, one name a line")?;
        let mut names = HashSet::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = match line.split_once(char::is_whitespace) {
                Some((kind, name)) => match (kind, name.trim_start().to_owned()) {
                    ("cn", name) => Some(Name::Common(name)),
                    ("dns", name) => Some(Name::Dns(name)),
                    ("uri", name) => Some(Name::Uri(name)),
                    _ => None,
                },
                None => None,
            };
            let Some(name) = name else {
                bail!("line {}: expected cn NAME, dns NAME or uri URI, found {line:?}", number + 1);
            };
            names.insert(name);
        }
        Ok(Admins(names))
    }

    /// Whether one of the names in a certificate (DER) is among these.
    pub(super) fn name(&self, certificate: &[u8]) -> bool {
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
            return false;
        };
        let common = parsed.subject().iter_common_name();
        let mut common = common.filter_map(|name| name.as_str().ok());
        if common.any(|name| self.0.contains(&Name::Common(name.to_owned()))) {
            return true;
        }
        let Ok(Some(alternative)) = parsed.subject_alternative_name() else { return false };
        alternative.value.general_names.iter().any(|name| match name {
            GeneralName::DNSName(name) => self.0.contains(&Name::Dns((*name).to_owned())),
            GeneralName::URI(uri) => self.0.contains(&Name::Uri((*uri).to_owned())),
            _ => false,
        })
    }
}
