//! Backbones: RGB images to feature maps, and to the rows that pooling makes of them.
//!
//! This is the only crate that links libtorch. The crate that trains networks calls it through
//! [`tch`], which is the binding of this crate's libtorch. Its weights come from `ocelli-weights`:
//! ResNet-18, 34, 50, 101 and 152, VGG-11 to 19, relatives with other widths or block counts,
//! SqueezeNet 1.1 and EfficientNet-Lite.
//!
//! | module | what it does |
//! |---|---|
//! | [`network`] | [`Network`]: weights, forward pass, rows |
//! | [`pooling`] | a feature map to vectors: R-MAC, MAC, SPoC, GeM; on the CPU and on a device |
//! | [`proposals`] | regions that the network proposes, in place of a grid |
//! | [`finish`] | what follows the pooling: projections, whitening, sums; on both, too |
//! | [`device`] | where the network computes |
//! | [`training`] | [`Trainable`]: the same path from pixels to descriptors, with gradients |
//!
//! # Example
//! MAC of one image, without whitening:
//!
//! ```no_run
//! use image::RgbImage;
//! use ocelli_index::Pooling;
//! use ocelli_network::{Network, NetworkOptions, NetworkSeconds, set_torch_threads};
//!
//! set_torch_threads(1);
//! let network = Network::open("resnet50.safetensors".as_ref(), &NetworkOptions::default())?;
//! let finish = network.finish(None)?;
//! let image = RgbImage::new(224, 224);
//! let mut seconds = NetworkSeconds::default();
//! let rows = network.rows(&[&image], &Pooling::Mac, (&finish, false), &mut seconds)?;
//! # Ok::<(), ocelli_network::Error>(())
//! ```
//!
//! # Threads
//! A tensor of libtorch may be sent to another thread, but two threads may not share it. So each
//! worker owns a [`Network`], made by [`Network::try_clone`]: it has its own handles, but the
//! weights behind them exist once and are only read. Several workers of one libtorch
//! thread each are faster than one worker with several threads. Each worker sets its number of
//! libtorch threads once, with [`set_torch_threads`].

#![deny(unsafe_code)]

mod backbones;
mod body;
pub mod device;
mod engine;
pub mod error;
pub mod finish;
mod input;
mod layers;
mod loaded;
pub mod network;
mod onnx;
mod options;
pub mod pooling;
pub mod proposals;
mod seconds;
mod torch;
pub mod training;

pub use device::{Device, DeviceChoice};
pub use error::{Error, Result};
pub use finish::Finish;
pub use network::{Identity, Network};
pub use options::NetworkOptions;
pub use seconds::NetworkSeconds;
pub use tch;
pub use torch::set_torch_threads;
pub use training::Trainable;
