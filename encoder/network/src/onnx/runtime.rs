//! The only place that knows ONNX Runtime's binding.

use std::fmt;
use std::path::Path;

/// Why a session could not be made.
#[derive(Debug)]
pub(super) enum Refused {
    /// The runtime's library is not there, or not one.
    Runtime(String),
    /// The file is no network that the runtime takes.
    Model(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Refused::Runtime(what) | Refused::Model(what)) = self;
        f.write_str(what)
    }
}

/// Type of the values of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Byte,
    Float,
    /// Another one, by its name.
    Other(String),
}

/// An input or output.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) element: Element,
    /// -1 along an axis of any length.
    pub(super) shape: Vec<i64>,
}

/// Values of pixels.
pub(super) enum Pixels {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

#[cfg(feature = "onnx")]
pub(super) use with::Session;
#[cfg(not(feature = "onnx"))]
pub(super) use without::Session;

#[cfg(feature = "onnx")]
mod with {
    use std::ffi::OsStr;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use ort::environment::Environment;
    use ort::value::{Outlet, Tensor, TensorElementType, ValueType};

    use super::{Element, Path, Pixels, Port, Refused};

    /// Name of the library as the loader knows it.
    const LIBRARY: &str = "libonnxruntime.so";

    /// The runtime, opened once in a process.
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();

    /// A network that one thread runs.
    pub(in crate::onnx) struct Session(ort::session::Session);

    impl Session {
        pub(in crate::onnx) fn open(
            library: Option<&Path>,
            model: &[u8],
        ) -> Result<Session, Refused> {
            let environment = ENVIRONMENT.get_or_init(|| environment(library));
            let environment = environment.as_ref().map_err(|e| Refused::Runtime(e.clone()))?;
            let model_error = |e: ort::Error| Refused::Model(format!("ONNX Runtime: {e}"));
            let builder = ort::session::Session::builder(environment).map_err(model_error)?;
            let refused = |e: &dyn std::fmt::Display| Refused::Model(format!("ONNX Runtime: {e}"));
            let builder = builder.with_intra_threads(1).map_err(|e| refused(&e))?;
            let mut builder = builder.with_inter_threads(1).map_err(|e| refused(&e))?;
            let session = builder.commit_from_memory(model).map_err(model_error)?;
            Ok(Session(session))
        }

        pub(in crate::onnx) fn inputs(&self) -> Vec<Port> {
            self.0.inputs().iter().map(port).collect()
        }

        pub(in crate::onnx) fn outputs(&self) -> Vec<Port> {
            self.0.outputs().iter().map(port).collect()
        }

        /// Values and shape of an output.
        pub(in crate::onnx) fn run(
            &mut self,
            input: &str,
            output: &str,
            pixels: Pixels,
            shape: &[i64],
        ) -> Result<(Vec<f32>, Vec<i64>), String> {
            let failed = |e: ort::Error| e.to_string();
            let pixels = match pixels {
                Pixels::Bytes(bytes) => {
                    Tensor::from_array((shape.to_vec(), bytes)).map_err(failed)?.into_dyn()
                }
                Pixels::Floats(floats) => {
                    Tensor::from_array((shape.to_vec(), floats)).map_err(failed)?.into_dyn()
                }
            };
            let outputs = self.0.run(ort::inputs![input => pixels]).map_err(failed)?;
            let Some(value) = outputs.get(output) else {
                return Err(format!("there is no output {output:?}"));
            };
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(failed)?;
            Ok((values.to_vec(), shape.to_vec()))
        }
    }

    fn port(outlet: &Outlet) -> Port {
        let (element, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                let element = match ty {
                    TensorElementType::Uint8 => Element::Byte,
                    TensorElementType::Float32 => Element::Float,
                    other => Element::Other(format!("{other:?}")),
                };
                (element, shape.to_vec())
            }
            other => (Element::Other(format!("{other:?}")), Vec::new()),
        };
        Port { name: outlet.name().to_owned(), element, shape }
    }

    fn environment(library: Option<&Path>) -> Result<Environment, String> {
        let library = library.map_or_else(|| PathBuf::from(LIBRARY), within);
        let hint = "ONNX networks need the library of ONNX Runtime 1.17 or later: `pip install \
                    onnxruntime` puts it into the package's folder `capi`; name the file or the \
                    folder by the key `onnxruntime`, or its variable";
        let builder = ort::init_from(&library).map_err(|e| format!("{e}; {hint}"))?;
        builder.build().map_err(|e| format!("{}: {e}; {hint}", library.display()))
    }

    /// The library in a folder, or the file itself.
    fn within(path: &Path) -> PathBuf {
        let is_library = |name: &OsStr| name.to_string_lossy().starts_with(LIBRARY);
        let entries = path.read_dir().into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> =
            entries.filter(|e| is_library(&e.file_name())).map(|e| e.path()).collect();
        found.sort();
        let path = found.pop().unwrap_or_else(|| path.to_path_buf());
        // The binding takes a relative path as one beside the program.
        path.canonicalize().unwrap_or(path)
    }
}

#[cfg(not(feature = "onnx"))]
mod without {
    use super::{Path, Pixels, Port, Refused};

    /// Nothing: this program was built without ONNX.
    pub(in crate::onnx) enum Session {}

    impl Session {
        pub(in crate::onnx) fn open(_: Option<&Path>, _: &[u8]) -> Result<Session, Refused> {
            let what = "this program was built without ONNX (the feature `onnx`)";
            Err(Refused::Runtime(what.to_owned()))
        }

        pub(in crate::onnx) fn inputs(&self) -> Vec<Port> {
            match *self {}
        }

        pub(in crate::onnx) fn outputs(&self) -> Vec<Port> {
            match *self {}
        }

        pub(in crate::onnx) fn run(
            &mut self,
            _: &str,
            _: &str,
            _: Pixels,
            _: &[i64],
        ) -> Result<(Vec<f32>, Vec<i64>), String> {
            match *self {}
        }
    }
}
