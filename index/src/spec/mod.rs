//! The descriptor spec: everything that decides what a descriptor means.
//!
//! Two descriptors may be compared only if they were made under the same spec. Its hash is written
//! beside every part, is part of a model's hash and comes back from the encoder service.
//!
//! # Canonical text
//!
//! The hash is over a text of `name=value` lines in a fixed order, the first line naming the
//! version of the encoding. A field at its version-1 default is left out, so that a field added
//! later, left at its default, changes no earlier hash. The defaults are those of
//! [`NetworkSpec::new`].

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::base::named::named;

const NETWORK_HEADER: &str = "ocelli-descriptor-spec 1";
const FOREIGN_PREFIX: &str = "foreign:";

/// What made a descriptor.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DescriptorSpec {
    /// Ocelli's encoder.
    Network(NetworkSpec),
    /// Somebody else, known by a name that the user gives.
    Foreign {
        /// The user's name for it: letters, digits, `.`, `_`, `-`, `/`; 1 to 128 characters.
        name: String,
        /// Dimension of the vectors.
        dim: u32,
    },
}

/// Everything that decides what a descriptor of Ocelli's own encoder means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkSpec {
    /// Hash over the weights: tensor names, shapes, types and bytes, sorted by name.
    pub weights: Hash,
    /// Backbone, for example `resnet50`.
    pub arch: String,
    /// How it is built where its tensors do not say so.
    pub form: Form,
    /// Last stage that runs: 1 to 4 for a ResNet (3 is the paper's conv4, stride 16) and for
    /// SqueezeNet, 1 to 5 for a VGG.
    pub last_stage: u32,
    /// How pixels become the network's input.
    pub input: InputConvention,
    /// Epsilon of batch normalisation.
    pub bn_eps: f64,
    /// How a feature map becomes vectors.
    pub pooling: Pooling,
    /// Longest sides in pixels that an image is resized to; empty: never resized.
    pub sizes: Vec<u32>,
    /// Filter of the resizing.
    pub filter: ResizeFilter,
    /// Whether images smaller than a size are enlarged to it.
    pub upscale: bool,
    /// Whether the EXIF orientation is applied.
    pub exif: bool,
    /// Whether JPEG files may be decoded at a reduced scale.
    pub jpeg_scaled: bool,
    /// What the weights do to each pooled row.
    pub head: Head,
    /// Whether the weights' own whitening of whole images is applied.
    pub image_whitening: bool,
    /// Number type of the network's layers.
    pub precision: Precision,
    /// How the descriptors of several sizes become one.
    pub combine: Combine,
    /// Whether, and how, a box is cut out before the image is resized.
    pub crop_first: CropFirst,
    /// Hash of the whitening, if there is one.
    pub whitening: Option<Hash>,
    /// Dimension of the descriptors.
    pub dim: u32,
}

impl NetworkSpec {
    /// The spec of a backbone with everything else at its version-1 default: v1.5, torchvision
    /// input, BN epsilon 1e-5, R-MAC of 3 levels on the feature map, never resized, bilinear,
    /// enlarging, EXIF applied, full JPEG decoding, no head, no whitening.
    pub fn new(weights: Hash, arch: impl Into<String>, last_stage: u32, dim: u32) -> Self {
        Self {
            weights,
            arch: arch.into(),
            form: Form::V1_5,
            last_stage,
            input: InputConvention::TorchvisionRgb,
            bn_eps: 1e-5,
            pooling: Pooling::Rmac { levels: 3, grid: Grid::FeatureMap },
            sizes: Vec::new(),
            filter: ResizeFilter::Bilinear,
            upscale: true,
            exif: true,
            jpeg_scaled: false,
            head: Head::None,
            image_whitening: false,
            precision: Precision::F32,
            combine: Combine::Sum,
            crop_first: CropFirst::No,
            whitening: None,
            dim,
        }
    }

    /// What is out of its range, if anything is.
    fn check(&self) -> std::result::Result<(), String> {
        let pooling = match self.pooling {
            Pooling::Rmac { levels, .. } => (1..=4).contains(&levels),
            Pooling::Gem { p } => p.is_finite() && p > 0.0,
            Pooling::Mac | Pooling::Spoc => true,
        };
        if !self.combine.is_sound() {
            return Err(format!(
                "combine={}: expected an exponent over 0 and a floor of 0 or more",
                self.combine
            ));
        }
        if self.dim == 0 || !(1..=5).contains(&self.last_stage) || !pooling {
            return Err(format!(
                "dim={}, last_stage={}, pooling={}: expected a dimension, 1 to 5, and 1 to 4 levels or an \
                 exponent over 0",
                self.dim, self.last_stage, self.pooling
            ));
        }
        if !(self.bn_eps.is_finite() && self.bn_eps >= 0.0) {
            return Err(format!("bn_eps={}: expected 0 or more", self.bn_eps));
        }
        Ok(())
    }
}

named! {
    /// What a backbone's tensors do not say about its layers. Most have one form only, that of
    /// torchvision.
    Form, "backbone form" {
        /// Residual networks: a stage strides in its first 1×1 convolution (He et al. 2016, and
        /// Keras).
        V1 = "v1",
        /// As `V1`, and the pool after the first convolution is unpadded and rounds up: the
        /// authors' own release, and everything fine-tuned from it in Caffe.
        V1Caffe = "v1-caffe",
        /// As torchvision has it: bottlenecks stride in the 3×3 convolution, SqueezeNet's pools
        /// round up.
        V1_5 = "v1.5",
        /// SqueezeNet: pools round down (Keras).
        FloorPool = "floor-pool",
    }
}

named! {
    /// How 8-bit RGB pixels become a network's input.
    InputConvention, "input convention" {
        /// BGR, 0 to 255, minus (103.939, 116.779, 123.68).
        CaffeBgr = "caffe-bgr",
        /// RGB, 0 to 1, minus (.485, .456, .406), over (.229, .224, .225).
        TorchvisionRgb = "torchvision-rgb",
    }
}

named! {
    /// What the weights' own fully connected layer does to each pooled row, which is L2-normalised
    /// after it in any case.
    Head, "head" {
        /// There is none, or it is not used.
        None = "none",
        /// L2-normalised, then projected.
        L2Fc = "l2-fc",
        /// Projected as pooled.
        Fc = "fc",
    }
}

named! {
    /// What a network's layers compute with.
    Precision, "precision" {
        /// IEEE single precision.
        F32 = "f32",
        /// bfloat16 between the layers, sums inside them in single precision.
        Bf16 = "bf16",
    }
}

/// How the descriptors of several sizes, each of length 1, become one, which is L2-normalised
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Their sum (Gordo et al. 2017).
    Sum,
    /// Their generalized mean, element by element: s(mean(s(x), p), 1/p) with s(x, p) = sign(x)
    /// max(|x|, floor)^p; 0 stays
    /// 0. One size alone stays as it is.
    Gem {
        /// The exponent, > 0.
        p: f32,
        /// What smaller magnitudes count as, before each of the two powers: [`Combine::FLOOR`] in
        /// the code published with Revaud et al., "Learning with Average Precision" (2019); 0 in
        /// that of Radenović, Tolias, Chum (2018).
        floor: f32,
    },
}

impl Combine {
    /// The published floor.
    pub const FLOOR: f32 = 1e-6;

    /// Whether the exponent is over 0 and the floor is not below it.
    pub fn is_sound(&self) -> bool {
        match *self {
            Self::Sum => true,
            Self::Gem { p, floor } => p.is_finite() && p > 0.0 && floor.is_finite() && floor >= 0.0,
        }
    }

    /// As it stands in the canonical text, where a floor of 0, which was the only one at first, is
    /// left out.
    fn canonical(&self) -> String {
        match self {
            Self::Gem { p, floor } if *floor == 0.0 => format!("gem:{p}"),
            other => other.to_string(),
        }
    }

    fn parse_canonical(s: &str) -> Result<Self> {
        match s.strip_prefix("gem:") {
            Some(p) if !p.contains(':') => format!("{s}:0").parse(),
            _ => s.parse(),
        }
    }
}

impl fmt::Display for Combine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => f.write_str("sum"),
            Self::Gem { p, floor } => write!(f, "gem:{p}:{floor}"),
        }
    }
}

/// `sum`, `gem:P` with the published floor, or `gem:P:FLOOR`.
impl FromStr for Combine {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let gem = |p: &str, floor: Option<&str>| {
            let floor = floor.map_or(Ok(Self::FLOOR), str::parse).ok()?;
            Some(Self::Gem { p: p.parse().ok()?, floor })
        };
        let words: Vec<&str> = s.split(':').collect();
        let combine = match words.as_slice() {
            ["sum"] => Some(Self::Sum),
            ["gem", p] => gem(p, None),
            ["gem", p, floor] => gem(p, Some(floor)),
            _ => None,
        };
        combine.filter(Self::is_sound).ok_or_else(|| {
            Error::invalid(format!(
                "combine: expected sum, gem:P with P over 0, or gem:P:FLOOR with a floor of 0 or more, found {s:?}"
            ))
        })
    }
}

impl<'de> serde::Deserialize<'de> for Combine {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

named! {
    /// Where the region grid is computed.
    Grid, "grid" {
        /// On the cells of the feature map (Tolias, Sicre, Jégou 2016).
        FeatureMap = "feature-map",
        /// On the pixels of the resized image, projected with ROI-pool rounding (the code published
        /// with Gordo et al. 2017).
        ImagePixels = "image-pixels",
    }
}

named! {
    /// Filter that resizes an image; all of them average over the source pixels when shrinking.
    ResizeFilter, "resize filter" {
        /// Triangle filter.
        Bilinear = "bilinear",
        /// Cubic filter with a = −0.5.
        CatmullRom = "catmull-rom",
        /// Windowed sinc with three lobes.
        Lanczos3 = "lanczos3",
    }
}

named! {
    /// When a box is cut out of an image.
    CropFirst, "crop_first" {
        /// Behind the resizing of the whole image (Gordo et al. 2017).
        No = "false",
        /// Before it: the longest side of what is cut out becomes the size.
        OwnScale = "true",
        /// Before it, and what is cut out is resized by the scale of the whole image (the code
        /// published with Radenović, Tolias, Chum 2018).
        PhotoScale = "photo-scale",
    }
}

/// How a feature map (C, H, W) becomes vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Regional maximum activations of convolutions (Tolias et al. 2016).
    Rmac {
        /// Levels of the grid, 1 to 4.
        levels: u32,
        /// Where the grid is computed.
        grid: Grid,
    },
    /// Global maximum.
    Mac,
    /// Global mean (Babenko, Lempitsky 2015, without the centre prior).
    Spoc,
    /// Generalized mean (Radenović, Tolias, Chum 2018).
    Gem {
        /// The exponent, > 0.
        p: f32,
    },
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rmac { levels, grid: Grid::FeatureMap } => write!(f, "rmac:{levels}"),
            Self::Rmac { levels, grid } => write!(f, "rmac:{levels}:{grid}"),
            Self::Mac => f.write_str("mac"),
            Self::Spoc => f.write_str("spoc"),
            Self::Gem { p } => write!(f, "gem:{p}"),
        }
    }
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("unknown pooling {s:?}"));
        let mut fields = s.split(':');
        let pooling = match fields.next() {
            Some("mac") => Self::Mac,
            Some("spoc") => Self::Spoc,
            Some("gem") => {
                Self::Gem { p: fields.next().and_then(|p| p.parse().ok()).ok_or_else(bad)? }
            }
            Some("rmac") => Self::Rmac {
                levels: fields.next().and_then(|l| l.parse().ok()).ok_or_else(bad)?,
                grid: fields.next().map_or(Ok(Grid::FeatureMap), str::parse)?,
            },
            _ => return Err(bad()),
        };
        if fields.next().is_some() { Err(bad()) } else { Ok(pooling) }
    }
}

impl DescriptorSpec {
    /// Dimension of the descriptors.
    pub fn dim(&self) -> usize {
        match self {
            Self::Network(n) => n.dim as usize,
            Self::Foreign { dim, .. } => *dim as usize,
        }
    }

    /// SHA-256 of [`Self::canonical`].
    pub fn hash(&self) -> Hash {
        Hash::of(self.canonical().as_bytes())
    }

    /// The canonical text: see the module's introduction.
    pub fn canonical(&self) -> String {
        let n = match self {
            Self::Foreign { name, dim } => return format!("{FOREIGN_PREFIX}{name}\ndim={dim}\n"),
            Self::Network(n) => n,
        };
        let default = NetworkSpec::new(n.weights, n.arch.as_str(), n.last_stage, n.dim);
        let mut out = format!("{NETWORK_HEADER}\n");
        let mut line = |name: &str, value: &dyn fmt::Display| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name}={value}");
        };
        line("weights", &n.weights);
        line("arch", &n.arch);
        line("last_stage", &n.last_stage);
        line("dim", &n.dim);
        if n.form != default.form {
            line("form", &n.form);
        }
        if n.input != default.input {
            line("input", &n.input);
        }
        if n.bn_eps != default.bn_eps {
            line("bn_eps", &n.bn_eps);
        }
        if n.pooling != default.pooling {
            line("pooling", &n.pooling);
        }
        if !n.sizes.is_empty() {
            let sizes: Vec<String> = n.sizes.iter().map(u32::to_string).collect();
            line("sizes", &sizes.join(","));
        }
        if n.filter != default.filter {
            line("filter", &n.filter);
        }
        for (name, value, default) in [
            ("upscale", n.upscale, default.upscale),
            ("exif", n.exif, default.exif),
            ("jpeg_scaled", n.jpeg_scaled, default.jpeg_scaled),
        ] {
            if value != default {
                line(name, &value);
            }
        }
        if n.head != default.head {
            line("head", &n.head);
        }
        if n.image_whitening != default.image_whitening {
            line("image_whitening", &n.image_whitening);
        }
        if n.precision != default.precision {
            line("precision", &n.precision);
        }
        if n.combine != default.combine {
            line("combine", &n.combine.canonical());
        }
        if n.crop_first != default.crop_first {
            line("crop_first", &n.crop_first);
        }
        if let Some(w) = &n.whitening {
            line("whitening", w);
        }
        out
    }

    /// Reads a canonical text.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not exactly what [`Self::canonical`] writes for some spec.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |what: String| Error::invalid(format!("descriptor spec: {what}"));
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let mut fields = BTreeMap::new();
        for line in lines {
            let (name, value) = line
                .split_once('=')
                .ok_or_else(|| bad(format!("expected name=value, found {line:?}")))?;
            fields.insert(name, value);
        }
        let mut take = |name: &str| fields.remove(name);
        let hash = |text: &str| text.parse::<Hash>().map_err(|e| Error::invalid(e.to_string()));
        fn number<T: FromStr>(name: &str, value: Option<&str>) -> Result<T> {
            let value = value
                .ok_or_else(|| Error::invalid(format!("descriptor spec: {name} is missing")))?;
            value.parse().map_err(|_| {
                Error::invalid(format!("descriptor spec: {name}={value} is no number"))
            })
        }
        let spec = if let Some(name) = header.strip_prefix(FOREIGN_PREFIX) {
            Self::foreign(name, number("dim", take("dim"))?)?
        } else if header == NETWORK_HEADER {
            let required = |value: Option<&str>, name: &str| {
                value.map(str::to_owned).ok_or_else(|| bad(format!("{name} is missing")))
            };
            let weights = hash(&required(take("weights"), "weights")?)?;
            let arch = required(take("arch"), "arch")?;
            let mut n = NetworkSpec::new(
                weights,
                arch,
                number("last_stage", take("last_stage"))?,
                number("dim", take("dim"))?,
            );
            if let Some(v) = take("form") {
                n.form = v.parse()?;
            }
            if let Some(v) = take("input") {
                n.input = v.parse()?;
            }
            if let Some(v) = take("bn_eps") {
                n.bn_eps = number("bn_eps", Some(v))?;
            }
            if let Some(v) = take("pooling") {
                n.pooling = v.parse()?;
            }
            if let Some(v) = take("sizes") {
                n.sizes = v.split(',').map(|s| number("sizes", Some(s))).collect::<Result<_>>()?;
            }
            if let Some(v) = take("filter") {
                n.filter = v.parse()?;
            }
            if let Some(v) = take("upscale") {
                n.upscale = number("upscale", Some(v))?;
            }
            if let Some(v) = take("exif") {
                n.exif = number("exif", Some(v))?;
            }
            if let Some(v) = take("jpeg_scaled") {
                n.jpeg_scaled = number("jpeg_scaled", Some(v))?;
            }
            if let Some(v) = take("head") {
                n.head = v.parse()?;
            }
            if let Some(v) = take("image_whitening") {
                n.image_whitening = number("image_whitening", Some(v))?;
            }
            if let Some(v) = take("precision") {
                n.precision = v.parse()?;
            }
            if let Some(v) = take("combine") {
                n.combine = Combine::parse_canonical(v)?;
            }
            if let Some(v) = take("crop_first") {
                n.crop_first = v.parse()?;
            }
            if let Some(v) = take("whitening") {
                n.whitening = Some(hash(v)?);
            }
            Self::Network(n)
        } else {
            return Err(bad(format!(
                "expected the first line {NETWORK_HEADER:?} or \"foreign:NAME\", found {header:?}"
            )));
        };
        if let Some(name) = fields.keys().next() {
            return Err(bad(format!("unknown field {name:?}")));
        }
        if let Self::Network(n) = &spec {
            n.check().map_err(bad)?;
        }
        // One spec, one text, one hash: an order or a default written out would make a second.
        if spec.canonical() != text {
            return Err(bad("the text is not in canonical form".into()));
        }
        Ok(spec)
    }

    /// The spec of vectors that come from elsewhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name has other characters than its field allows, or `dim` is 0.
    pub fn foreign(name: &str, dim: u32) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if name.is_empty() || name.len() > 128 || !name.chars().all(allowed) {
            return Err(Error::invalid(format!(
                "foreign spec name {name:?}: expected 1 to 128 letters, digits, '.', '_', '-' or '/'"
            )));
        }
        if dim == 0 {
            return Err(Error::invalid("foreign spec: dimension 0"));
        }
        Ok(Self::Foreign { name: name.to_owned(), dim })
    }

    /// Whether the two differ in nothing but the sizes that images are resized to.
    pub fn differs_only_in_sizes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network(a), Self::Network(b)) => {
                a.sizes != b.sizes && NetworkSpec { sizes: b.sizes.clone(), ..a.clone() } == *b
            }
            _ => false,
        }
    }

    /// The fields in which two specs differ, each with both values:
    /// `sizes: 448 / 800, dim: 256 / 512`.
    pub fn differences(&self, found: &Self) -> String {
        let fields = |spec: &Self| -> BTreeMap<String, String> {
            let text = spec.canonical();
            let head = text.lines().next().unwrap_or_default().to_owned();
            text.lines()
                .skip(1)
                .filter_map(|l| l.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .chain([("made by".to_owned(), head)])
                .collect()
        };
        let (a, b) = (fields(self), fields(found));
        let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        let value =
            |m: &BTreeMap<String, String>, k: &String| m.get(k).map_or("default", |v| v).to_owned();
        names
            .into_iter()
            .filter(|k| a.get(*k) != b.get(*k))
            .map(|k| format!("{k}: expected {}, found {}", value(&a, k), value(&b, k)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Refuses two things made under different specs.
    ///
    /// # Errors
    /// [`Error::SpecMismatch`] with both hashes and the fields that differ.
    pub fn same_or_err(what: &str, expected: &Self, found: &Self) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        Err(Error::SpecMismatch {
            what: what.to_owned(),
            expected: expected.hash(),
            found: found.hash(),
            differences: expected.differences(found),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NetworkSpec {
        NetworkSpec::new(Hash::of(b"weights"), "resnet50", 3, 1024)
    }

    /// The text and hash of a spec are a promise to every file that carries them.
    #[test]
    fn canonical_text_and_hash_are_pinned() {
        let mut n = spec();
        n.form = Form::V1;
        n.input = InputConvention::CaffeBgr;
        n.bn_eps = 1.001e-5;
        n.sizes = vec![448];
        let spec = DescriptorSpec::Network(n);
        assert_eq!(
            spec.canonical(),
            "ocelli-descriptor-spec 1\n\
             weights=9ed0ca5d8d3bf89fd6ff47a37d6df13a4f18d63a6b6e6fd3cd8d7d1cf4a4fbd5\n\
             arch=resnet50\nlast_stage=3\ndim=1024\nform=v1\ninput=caffe-bgr\nbn_eps=0.00001001\nsizes=448\n"
                .replace("9ed0ca5d8d3bf89fd6ff47a37d6df13a4f18d63a6b6e6fd3cd8d7d1cf4a4fbd5", &Hash::of(b"weights").to_string())
        );
        let foreign = DescriptorSpec::foreign("sift", 128).unwrap();
        assert_eq!(foreign.canonical(), "foreign:sift\ndim=128\n");
    }

    #[test]
    fn text_round_trips_whatever_the_fields() {
        let full = NetworkSpec {
            form: Form::V1,
            input: InputConvention::CaffeBgr,
            bn_eps: 1.001e-5,
            pooling: Pooling::Rmac { levels: 2, grid: Grid::ImagePixels },
            sizes: vec![550, 800, 1050],
            filter: ResizeFilter::Lanczos3,
            upscale: false,
            exif: false,
            jpeg_scaled: true,
            head: Head::Fc,
            image_whitening: true,
            precision: Precision::Bf16,
            combine: Combine::Gem { p: 3.0, floor: Combine::FLOOR },
            crop_first: CropFirst::PhotoScale,
            whitening: Some(Hash::of(b"w")),
            ..spec()
        };
        let gem = NetworkSpec {
            pooling: Pooling::Gem { p: 2.92 },
            combine: Combine::Gem { p: 2.92, floor: 0.0 },
            ..spec()
        };
        // Text and hash of what was made before there was a floor.
        let text = DescriptorSpec::Network(gem.clone()).canonical();
        assert!(text.ends_with("\ncombine=gem:2.92\n"), "{text}");
        assert!(DescriptorSpec::Network(full.clone()).canonical().contains("gem:3:0.000001\n"));
        for spec in [
            DescriptorSpec::Network(spec()),
            DescriptorSpec::Network(full),
            DescriptorSpec::Network(gem),
            DescriptorSpec::foreign("a/b-1.0_x", 7).unwrap(),
        ] {
            assert_eq!(DescriptorSpec::parse(&spec.canonical()).unwrap(), spec);
        }
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        let text = DescriptorSpec::Network(spec()).canonical();
        for bad in [
            text.replace("ocelli-descriptor-spec 1", "ocelli-descriptor-spec 2"),
            text.clone() + "form=v1.5\n",
            text.clone() + "colour=red\n",
            text.replace("dim=1024\n", ""),
            text.replace("dim=1024", "dim=many"),
            text.replace("dim=1024", "dim=0"),
            text.replace("last_stage=3", "last_stage=6"),
            text.clone() + "bn_eps=NaN\n",
            text.clone() + "pooling=rmac:0\n",
            text.clone() + "pooling=gem:NaN\n",
            text.clone() + "pooling=gem:0\n",
            text.clone() + "combine=gem:3:0\n",
            text.clone() + "combine=gem:3:-1\n",
            text.clone() + "combine=gem:0:1\n",
            String::new(),
            "foreign:\ndim=3\n".into(),
        ] {
            assert!(DescriptorSpec::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mismatch_names_the_fields() {
        let a = DescriptorSpec::Network(spec());
        let b = DescriptorSpec::Network(NetworkSpec { sizes: vec![800], ..spec() });
        assert!(a.differs_only_in_sizes(&b));
        let message = DescriptorSpec::same_or_err("query", &a, &b).unwrap_err().to_string();
        assert!(message.contains("sizes: expected default, found 800"), "{message}");
        assert!(message.contains(&a.hash().to_string()) && message.contains(&b.hash().to_string()));
        DescriptorSpec::same_or_err("query", &a, &a.clone()).unwrap();
    }
}
