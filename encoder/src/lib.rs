//! Images to descriptors: decode, resize, network, regional pooling, whitening.
//!
//! The only room that links libtorch; [`device`] says where it computes. [`convert`] and [`fetch`]
//! bring weights in. Data flows in one direction: [`ocelli_pictures`] finds, decodes and
//! resizes images, [`network`] makes a feature map, [`pooling`] and [`pipeline`] make descriptors of
//! it, [`job`] writes them as parts and [`service`] answers one image at a time.

#![deny(unsafe_code)]

pub mod cli;
mod cli_settings;
pub mod compare;
pub mod config;
pub mod convert;
pub mod device;
pub mod error;
pub mod fetch;
pub mod job;
mod maps;
pub mod measure;
pub mod network;
pub mod pipeline;
pub mod pooling;
pub mod service;
mod tools_cli;
mod weights_cli;

pub use error::{Error, Result};
