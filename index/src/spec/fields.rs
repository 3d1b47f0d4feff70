//! The fields of a spec that are choices: each has a name in the canonical text, in flags and in
//! JSON.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::named::named;

named! {
    /// The form of a backbone's layers, where its tensors leave it open. Most have one form only,
    /// that of torchvision.
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
        /// RGB, 0 to 255, minus 127, over 128 (EfficientNet-Lite).
        CentredRgb = "centred-rgb",
        /// RGB, 0 to 255, as the pixels are.
        RawRgb = "raw-rgb",
        /// RGB, 0 to 1.
        UnitRgb = "unit-rgb",
        /// RGB, −1 to 1: over 127.5, minus 1.
        SymmetricRgb = "symmetric-rgb",
    }
}

/// The layer whose output is pooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The end of a stage, or of a block of a transformer, from 1.
    Stage(u32),
    /// EfficientNet: the expansion in the block that follows a stage, before its depthwise
    /// convolution: the widest map at the stage's resolution.
    Expansion(u32),
    /// EfficientNet: the last convolution, before the classifier.
    Head,
}

impl Layer {
    /// The largest number of a stage or block that a spec may name.
    pub const MAX_STAGE: u32 = 99;

    /// Whether the number of the stage is one that a spec may name.
    pub(super) fn is_sound(self) -> bool {
        match self {
            Self::Stage(n) | Self::Expansion(n) => (1..=Self::MAX_STAGE).contains(&n),
            Self::Head => true,
        }
    }
}

/// `3`, `e5` or `head`.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(n) => write!(f, "{n}"),
            Self::Expansion(n) => write!(f, "e{n}"),
            Self::Head => f.write_str("head"),
        }
    }
}

impl FromStr for Layer {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let layer = match (s, s.strip_prefix('e')) {
            ("head", _) => Some(Self::Head),
            (_, Some(stage)) => stage.parse().ok().map(Self::Expansion),
            (stage, None) => stage.parse().ok().map(Self::Stage),
        };
        layer.filter(|layer| layer.is_sound()).ok_or_else(|| {
            Error::invalid(format!(
                "layer: expected the number of a stage, e and such a number for the expansion \
                 behind it, or head, found {s:?}"
            ))
        })
    }
}

/// A stage is a number in JSON, as it was before there were other layers.
impl Serialize for Layer {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Stage(n) => s.serialize_u32(*n),
            other => s.collect_str(other),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Layer {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Value {
            Number(u32),
            Text(String),
        }
        let text = match Value::deserialize(d)? {
            Value::Number(n) => n.to_string(),
            Value::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

named! {
    /// The use of the weights' own fully connected layer for each pooled row. The row is
    /// L2-normalised after it in any case.
    Head, "head" {
        /// No projection, or one that is not used.
        None = "none",
        /// L2-normalised, then projected.
        L2Fc = "l2-fc",
        /// Projected as pooled.
        Fc = "fc",
    }
}

named! {
    /// The number type of a network's layers.
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
    /// The sum of the descriptors of all sizes (Gordo et al. 2017).
    Sum,
    /// Their generalized mean, element by element: s(mean(s(x), p), 1/p) with s(x, p) = sign(x)
    /// max(|x|, floor)^p; 0 stays 0. One size alone stays as it is.
    Gem {
        /// The exponent, > 0.
        p: f32,
        /// The value that smaller magnitudes get before each of the two powers: [`Combine::FLOOR`]
        /// in the code published with Revaud et al., "Learning with Average Precision" (2019); 0 in
        /// that of Radenović, Tolias, Chum (2018).
        floor: f32,
    },
    /// Their largest value, element by element: Scale-GeM with an infinite exponent, as SuperGlobal
    /// takes it (Shao et al. 2023).
    Max,
    /// Scale-GeM with a finite exponent (Shao et al. 2023): mean((x − m)^p)^(1/p) + m with m the
    /// least value of all descriptors of the image.
    ScaleGem {
        /// The exponent, > 0; 10 in the published code.
        p: f32,
    },
}

impl Combine {
    /// The published floor.
    pub const FLOOR: f32 = 1e-6;

    /// Whether the exponent is over 0 and the floor is not below it.
    pub fn is_sound(&self) -> bool {
        match *self {
            Self::Sum | Self::Max => true,
            Self::ScaleGem { p } => p.is_finite() && p > 0.0,
            Self::Gem { p, floor } => p.is_finite() && p > 0.0 && floor.is_finite() && floor >= 0.0,
        }
    }

    /// As it is in the canonical text, where a floor of 0, which was the only one at first, is
    /// left out.
    pub(super) fn canonical(&self) -> String {
        match self {
            Self::Gem { p, floor } if *floor == 0.0 => format!("gem:{p}"),
            other => other.to_string(),
        }
    }

    pub(super) fn parse_canonical(s: &str) -> Result<Self> {
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
            Self::Max => f.write_str("max"),
            Self::ScaleGem { p } => write!(f, "scale-gem:{p}"),
        }
    }
}

/// `sum`, `gem:P` with the published floor, `gem:P:FLOOR`, `max` or `scale-gem:P`.
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
            ["max"] => Some(Self::Max),
            ["scale-gem", p] => p.parse().ok().map(|p| Self::ScaleGem { p }),
            ["gem", p] => gem(p, None),
            ["gem", p, floor] => gem(p, Some(floor)),
            _ => None,
        };
        combine.filter(Self::is_sound).ok_or_else(|| {
            Error::invalid(format!(
                "combine: expected sum, max, gem:P or scale-gem:P with P over 0, or gem:P:FLOOR \
                 with a floor of 0 or more, found {s:?}"
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
        /// After the resizing of the whole image (Gordo et al. 2017).
        No = "false",
        /// Before the resizing: the longest side of the cut-out becomes the size.
        OwnScale = "true",
        /// Before the resizing, and the cut-out is resized by the scale of the whole image (the
        /// code published with Radenović, Tolias, Chum 2018).
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
    /// A transformer's class token (Dosovitskiy et al. 2021), or the one vector that an ONNX
    /// network answers with.
    Cls,
    /// SuperGlobal's (Shao et al., "Global Features are All You Need for Image Retrieval and
    /// Reranking", ICCV 2023): y = max(x, floor) is ReLUP; each cell becomes the mean of y and of
    /// its window's generalized mean, which is Regional-GeM; then the generalized mean of all
    /// cells, GeM+.
    #[serde(rename = "superglobal")]
    SuperGlobal {
        /// The exponent over all cells, > 0.
        p: f32,
        /// The exponent within a window, > 0.
        region_p: f32,
        /// Cells along a side of a window, odd; beyond the edge the map is mirrored.
        window: u32,
        /// The least value of an activation, 0 or more.
        floor: f32,
    },
    /// Maxima over regions that a part of the network proposes, in place of R-MAC's grid (Gordo,
    /// Almazán, Revaud, Larlus, ECCV 2016; the proposals are those of Ren, He, Girshick, Sun:
    /// "Faster R-CNN", NIPS 2015).
    #[serde(rename = "rpn")]
    Proposals {
        /// Regions of a picture, 1 to 1,000: fewer where its map has fewer anchors.
        count: u32,
    },
}

impl Pooling {
    /// SuperGlobal's pooling with the exponents and the window of the published code, which has a
    /// floor of 0 in front of the pooling.
    pub const SUPERGLOBAL: Self =
        Self::SuperGlobal { p: 4.6, region_p: 2.5, window: 5, floor: 0.0 };
    /// The largest number of levels of R-MAC's grid; the papers use up to 4.
    pub const MAX_LEVELS: u32 = 4;
    /// The largest window of SuperGlobal's pooling.
    pub const MAX_WINDOW: u32 = 31;
    /// The largest number of proposed regions.
    pub const MAX_PROPOSALS: u32 = 1000;

    /// Refuses parameters without a meaning.
    ///
    /// # Errors
    /// [`Error::Invalid`] for levels outside 1 to 4, exponents that are not positive numbers,
    /// windows that are even or larger than 31, a floor below 0, and proposals outside 1 to 1,000.
    pub fn check(&self) -> Result<()> {
        let is_positive = |v: f32| v.is_finite() && v > 0.0;
        match *self {
            Self::Rmac { levels, .. } if !(1..=Self::MAX_LEVELS).contains(&levels) => {
                Err(Error::invalid(format!(
                    "levels: expected 1 to {}, found {levels}",
                    Self::MAX_LEVELS
                )))
            }
            Self::Proposals { count } if !(1..=Self::MAX_PROPOSALS).contains(&count) => {
                Err(Error::invalid(format!(
                    "proposed regions: expected 1 to {}, found {count}",
                    Self::MAX_PROPOSALS
                )))
            }
            Self::Gem { p } if !is_positive(p) => {
                Err(Error::invalid(format!("GeM exponent: expected a number above 0, found {p}")))
            }
            Self::SuperGlobal { p, region_p, window, floor } => {
                let is_window = window % 2 == 1 && window <= Self::MAX_WINDOW;
                let is_floor = floor.is_finite() && floor >= 0.0;
                match is_positive(p) && is_positive(region_p) && is_window && is_floor {
                    true => Ok(()),
                    false => Err(Error::invalid(format!(
                        "pooling {self}: expected superglobal:P:REGION_P:WINDOW:FLOOR with \
                         exponents above 0, an odd window up to {} and a floor of 0 or more",
                        Self::MAX_WINDOW
                    ))),
                }
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rmac { levels, grid: Grid::FeatureMap } => write!(f, "rmac:{levels}"),
            Self::Rmac { levels, grid } => write!(f, "rmac:{levels}:{grid}"),
            Self::Mac => f.write_str("mac"),
            Self::Spoc => f.write_str("spoc"),
            Self::Gem { p } => write!(f, "gem:{p}"),
            Self::Cls => f.write_str("cls"),
            Self::SuperGlobal { p, region_p, window, floor } => {
                write!(f, "superglobal:{p}:{region_p}:{window}:{floor}")
            }
            Self::Proposals { count } => write!(f, "rpn:{count}"),
        }
    }
}

/// `rmac:3`, `rmac:2:image-pixels`, `rpn:128`, `mac`, `spoc`, `gem:3`, `cls`,
/// `superglobal:P:REGION_P:WINDOW:FLOOR`, or `superglobal` with the published parameters.
impl FromStr for Pooling {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!(
                "unknown pooling {s:?}, expected rmac:LEVELS, rmac:LEVELS:image-pixels, rpn:N, \
                 mac, spoc, gem:P, cls or superglobal"
            ))
        };
        let mut fields = s.split(':');
        let pooling = match fields.next() {
            Some("mac") => Self::Mac,
            Some("spoc") => Self::Spoc,
            Some("cls") => Self::Cls,
            Some("gem") => {
                Self::Gem { p: fields.next().and_then(|p| p.parse().ok()).ok_or_else(bad)? }
            }
            Some("superglobal") if s == "superglobal" => Self::SUPERGLOBAL,
            Some("superglobal") => {
                let mut number = || fields.next().and_then(|p| p.parse().ok()).ok_or_else(bad);
                let (p, region_p) = (number()?, number()?);
                let window = fields.next().and_then(|w| w.parse().ok()).ok_or_else(bad)?;
                let floor = fields.next().and_then(|f| f.parse().ok()).ok_or_else(bad)?;
                Self::SuperGlobal { p, region_p, window, floor }
            }
            Some("rpn") => Self::Proposals {
                count: fields.next().and_then(|n| n.parse().ok()).ok_or_else(bad)?,
            },
            Some("rmac") => Self::Rmac {
                levels: fields.next().and_then(|l| l.parse().ok()).ok_or_else(bad)?,
                grid: fields.next().map_or(Ok(Grid::FeatureMap), str::parse)?,
            },
            _ => return Err(bad()),
        };
        if fields.next().is_some() { Err(bad()) } else { Ok(pooling) }
    }
}
