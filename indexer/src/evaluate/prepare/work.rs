//! The folder of what is made: what is kept from earlier runs, and what is made again.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::container::write_atomically;
use ocelli_index::{DescriptorSpec, Hash, Part, RejectedWriter, Whitening};

use super::folder::Folder;
use super::sources::{Source, Sources};
use super::stamp::{self, Stamp};
use super::{Encode, Step};
use crate::evaluate::list::list_text;
use crate::{Error, Result};

/// Flags of the encoder that are given here.
const OWN_FLAGS: &[&str] = &[
    "--list",
    "--tar",
    "--parquet",
    "--regions",
    "--out",
    "--output",
    "--model",
    "--rejected",
    "--part-images",
    "--tasks",
    "--task",
    "--include",
    "--exclude",
];
const WHITENING: &str = "--whitening";
/// Start of the environment variables that are settings of the encoder.
const ENV_PREFIX: &str = "OCELLI_ENCODER_";

/// What the encoder makes of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Descriptors,
    Regions,
}

/// Refuses flags of the encoder that are given here.
pub(super) fn refuse_own_flags(flags: &[OsString]) -> Result<()> {
    let own = |flag: &&OsString| OWN_FLAGS.iter().any(|own| is_flag(flag, own));
    match flags.iter().find(own) {
        None => Ok(()),
        Some(flag) => Err(Error::Invalid(format!(
            "{}: expected flags that say which network encodes photos and how; inputs and outputs \
             are chosen here",
            flag.display()
        ))),
    }
}

/// Whether flags of the encoder name a whitening.
pub(super) fn names_whitening(flags: &[OsString]) -> bool {
    flags.iter().any(|flag| is_flag(flag, WHITENING))
}

/// Whether `flag` is `name` or `name=VALUE`.
fn is_flag(flag: &OsStr, name: &str) -> bool {
    let rest = flag.as_encoded_bytes().strip_prefix(name.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'=')
}

/// Whether descriptors can be pooled from the region vectors of a part: not with several sizes,
/// since a part does not say which row belongs to which.
pub(super) fn can_be_pooled(regions: &Path) -> Result<bool> {
    Ok(match Part::open(regions)?.spec() {
        DescriptorSpec::Network(network) => network.sizes.len() < 2,
        DescriptorSpec::Foreign { .. } => true,
    })
}

/// The folder of what is made, and how the encoder is asked.
pub(super) struct Work<'a> {
    pub(super) folder: Folder,
    flags: &'a [OsString],
    encode: Encode<'a>,
    pub(super) steps: Vec<Step>,
}

impl<'a> Work<'a> {
    /// Makes the folder, or takes that of an earlier run.
    ///
    /// # Errors
    /// Those of [`Folder::open`].
    pub(super) fn open(folder: &Path, flags: &'a [OsString], encode: Encode<'a>) -> Result<Self> {
        Ok(Work { folder: Folder::open(folder)?, flags, encode, steps: Vec::new() })
    }

    /// A file of the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    /// Writes the list files.
    ///
    /// # Errors
    /// A path that is not UTF-8; an unwritable folder.
    pub(super) fn write_lists(&self, sources: &Sources) -> Result<()> {
        for source in sources.all() {
            write_atomically(&self.list_of(source), &list_text(&source.lines)?)?;
        }
        Ok(())
    }

    /// The list file of a source.
    fn list_of(&self, source: &Source) -> PathBuf {
        self.path(&format!("{}.jsonl", source.name))
    }

    /// Uses `out` again if it has this stamp and the content that got it; otherwise has `make` make
    /// it, and gives it the stamp.
    ///
    /// # Errors
    /// Those of `make`; an unwritable folder.
    pub(super) fn keep_or(
        &mut self,
        what: String,
        out: &Path,
        stamp: Hash,
        make: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let start = Instant::now();
        let file = stamp_of(out);
        let text = || -> Result<String> { Ok(format!("{stamp} {}\n", stamp::content(out)?)) };
        let kept = match fs::read(&file) {
            // What cannot be opened any more is made again.
            Ok(found) => text().is_ok_and(|text| found == text.as_bytes()),
            Err(_) => false,
        };
        if !kept {
            // From here on, until it is complete, nothing takes the file for a complete one.
            remove(&file)?;
            make()?;
            write_atomically(&file, text()?.as_bytes())?;
        }
        self.steps.push(Step { what, seconds: start.elapsed().as_secs_f64(), kept });
        Ok(())
    }

    /// Runs the check `name` unless it went well before on what has this stamp.
    ///
    /// # Errors
    /// Those of `check`.
    pub(super) fn check(
        &mut self,
        name: &str,
        what: &str,
        stamp: Hash,
        check: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let out = self.path(&format!("{name}.checked"));
        self.keep_or(what.to_owned(), &out, stamp, || {
            check()?;
            Ok(write_atomically(&out, b"")?)
        })
    }

    /// Has the network encode a list. Returns the part.
    ///
    /// # Errors
    /// The encoder's; an unreadable whitening.
    pub(super) fn encode(
        &mut self,
        source: &Source,
        output: Output,
        whitening: Option<&Path>,
    ) -> Result<PathBuf> {
        let out = self.path(&match output {
            Output::Descriptors => format!("{}.part", source.name),
            Output::Regions => format!("{}.regions.part", source.name),
        });
        // Without --include, names that end in .txt and .json would be left out.
        let mut args: Vec<OsString> =
            vec!["--list".into(), self.list_of(source).into(), "--include".into(), "*".into()];
        args.extend(self.flags.iter().cloned());
        args.extend(output_flags(output, whitening, &self.folder.new_path(&out)));
        let mut stamp = self.stamp_of_args(&args, whitening)?;
        stamp.text(source.stamp.to_string());
        for (name, value) in settings_of_environment() {
            stamp.text(name);
            stamp.setting(&value);
        }
        let what = format!("{} of {} photos ({})", output.name(), source.lines.len(), source.name);
        self.run(what, &args, &out, stamp)?;
        Ok(out)
    }

    /// Has the encoder make descriptors or whitened region vectors from region vectors, without
    /// the network. Returns the part.
    ///
    /// # Errors
    /// The encoder's; an unreadable whitening.
    pub(super) fn pool(
        &mut self,
        source: &Source,
        regions: &Path,
        output: Output,
        whitening: Option<&Path>,
    ) -> Result<PathBuf> {
        let out = self.path(&match output {
            Output::Descriptors => format!("{}.part", source.name),
            Output::Regions => format!("{}.whitened.part", source.name),
        });
        let mut args: Vec<OsString> = vec!["--regions".into(), regions.into()];
        args.extend(output_flags(output, whitening, &self.folder.new_path(&out)));
        let mut stamp = self.stamp_of_args(&args, whitening)?;
        stamp.text(stamp_text(regions)?);
        let what = match output {
            Output::Descriptors => format!("descriptors from region vectors ({})", source.name),
            Output::Regions => format!("whitened region vectors ({})", source.name),
        };
        self.run(what, &args, &out, stamp)?;
        Ok(out)
    }

    fn stamp_of_args(&self, args: &[OsString], whitening: Option<&Path>) -> Result<Stamp> {
        let mut stamp = Stamp::new("encode");
        for arg in args.iter().filter(|arg| !Path::new(arg).starts_with(&self.folder.path)) {
            stamp.setting(arg);
        }
        if let Some(whitening) = whitening {
            stamp.text(Whitening::open(whitening)?.hash().to_string());
        }
        Ok(stamp)
    }

    /// Has the encoder make `out` under a name that no other run knows. It gets its name here, so
    /// that an encoder which outlives its run replaces nothing.
    fn run(&mut self, what: String, args: &[OsString], out: &Path, stamp: Stamp) -> Result<()> {
        let encode = self.encode;
        let new = self.folder.new_path(out);
        self.keep_or(what, out, stamp.finish(), || {
            let ended = encode(args);
            // If all photos were rejected, there is only this list.
            move_list(&new, out)?;
            ended.map_err(Error::Encode)?;
            // The encoder is another program. What it did is seen here.
            Part::open(&new)?;
            fs::rename(&new, out).map_err(Error::io("rename a new file to", out))
        })
    }
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Output::Descriptors => "descriptors",
            Output::Regions => "region vectors",
        }
    }
}

/// Moves the list of rejected photos from beside `new` to beside `out`.
fn move_list(new: &Path, out: &Path) -> Result<()> {
    let [new, out] = [new, out].map(RejectedWriter::path_for);
    match fs::rename(new, &out) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => remove(&out),
        moved => moved.map_err(Error::io("rename a new file to", &out)),
    }
}

/// Removes a file if it is there.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", file)(e)),
        _ => Ok(()),
    }
}

/// Flags that say what is written, and where.
fn output_flags(output: Output, whitening: Option<&Path>, out: &Path) -> Vec<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    if output == Output::Regions {
        flags.extend(["--output".into(), "regions".into()]);
    }
    if let Some(whitening) = whitening {
        flags.extend([WHITENING.into(), whitening.into()]);
    }
    flags.extend(["--out".into(), out.into()]);
    flags
}

/// The stamp's file of a file that was made.
fn stamp_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".stamp");
    name.into()
}

/// The stamp of a file that was made.
///
/// # Errors
/// A stamp that cannot be read.
pub(super) fn stamp_text(out: &Path) -> Result<String> {
    let file = stamp_of(out);
    fs::read_to_string(&file).map_err(Error::io("read", &file))
}

/// Settings that the encoder takes from the environment, in the order of their names.
fn settings_of_environment() -> Vec<(OsString, OsString)> {
    let mut settings: Vec<_> = env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(ENV_PREFIX.as_bytes()))
        .collect();
    settings.sort();
    settings
}
