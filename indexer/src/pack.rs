//! Puts a pack together of the files that whitening and training have written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ocelli_index::{
    DescriptorSpec, Hash, Model, NetworkCard, NewPack, PackCard, Part, Threshold, TrainedOn,
    Whitening,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Largest file of facts for the card, in bytes; a larger one is a wrong name.
const MAX_FACTS_BYTES: u64 = 1 << 20;

/// The weights of a pack's network.
#[derive(Clone, Debug)]
pub struct PackWeights {
    /// The safetensors file.
    pub path: PathBuf,
    /// Hash of its tensors, as specs name it.
    pub hash: Hash,
    /// Whether the pack is to hold the file.
    pub include: bool,
}

/// The package that publishes a network's weights.
#[derive(Clone, Debug)]
pub struct PackPackage {
    /// Name and version of the package.
    pub package: String,
    /// The file of it.
    pub file: String,
    /// SHA-256 of that file.
    pub sha256: Hash,
    /// Licence of the weights.
    pub licence: String,
}

/// The pieces of a pack.
#[derive(Clone, Debug, Default)]
pub struct PackPieces {
    /// Name of the pack.
    pub name: String,
    /// The program that writes the pack.
    pub made_by: String,
    /// Name of the network; by default that of the file of weights, else the backbone's.
    pub network: Option<String>,
    /// A part of region vectors without whitening, for its spec; by default the spec follows from
    /// the first whitening, or from the first model where there is no whitening.
    pub network_of: Option<PathBuf>,
    /// The package that the weights come from, if it is known; `facts` go before it.
    pub package: Option<PackPackage>,
    /// The weights, which must be those of the spec.
    pub weights: Option<PackWeights>,
    /// Whitenings: one for each model, or none at all.
    pub whitenings: Vec<PathBuf>,
    /// Models, one for each size of codes.
    pub models: Vec<PathBuf>,
    /// See [`NewPack::default_code_bytes`].
    pub default_code_bytes: Option<usize>,
    /// A JSON file with more for the card: any of `network`, `package`, `package_file`,
    /// `package_sha256`, `licence`, `thresholds`, `trained_on`, `notes`.
    pub facts: Option<PathBuf>,
}

/// What a user says for the card.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Facts {
    network: Option<String>,
    package: Option<String>,
    package_file: Option<String>,
    package_sha256: Option<Hash>,
    licence: Option<String>,
    thresholds: Vec<Threshold>,
    trained_on: Vec<TrainedOn>,
    notes: Vec<String>,
}

/// The pack that was written.
#[derive(Clone, Debug, Serialize)]
pub struct PackReport {
    /// The file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The card.
    pub card: PackCard,
}

/// Writes a pack.
///
/// # Errors
/// Pieces that do not fit each other, with the fields that differ; weights of another network;
/// files that cannot be read.
pub fn create_pack(pieces: &PackPieces, out: &Path) -> Result<PackReport> {
    let PackPieces { whitenings, models, .. } = pieces;
    if !whitenings.is_empty() && whitenings.len() != models.len() {
        return Err(Error::Invalid(format!(
            "pack: {} whitenings for {} models: expected a pair for each size of codes, or models \
             only",
            whitenings.len(),
            models.len()
        )));
    }
    let opened: Vec<Whitening> =
        whitenings.iter().map(|path| Ok(Whitening::open(path)?)).collect::<Result<_>>()?;
    let models: Vec<Model> =
        models.iter().map(|path| Ok(Model::open(path)?)).collect::<Result<_>>()?;
    let facts = pieces.facts.as_deref().map(read_facts).transpose()?.unwrap_or_default();
    let spec = network_of(pieces, &opened, &models)?;
    let network = network_card(pieces, &facts, &spec)?;
    let mut whitenings = opened.into_iter();
    let variants = models.into_iter().map(|model| (whitenings.next(), model)).collect();
    let weights = pieces.weights.as_ref().filter(|w| w.include).map(|w| w.path.clone());
    let card = NewPack {
        name: pieces.name.clone(),
        made_by: pieces.made_by.clone(),
        network,
        default_code_bytes: pieces.default_code_bytes,
        thresholds: facts.thresholds,
        trained_on: facts.trained_on,
        notes: facts.notes,
        variants,
        weights,
    }
    .write(out)?;
    let bytes = out.metadata().map_err(Error::io("read", out))?.len();
    Ok(PackReport { path: out.to_owned(), bytes, card })
}

/// The spec of region vectors without whitening.
fn network_of(
    pieces: &PackPieces,
    whitenings: &[Whitening],
    models: &[Model],
) -> Result<DescriptorSpec> {
    if let Some(part) = &pieces.network_of {
        return Ok(Part::open(part)?.spec().clone());
    }
    let learned_on = whitenings.first().map(|w| &w.learned_on);
    let spec = learned_on.or_else(|| models.first().map(|model| &model.parts().spec));
    spec.cloned().ok_or_else(|| Error::Invalid("pack: expected at least one model".to_owned()))
}

fn network_card(pieces: &PackPieces, facts: &Facts, spec: &DescriptorSpec) -> Result<NetworkCard> {
    let arch = match spec {
        DescriptorSpec::Network(network) => {
            if let Some(weights) = &pieces.weights
                && weights.hash != network.weights
            {
                return Err(Error::Invalid(format!(
                    "{}: tensors with hash {}, expected those that the descriptors were made by, \
                     {}",
                    weights.path.display(),
                    weights.hash,
                    network.weights
                )));
            }
            network.arch.clone()
        }
        // The card refuses it with the reason.
        DescriptorSpec::Foreign { name, .. } => name.clone(),
    };
    let stem = pieces.weights.as_ref().and_then(|w| w.path.file_stem());
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
    let name = pieces.network.clone().or_else(|| facts.network.clone()).or(stem).unwrap_or(arch);
    let known = pieces.package.as_ref();
    let text = |said: &Option<String>, known: Option<&String>| said.clone().or(known.cloned());
    Ok(NetworkCard {
        spec: spec.canonical(),
        name,
        package: text(&facts.package, known.map(|p| &p.package)),
        package_file: text(&facts.package_file, known.map(|p| &p.file)),
        package_sha256: facts.package_sha256.or(known.map(|p| p.sha256)),
        licence: text(&facts.licence, known.map(|p| &p.licence)),
    })
}

fn read_facts(path: &Path) -> Result<Facts> {
    let mut text = String::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(MAX_FACTS_BYTES).read_to_string(&mut text).map_err(Error::io("read", path))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::File { path: path.to_owned(), what: e.to_string() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use ocelli_index::{Layer, Metric, ModelParts, NetworkSpec, Pack};

    use super::*;

    fn network(size: u32) -> NetworkSpec {
        let mut network = NetworkSpec::new(Hash::of(b"tensors"), "tiny", Layer::Stage(3), 3);
        network.sizes = vec![size];
        network
    }

    /// Writes a whitening of photos at `size` pixels to 2 dimensions, and a model behind it.
    fn pair(folder: &Path, size: u32) -> (PathBuf, PathBuf) {
        let learned_on = DescriptorSpec::Network(network(size));
        let projection = vec![1.0, 0.0, 0.0, 1.0, 0.5, 0.5];
        let whitening = Whitening { mean: vec![0.0; 3], projection, learned_on };
        let whitened = NetworkSpec { whitening: Some(whitening.hash()), dim: 2, ..network(size) };
        let model = Model::from_parts(ModelParts {
            spec: DescriptorSpec::Network(whitened),
            metric: Metric::InnerProduct,
            mean: None,
            rotation: None,
            renormalize: false,
            dim: 2,
            d: 2,
            nlist: 1,
            coarse: vec![0.0; 2].into(),
            m: 2,
            ksub: 256,
            codebooks: vec![0.5; 512],
            training: BTreeMap::new(),
        })
        .unwrap();
        let paths = ["whitening", "model"].map(|kind| folder.join(format!("{size}.{kind}")));
        whitening.write(&paths[0]).unwrap();
        model.write(&paths[1]).unwrap();
        let [whitening, model] = paths;
        (whitening, model)
    }

    fn pieces(folder: &Path) -> PackPieces {
        let (whitening, model) = pair(folder, 448);
        PackPieces {
            name: "my-pack".into(),
            made_by: "test".into(),
            whitenings: vec![whitening],
            models: vec![model],
            ..PackPieces::default()
        }
    }

    #[test]
    fn the_card_says_where_things_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let facts = dir.path().join("facts.json");
        fs::write(
            &facts,
            r#"{"package": "tiny 1.0", "licence": "Apache-2.0", "notes": ["Small."],
                "trained_on": [{"what": "walls", "photos": 7, "licence": "CC0"}],
                "thresholds": [{"relation": "near-copy", "cosine": 0.9, "measured": "by eye"}]}"#,
        )
        .unwrap();
        let out = dir.path().join("a.pack");
        let pieces = PackPieces { facts: Some(facts.clone()), ..pieces(dir.path()) };
        let report = create_pack(&pieces, &out).unwrap();
        let pack = Pack::open(&out).unwrap();
        let card = pack.card();
        assert_eq!((card, report.bytes), (&report.card, fs::metadata(&out).unwrap().len()));
        assert_eq!((card.name.as_str(), card.network.name.as_str()), ("my-pack", "tiny"));
        assert_eq!(card.network.package.as_deref(), Some("tiny 1.0"));
        assert_eq!((card.trained_on[0].photos, card.thresholds[0].cosine), (7, 0.9));
        let package = PackPackage {
            package: "other 2.0".into(),
            file: "other.whl".into(),
            sha256: Hash::of(b"other"),
            licence: "MIT".into(),
        };
        let known = PackPieces { package: Some(package), ..pieces.clone() };
        let network = create_pack(&known, &dir.path().join("b.pack")).unwrap().card.network;
        assert_eq!(network.licence.as_deref(), Some("Apache-2.0"), "what is said goes first");
        assert_eq!(network.package_file.as_deref(), Some("other.whl"));
        assert_eq!((card.variants[0].code_bytes, card.variants[0].dim), (2, 2));

        fs::write(&facts, r#"{"pakage": "tiny 1.0"}"#).unwrap();
        let error = create_pack(&pieces, &out).unwrap_err().to_string();
        assert!(error.contains("facts.json") && error.contains("pakage"), "{error}");
        assert_eq!(Pack::open(&out).unwrap().card(), card, "the earlier file is unchanged");
    }

    #[test]
    fn weights_must_be_those_of_the_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small.safetensors");
        fs::write(&path, "weights").unwrap();
        let with = |hash, include| PackPieces {
            weights: Some(PackWeights { path: path.clone(), hash, include }),
            ..pieces(dir.path())
        };
        let out = dir.path().join("a.pack");
        let error = create_pack(&with(Hash::of(b"others"), false), &out).unwrap_err().to_string();
        assert!(error.contains("small.safetensors: tensors with hash"), "{error}");
        for include in [false, true] {
            create_pack(&with(Hash::of(b"tensors"), include), &out).unwrap();
            let pack = Pack::open(&out).unwrap();
            assert_eq!(pack.card().network.name, "small");
            assert_eq!(pack.weights().unwrap(), include.then_some(&b"weights"[..]));
        }
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a.pack");
        let refusal = |pieces: &PackPieces| create_pack(pieces, &out).unwrap_err().to_string();
        let good = pieces(dir.path());
        let (whitening, model) = pair(dir.path(), 800);
        let crossed = PackPieces { models: vec![model.clone()], ..good.clone() };
        let error = refusal(&crossed);
        assert!(error.contains("sizes: expected 448, found 800"), "{error}");
        let lone = PackPieces { whitenings: vec![whitening.clone(), whitening], ..good.clone() };
        assert!(refusal(&lone).contains("2 whitenings for 1 models"));
        let none = PackPieces { whitenings: Vec::new(), models: Vec::new(), ..good.clone() };
        assert!(refusal(&none).contains("at least one model"));
        // A model behind a whitening that is not given.
        let bare = PackPieces { whitenings: Vec::new(), ..good };
        assert!(refusal(&bare).contains("without whitening"));
    }
}
