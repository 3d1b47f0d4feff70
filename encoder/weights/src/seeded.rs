//! Untrained networks with a fixed seed, for demonstrations and tests without published weights.
//!
//! Weights follow He, Zhang, Ren, Sun: "Delving Deep into Rectifiers" (ICCV 2015), so that the
//! activations keep their scale through the depth. Random features find near copies of a photo and
//! little else: such a network shows that the path works, not how well.

use std::path::Path;
use std::str::FromStr;

use ocelli_index::container::write_atomically;
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

use crate::backbone::RESNET_STAGES as STAGES;
use crate::backbone::efficientnet::{self, HEAD, HEAD_WIDTH, KERNELS, PARTS, STEM, STEM_WIDTH};
use crate::convert::Array;
use crate::error::{Error, Result};
use crate::write::safetensors_bytes;

/// Standard deviation of the biases, against activations of about 1.
const BIAS_SCALE: f64 = 0.1;

/// Networks that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededArch {
    /// ResNet-18, basic blocks.
    Resnet18,
    /// ResNet-34, basic blocks.
    Resnet34,
    /// ResNet-50, bottlenecks in form v1.5.
    Resnet50,
    /// EfficientNet-Lite0.
    EfficientnetLite0,
}

impl SeededArch {
    /// Every name that [`FromStr`] reads.
    pub const NAMES: [&'static str; 4] = ["resnet18", "resnet34", "resnet50", "efficientnet-lite0"];

    /// "resnet18".
    pub fn name(self) -> &'static str {
        match self {
            SeededArch::Resnet18 => "resnet18",
            SeededArch::Resnet34 => "resnet34",
            SeededArch::Resnet50 => "resnet50",
            SeededArch::EfficientnetLite0 => "efficientnet-lite0",
        }
    }

    /// Number of stages.
    #[must_use]
    pub fn stages(self) -> u32 {
        match self {
            SeededArch::EfficientnetLite0 => efficientnet::STAGES as u32,
            _ => STAGES as u32,
        }
    }

    fn blocks(self) -> [usize; STAGES] {
        match self {
            SeededArch::Resnet18 => [2, 2, 2, 2],
            _ => [3, 4, 6, 3],
        }
    }

    fn is_bottleneck(self) -> bool {
        matches!(self, SeededArch::Resnet50)
    }
}

impl FromStr for SeededArch {
    type Err = Error;

    fn from_str(text: &str) -> Result<SeededArch> {
        match text {
            "resnet18" => Ok(SeededArch::Resnet18),
            "resnet34" => Ok(SeededArch::Resnet34),
            "resnet50" => Ok(SeededArch::Resnet50),
            "efficientnet-lite0" => Ok(SeededArch::EfficientnetLite0),
            other => Err(Error::invalid(format!(
                "architecture: expected one of {}, found {other:?}",
                SeededArch::NAMES.join(", ")
            ))),
        }
    }
}

/// Writes the stages 1 to `last_stage` (1 to 4; of an EfficientNet 1 to 7, with the head behind the
/// last) of an untrained network as safetensors, with `ocelli.form`, `ocelli.input`, `ocelli.arch`
/// and `ocelli.seed` in the metadata and batch normalisation left away. Equal arguments give equal
/// bytes on every machine. The file appears under its name only when complete.
///
/// # Errors
/// `Invalid` for a stage out of range, `Index` when the file cannot be written.
pub fn write(arch: SeededArch, seed: u64, last_stage: u32, out: &Path) -> Result<()> {
    if !(1..=arch.stages()).contains(&last_stage) {
        return Err(Error::invalid(format!(
            "last stage: expected 1 to {}, found {last_stage}",
            arch.stages()
        )));
    }
    let stages = last_stage as usize;
    let seed_text = seed.to_string();
    let input = match arch {
        SeededArch::EfficientnetLite0 => "centred-rgb",
        _ => "torchvision-rgb",
    };
    let metadata = [
        ("ocelli.arch", arch.name()),
        ("ocelli.form", "v1.5"),
        ("ocelli.input", input),
        ("ocelli.seed", &seed_text),
    ];
    let tensors = match arch {
        SeededArch::EfficientnetLite0 => inverted(seed, stages),
        _ => tensors(arch, seed, stages),
    };
    let tensors = tensors.into_iter().map(|(name, shape, values)| {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (name, Array { dtype: Dtype::F32, shape, bytes })
    });
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let bytes = safetensors_bytes(&tensors.collect::<Vec<_>>(), metadata);
    Ok(write_atomically(out, &bytes)?)
}

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn tensors(arch: SeededArch, seed: u64, stages: usize) -> Tensors {
    let mut out = Drawn { rng: ChaCha8Rng::seed_from_u64(seed), tensors: Vec::new() };
    let blocks = arch.blocks();
    // Each block adds its branch to its input. Branches that together add as much as the trunk
    // carries keep the sum within a small factor at any depth.
    let branch_gain = 1.0 / blocks.iter().take(stages).sum::<usize>() as f64;
    let expansion = if arch.is_bottleneck() { 4 } else { 1 };
    out.conv("conv1", 64, 3, 7, 2.0);
    let mut width = 64;
    for (stage, &count) in blocks.iter().enumerate().take(stages) {
        let inner = 64 << stage;
        let outer = inner * expansion;
        for block in 0..count {
            let prefix = format!("layer{}.{block}", stage + 1);
            if arch.is_bottleneck() {
                out.conv(&format!("{prefix}.conv1"), inner, width, 1, 2.0);
                out.conv(&format!("{prefix}.conv2"), inner, inner, 3, 2.0);
                out.conv(&format!("{prefix}.conv3"), outer, inner, 1, 2.0 * branch_gain);
            } else {
                out.conv(&format!("{prefix}.conv1"), outer, width, 3, 2.0);
                out.conv(&format!("{prefix}.conv2"), outer, outer, 3, 2.0 * branch_gain);
            }
            if block == 0 && (stage > 0 || width != outer) {
                out.conv(&format!("{prefix}.downsample.0"), outer, width, 1, 1.0);
            }
            width = outer;
        }
    }
    out.tensors
}

/// EfficientNet-Lite0. Half of what enters a depthwise convolution or a projection is cut off by a
/// ReLU, of what enters an expansion nothing.
fn inverted(seed: u64, stages: usize) -> Tensors {
    let mut out = Drawn { rng: ChaCha8Rng::seed_from_u64(seed), tensors: Vec::new() };
    let plan = &efficientnet::PUBLISHED[0];
    let branch_gain = 1.0 / plan.blocks.iter().take(stages).sum::<usize>() as f64;
    out.conv(STEM[0], STEM_WIDTH, 3, 3, 2.0);
    let (mut width, mut number) = (STEM_WIDTH, 0);
    let [expand, depthwise, project] = PARTS.map(|[conv, _]| conv);
    let plan = plan.widths.into_iter().zip(plan.blocks).zip(KERNELS).take(stages);
    for ((outer, count), kernel) in plan {
        for at in 0..count {
            let of = |module: &str| efficientnet::block_part(number, module);
            let inner = if number == 0 { width } else { 6 * width };
            if number > 0 {
                out.conv(&of(expand), inner, width, 1, 1.0);
            }
            out.conv(&of(depthwise), inner, 1, kernel, 2.0);
            let gain = if at == 0 { 1.0 } else { branch_gain };
            out.conv(&of(project), outer, inner, 1, 2.0 * gain);
            (width, number) = (outer, number + 1);
        }
    }
    if stages == efficientnet::STAGES {
        out.conv(HEAD[0], HEAD_WIDTH, width, 1, 1.0);
    }
    out.tensors
}

struct Drawn {
    rng: ChaCha8Rng,
    tensors: Tensors,
}

impl Drawn {
    /// Weights of variance `gain` / fan-in; gain 2 makes up for the half that a ReLU removes.
    fn conv(&mut self, name: &str, out: usize, input: usize, kernel: usize, gain: f64) {
        let fan_in = input * kernel * kernel;
        let scale = (gain / fan_in as f64).sqrt();
        let weight = (0..out * fan_in).map(|_| (self.normal() * scale) as f32).collect();
        self.tensors.push((format!("{name}.weight"), vec![out, input, kernel, kernel], weight));
        let bias = (0..out).map(|_| (self.normal() * BIAS_SCALE * scale.min(1.0)) as f32).collect();
        self.tensors.push((format!("{name}.bias"), vec![out], bias));
    }

    /// About normal, mean 0, variance 1: the sum of four uniform 16-bit numbers. Integer sums and a
    /// division give the same bits everywhere, which logarithms and cosines do not.
    fn normal(&mut self) -> f64 {
        let draw = self.rng.next_u64();
        let sum: u64 = (0..4).map(|i| (draw >> (16 * i)) & 0xffff).sum();
        let levels = 65536.0f64;
        // Four times the mean and variance of a uniform number in 0..65536.
        let (mean, variance) = (4.0 * (levels - 1.0) / 2.0, 4.0 * (levels * levels - 1.0) / 12.0);
        (sum as f64 - mean) / variance.sqrt()
    }
}
