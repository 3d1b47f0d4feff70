//! Plans of encodings: what a plan's file says of one, and the job that a task finds in it.
//!
//! A plan fixes every setting that decides a byte of a part, resolved from flags, environment and
//! configuration when it was made, and what the photos were. Where files lie stands beside it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ocelli_index::{
    DescriptorSpec, Dtype, EncodeJob, Estimate, Hash, Job, JobSettings, Model, PartKind, Plan,
    PlanFile, task_number,
};
use ocelli_network::{Device, DeviceChoice};
use ocelli_pictures::photos::{Input, Names, ParquetColumns, Photos, Selection};
use ocelli_service::role;
use serde::{Deserialize, Serialize};

use crate::config::{Config, DEFAULT_TOML, ENV_PREFIX};
use crate::job::{Description, JobOptions, Output, Planned, Proof, check_kind};
use crate::pack;

/// Images of an input that are taken, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Patterns of keys that are taken; none: all.
    pub include: Vec<String>,
    /// Patterns of keys that are left out.
    pub exclude: Vec<String>,
    /// Whether an item that is not valid ends the job.
    pub strict: bool,
}

impl Chosen {
    /// The selection.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn selection(&self) -> Result<Selection> {
        Ok(Selection { names: Names::new(&self.include, &self.exclude)?, strict: self.strict })
    }
}

/// A job as the command line says it.
#[derive(Debug)]
pub struct Request<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The images.
    pub input: &'a Input,
    /// The choice of those that are taken.
    pub chosen: Chosen,
    /// The folder of parts, and what is in them.
    pub output: &'a Output,
    /// The model of codes, and its file where no pack has it.
    pub model: Option<(&'a Model, Option<&'a Path>)>,
    /// Images of a part.
    pub part_images: u64,
    /// Whether photos get hashes of their pixels.
    pub pixel_hashes: bool,
    /// The plan's file.
    pub plan: &'a Path,
}

/// The kinds of [`Input`], and what they need besides a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Kind {
    Directory,
    LinkedDirectory,
    List,
    Tar,
    Parquet { image: Option<String>, key: Option<String>, id: Option<String>, follow_links: bool },
}

/// Everything that a plan's file says of an encoding.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    parts: Description,
    output: PartKind,
    dtype: Dtype,
    /// Keys of the configuration with their values as TOML.
    network: BTreeMap<String, String>,
    code_bytes: Option<usize>,
    input: Kind,
    chosen: Chosen,
}

/// Names of files beside the input, as in the configuration.
const PACK: &str = "pack";
const MODEL: &str = "model";
const WEIGHTS: &str = "weights";
const WHITENING: &str = "whitening";
const NETWORK_CONFIG: &str = "network_config";

/// The input with paths that mean the same everywhere, what kind it is, and its path.
fn settle(input: &Input) -> Result<(Input, Kind, PathBuf)> {
    let place = |path: &Path| std::path::absolute(path);
    Ok(match input {
        Input::Directory(path) => {
            let path = place(path)?;
            (Input::Directory(path.clone()), Kind::Directory, path)
        }
        Input::LinkedDirectory(path) => {
            let path = place(path)?;
            (Input::LinkedDirectory(path.clone()), Kind::LinkedDirectory, path)
        }
        Input::List(path) if path.starts_with("/dev") || path.starts_with("/proc") => bail!(
            "{}: expected a file, which every task can read again, found a list that is read once",
            path.display()
        ),
        Input::List(path) => {
            let path = place(path)?;
            (Input::List(path.clone()), Kind::List, path)
        }
        Input::Tar(path) => {
            let path = place(path)?;
            (Input::Tar(path.clone()), Kind::Tar, path)
        }
        Input::Parquet { path, columns, follow_links } => {
            let (path, follow_links) = (place(path)?, *follow_links);
            let ParquetColumns { image, key, id } = columns.clone();
            let input =
                Input::Parquet { path: path.clone(), columns: columns.clone(), follow_links };
            (input, Kind::Parquet { image, key, id, follow_links }, path)
        }
    })
}

impl Kind {
    fn input(&self, path: PathBuf) -> Input {
        match self.clone() {
            Kind::Directory => Input::Directory(path),
            Kind::LinkedDirectory => Input::LinkedDirectory(path),
            Kind::List => Input::List(path),
            Kind::Tar => Input::Tar(path),
            Kind::Parquet { image, key, id, follow_links } => {
                Input::Parquet { path, columns: ParquetColumns { image, key, id }, follow_links }
            }
        }
    }
}

/// The device that a choice means here; one that is named need not be here, since tasks may run
/// elsewhere.
fn planned_device(choice: DeviceChoice) -> Result<Device> {
    Ok(match choice {
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Cuda(number) => Device::Cuda(number),
        DeviceChoice::Auto => choice.resolve()?,
    })
}

/// Plans a job, and returns the plan, which is not written yet. The network is opened on the CPU:
/// its spec is that of all devices.
///
/// # Errors
/// Those of opening the network and the input; no images; a folder of another job; a plan or a
/// folder that would be among the photos.
pub fn plan(request: &Request<'_>) -> Result<PlanFile> {
    let Request { config, output, .. } = request;
    refuse_among_photos(request)?;
    let (input, kind, place) = settle(request.input)?;
    let device = planned_device(config.device)?;
    let pipeline = config.pipeline(Device::Cpu)?;
    check_kind(output.kind, &pipeline)?;
    let photos = Photos::select(&input, &request.chosen.selection()?)?;
    let options = JobOptions {
        workers: 1,
        batch: config.batch_size(device),
        parts: None,
        model: request.model.map(|(model, _)| model),
        pixel_hashes: request.pixel_hashes,
        planned: None,
        previews: None,
    };
    let folder = std::path::absolute(&output.part)?;
    let output = &Output { part: folder.clone(), ..(*output).clone() };
    let planned = Planned::new(
        photos,
        (pipeline.spec(), device.kind()),
        &config.view_options(),
        output,
        &options,
        request.part_images,
    )?;
    let DescriptorSpec::Network(network) = pipeline.spec() else {
        bail!("expected the spec of a network, found {}", pipeline.spec().canonical());
    };
    let network = pack::values(network).into_iter();
    let settings = Settings {
        parts: planned.description().clone(),
        output: output.kind,
        dtype: output.dtype,
        network: network.map(|(key, value)| (key.to_owned(), value)).collect(),
        code_bytes: config.code_bytes,
        input: kind,
        chosen: request.chosen.clone(),
    };
    let job = EncodeJob {
        photos: planned.photos(),
        images: planned.images(),
        part_images: request.part_images,
        settings: JobSettings::of(&settings)?,
    };
    let row_bytes = pipeline.dim() * if output.dtype == Dtype::F16 { 2 } else { 4 };
    let mut file = PlanFile::new(Plan::new(Job::Encode(job)), vec![place], &folder)?;
    file.places = places(config, request.model.and_then(|(_, path)| path))?;
    file.estimate = Estimate {
        // Of one descriptor an image; what regions take is known when they are made.
        disk_bytes: planned.images() * row_bytes as u64,
        ..Estimate::default()
    };
    Ok(file)
}

/// Each task would find one photo more than the plan knows of.
fn refuse_among_photos(request: &Request<'_>) -> Result<()> {
    let selection = request.chosen.selection()?;
    for file in [request.plan.to_owned(), request.output.part.join("job.json")] {
        if selection.takes(request.input, &file)? {
            bail!(
                "{}: this file would be among the photos of the plan: expected a place outside of \
                 them, or an --exclude that leaves it out",
                file.display()
            );
        }
    }
    Ok(())
}

/// The files that tasks read beside the input. The library of ONNX Runtime is none of them: which
/// code runs is for the machine to say, and not for a file from elsewhere.
fn places(config: &Config, model: Option<&Path>) -> Result<BTreeMap<String, PathBuf>> {
    let mut places = BTreeMap::new();
    for (name, path) in [
        (WEIGHTS, config.weights.as_deref()),
        (WHITENING, config.whitening.as_deref()),
        (NETWORK_CONFIG, config.network_config.as_deref()),
        (MODEL, model),
    ] {
        if let Some(path) = path {
            places.insert(name.to_owned(), std::path::absolute(path)?);
        }
    }
    if let Some(pack) = &config.pack {
        places.insert(PACK.to_owned(), ocelli_packs::absolute(pack));
    }
    Ok(places)
}

/// An encoding as a plan says it.
#[derive(Debug)]
pub struct Encoding {
    file: PlanFile,
    path: PathBuf,
    settings: Settings,
    planned: Planned,
}

impl Encoding {
    /// Reads the plan in `path`.
    ///
    /// # Errors
    /// Those of [`PlanFile::read`]; a plan of another job, or one that contradicts itself or sets
    /// what no plan sets.
    pub fn read(path: &Path) -> Result<Self> {
        let file = PlanFile::read(path)?;
        let Job::Encode(job) = &file.plan.job else {
            bail!(
                "{}: expected the plan of an encoding, found one of {}: ocelli task --plan",
                path.display(),
                file.plan.kind()
            );
        };
        let settings: Settings = job.settings.read()?;
        let is_setting = |(key, value): &(&String, &String)| {
            pack::KEYS.contains(&key.as_str()) && !value.contains(['\n', '\r'])
        };
        if let Some((key, _)) = settings.network.iter().find(|given| !is_setting(given)) {
            bail!("{}: {key:?} is no setting that a plan has: plan again", path.display());
        }
        settings
            .parts
            .require_said(job, settings.output, settings.dtype)
            .with_context(|| format!("{}", path.display()))?;
        let planned = Planned::of(settings.parts.clone(), job.images);
        Ok(Self { file, path: path.to_owned(), settings, planned })
    }

    /// The number of the task that a process is to do: the one given, or its scheduler's.
    ///
    /// # Errors
    /// Those of [`task_number`].
    pub fn task(&self, given: Option<u32>) -> Result<u64> {
        let variable = |name: &str| std::env::var(name).ok();
        Ok(task_number(given, variable, self.file.plan.tasks())?.into())
    }

    /// The job.
    #[must_use]
    pub fn planned(&self) -> &Planned {
        &self.planned
    }

    /// Hash of the plan.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.file.hash
    }

    /// The folder of parts, and what is in them.
    #[must_use]
    pub fn output(&self) -> Output {
        let part = self.file.out.clone();
        let Settings { output: kind, dtype, .. } = self.settings;
        Output { rejected: Output::rejected_beside(&part), part, kind, dtype }
    }

    /// The photos as they are now.
    ///
    /// # Errors
    /// Those of [`Photos::select`].
    pub fn photos(&self) -> Result<Photos> {
        let Some(path) = self.file.inputs.first() else { bail!("the plan names no input") };
        let input = self.settings.input.input(path.clone());
        Ok(Photos::select(&input, &self.settings.chosen.selection()?)?)
    }

    /// The model of codes, where no pack has it.
    ///
    /// # Errors
    /// Those of [`Model::open`].
    pub fn model(&self) -> Result<Option<Model>> {
        Ok(self.file.places.get(MODEL).map(|path| Model::open(path)).transpose()?)
    }

    /// Whether the parts hold codes.
    #[must_use]
    pub fn makes_codes(&self) -> bool {
        self.settings.output == PartKind::Codes
    }

    /// Whether photos get hashes of their pixels.
    #[must_use]
    pub fn pixel_hashes(&self) -> bool {
        self.settings.parts.pixel_hashes()
    }

    /// The settings of a task: those of the plan; `here` has threads, the device among those of the
    /// plan's kind, the library of ONNX Runtime, and logs.
    ///
    /// # Errors
    /// Those of opening the pack.
    pub fn config(&self, here: &Config) -> Result<Config> {
        let network = self.settings.network.iter();
        let network: Vec<(&str, String)> =
            network.map(|(key, value)| (key.as_str(), value.clone())).collect();
        let text = pack::over_defaults(DEFAULT_TOML, &network);
        let mut config: Config = role::load_config_from(&text, None, ENV_PREFIX, [])?;
        let place = |name: &str| self.file.places.get(name).cloned();
        config.weights = place(WEIGHTS);
        config.whitening = place(WHITENING);
        config.network_config = place(NETWORK_CONFIG);
        config.onnxruntime = here.onnxruntime.clone();
        let parts = &self.settings.parts;
        (config.max_pixels, config.min_side) = parts.limits();
        config.batch = parts.batch();
        config.workers = here.workers;
        config.log = here.log.clone();
        config.device = match (here.device, parts.device()) {
            (DeviceChoice::Auto, "cpu") => DeviceChoice::Cpu,
            (DeviceChoice::Auto, _) => DeviceChoice::Cuda(0),
            (given, _) => given,
        };
        if let Some(choice) = place(PACK) {
            let opened = Arc::new(ocelli_packs::open(&choice)?);
            (config.pack, config.code_bytes) = (Some(choice), self.settings.code_bytes);
            // A pack says these itself.
            config.network_config = None;
            config.use_pack(opened)?;
        }
        Ok(config)
    }

    /// Proves that all parts are there and whole.
    ///
    /// # Errors
    /// Parts that are missing, by the numbers of their tasks; those of [`Planned::prove`].
    pub fn prove(&self) -> Result<Proof> {
        let proof = self.planned.prove(&self.photos()?, &self.output())?;
        if proof.missing.is_empty() {
            return Ok(proof);
        }
        Err(self.file.missing(&self.path, &proof.missing).into())
    }
}
