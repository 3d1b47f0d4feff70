//! Networks in ONNX files, run by ONNX Runtime.
//!
//! The runtime is a library of its own, which is opened when such a network is: nothing is linked
//! or fetched when this crate is built. Each thread that computes takes a session; sessions are
//! made when they are needed, of one thread each, and kept. Each holds the weights once more.

mod graph;
mod runtime;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ocelli_index::{Hash, InputConvention};
use ocelli_weights::Error as WeightsError;
use ocelli_weights::onnx::{OnnxKind, OnnxLayout};
use ocelli_weights::settings::{self, SettingsOptions};
use tch::{Device, Kind, TchError, Tensor};

use crate::error::{Error, Result};
use crate::torch::Torch;
use graph::Graph;
use runtime::{Pixels, Session};

/// Side of the image that a network is tried out with, where it takes images of any size.
const TRY_OUT_SIDE: i64 = 224;

/// A network of an ONNX file.
pub(crate) struct Onnx {
    path: PathBuf,
    model: Vec<u8>,
    library: Option<PathBuf>,
    graph: Graph,
    input: InputConvention,
    channels: usize,
    /// Sessions that nobody uses now.
    idle: Mutex<Vec<Session>>,
}

impl Onnx {
    /// Opens a file with the settings beside it, and tries it out. `library` is the runtime's, or a
    /// folder that holds it; by default the loader's `libonnxruntime.so`.
    pub(crate) fn open(
        path: &Path,
        options: &SettingsOptions,
        library: Option<&Path>,
    ) -> Result<Arc<Onnx>> {
        let (input, settings) = settings::resolve_onnx(path, options)?;
        let model = fs::read(path).map_err(|e| ocelli_index::Error::io(path, "read", e))?;
        let session = Session::open(library, &model).map_err(|what| refused(path, what))?;
        let graph = Graph::of(&session.inputs(), &session.outputs(), &settings);
        let graph = graph.map_err(|what| bad(path, what))?;
        let input = match (input, graph.is_bytes) {
            (None | Some(InputConvention::RawRgb), true) => InputConvention::RawRgb,
            (Some(input), true) => {
                return Err(bad(
                    path,
                    format!(
                        "its input takes bytes, which have the input convention {}, found {input}",
                        InputConvention::RawRgb
                    ),
                ));
            }
            (Some(input), false) => input,
            (None, false) => {
                return Err(WeightsError::NotConfigured {
                    path: path.to_path_buf(),
                    what: "the input convention",
                    remedy: "give --input (torchvision-rgb, unit-rgb, …), or \"input\" in the JSON \
                             file beside the network",
                }
                .into());
            }
        };
        let mut onnx = Onnx {
            path: path.to_path_buf(),
            model,
            library: library.map(Path::to_path_buf),
            graph,
            input,
            channels: 0,
            idle: Mutex::new(vec![session]),
        };
        let (height, width) = onnx.graph.size.unwrap_or((TRY_OUT_SIDE, TRY_OUT_SIDE));
        let tried = Tensor::f_zeros([1, 3, height, width], (Kind::Float, Device::Cpu))
            .and_then(|pixels| onnx.forward(&pixels)?.size4());
        let (_, channels, ..) = tried.map_err(|error| bad(path, error.to_string()))?;
        onnx.channels = usize::try_from(channels).unwrap_or_default();
        Ok(Arc::new(onnx))
    }

    /// Hash of the file.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(&self.model)
    }

    /// "onnx-embedding-OUTPUT" or "onnx-map-OUTPUT".
    pub(crate) fn name(&self) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let output: String =
            self.graph.output.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
        let kind = if self.is_embedding() { "embedding" } else { "map" };
        format!("onnx-{kind}-{output}")
    }

    /// How pixels are presented to the network.
    pub(crate) fn input(&self) -> InputConvention {
        self.input
    }

    /// Whether it answers with one vector for an image.
    pub(crate) fn is_embedding(&self) -> bool {
        self.graph.kind == OnnxKind::Embedding
    }

    /// Channels of the map, or length of the embedding.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Pixels (N, 3, H, W) to maps (N, C, h, w); an embedding is a map of one cell. Where the
    /// network takes one size only, the image is squeezed into it.
    pub(crate) fn forward(&self, pixels: &Tensor) -> Torch<Tensor> {
        let pixels = pixels.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?;
        let (images, _, height, width) = pixels.size4()?;
        let pixels = match self.graph.size {
            Some((rows, columns)) if (rows, columns) != (height, width) => {
                pixels.f_internal_upsample_bilinear2d_aa([rows, columns], false, None, None)?
            }
            _ => pixels,
        };
        let pixels = match self.graph.layout {
            OnnxLayout::Nchw => pixels,
            OnnxLayout::Nhwc => pixels.f_permute([0, 2, 3, 1])?,
        };
        if !self.graph.is_single {
            return self.run(&pixels);
        }
        let one = |image| self.run(&pixels.f_narrow(0, image, 1)?);
        Tensor::f_cat(&(0..images).map(one).collect::<Torch<Vec<_>>>()?, 0)
    }

    /// Pixels in the network's own layout to maps (N, C, h, w).
    fn run(&self, pixels: &Tensor) -> Torch<Tensor> {
        let shape = pixels.size();
        let flat = pixels.f_contiguous()?.f_reshape([-1])?;
        let values = match self.graph.is_bytes {
            true => {
                let bytes = flat.f_round()?.f_clamp(0, 255)?.f_to_kind(Kind::Uint8)?;
                Pixels::Bytes(Vec::<u8>::try_from(&bytes)?)
            }
            false => Pixels::Floats(Vec::<f32>::try_from(&flat)?),
        };
        let failed = |what: String| {
            TchError::Torch(format!("ONNX Runtime, {}: {what}", self.path.display()))
        };
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut session = match waiting {
            Some(session) => session,
            None => Session::open(self.library.as_deref(), &self.model)
                .map_err(|refused| failed(refused.to_string()))?,
        };
        let made = session.run(&self.graph.input, &self.graph.output, values, &shape);
        idle().push(session);
        let (values, found) = made.map_err(failed)?;
        let made = Tensor::f_from_slice(&values)?.f_reshape(&found)?;
        let images = shape.first().copied().unwrap_or_default();
        let axes = found.len();
        match (self.graph.kind, self.graph.layout) {
            _ if found.first() != Some(&images) || values.is_empty() => Err(failed(format!(
                "output {}: expected values for each of {images} images, found the shape {found:?}",
                self.graph.output
            ))),
            (OnnxKind::Embedding, _) => made.f_reshape([images, -1, 1, 1]),
            (OnnxKind::Map, OnnxLayout::Nchw) if axes == 4 => Ok(made),
            (OnnxKind::Map, OnnxLayout::Nhwc) if axes == 4 => made.f_permute([0, 3, 1, 2]),
            (OnnxKind::Map, _) => Err(failed(format!(
                "output {}: expected a map of 4 axes, found the shape {found:?}",
                self.graph.output
            ))),
        }
    }
}

fn bad(path: &Path, what: String) -> Error {
    WeightsError::BadWeights { path: path.to_path_buf(), what }.into()
}

/// The error of a file that the runtime does not open, or of a runtime that is not there.
fn refused(path: &Path, what: runtime::Refused) -> Error {
    match what {
        runtime::Refused::Runtime(what) => Error::OnnxRuntime { what },
        runtime::Refused::Model(what) => bad(path, what),
    }
}

#[cfg(test)]
mod tests;
