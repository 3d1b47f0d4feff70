//! Images to descriptors: a pipeline around a network, jobs and a service.
//!
//! Data flows in one direction. [`ocelli_pictures`] finds images, decodes and resizes them.
//! [`ocelli_network`] makes a feature map of each, pools and whitens it. [`pipeline`] makes one
//! descriptor of all sizes of an image. [`job`] writes the descriptors of a collection as parts,
//! [`planned`] does so by a plan; [`service`] answers one image at a time. [`import`] turns other
//! programs' weights into a file that the network opens, and [`library`] keeps those that are
//! published.
//!
//! # Example
//! The descriptor of one image at one size, with an untrained network:
//!
//! ```no_run
//! use image::RgbImage;
//! use ocelli_encoder::pipeline::{Pipeline, PipelineOptions};
//! use ocelli_network::{Network, NetworkOptions};
//! use ocelli_weights::seeded::{self, SeededArch};
//!
//! let weights = "resnet18.safetensors".as_ref();
//! seeded::write(SeededArch::Resnet18, 1, 4, weights)?;
//! let network = Network::open(weights, &NetworkOptions::default())?;
//! let pipeline = Pipeline::new(network, PipelineOptions::default(), None)?;
//! let descriptor = pipeline.descriptor(&[RgbImage::new(224, 224)])?;
//! assert_eq!(descriptor.len(), pipeline.dim());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

pub mod cli;
pub mod compare;
pub mod config;
pub mod error;
pub mod import;
pub mod job;
pub mod library;
pub mod measure;
pub mod pack;
pub mod pipeline;
pub mod planned;
pub mod service;

pub use error::{Error, Result};
