//! Training of the networks that the encoder runs.
//!
//! Gordo, Almazán, Revaud, Larlus: "End-to-end learning of deep visual representations for image
//! retrieval" (IJCV 2017): the network, the regions and the projection are trained together, by a
//! loss of ranking. The path from pixels to descriptors is that of the encoder
//! ([`ocelli_network::Trainable`]), so that a trained network is served as it was trained.
//!
//! | module | what it does |
//! |---|---|
//! | [`list`](mod@list) | reads a training set: photos, classes, boxes, splits |
//! | [`mod@check`] | tells what is in a set |
//! | [`clean`] | leaves photos out that show something else, and finds boxes |
//! | [`mod@augment`] | how photos are changed: crops, mirrors, light |
//! | [`photos`] | photos to pictures: boxes, sizes |
//! | [`turn`] | places in stored and in upright photos |
//! | [`mod@ahead`] | pictures that are made while the network runs |
//! | [`loss`] | losses and their gradients: triplets, classes, rankings |
//! | [`mining`] | hard triplets of a pool of descriptors |
//! | [`batch`] | random photos: of an iteration, of the pool |
//! | [`pool`] | the descriptors of the mining pool |
//! | [`passes`] | the gradient of a batch in the memory of one image |
//! | [`team`] | photos on several threads |
//! | [`sgd`] | steps down the gradient |
//! | [`head`] | a first head for weights without one |
//! | [`checkpoint`] | the state of a training in a file |
//! | [`validation`] | mAP on photos that are not trained on |
//! | [`recipe`] | everything that decides a training |
//! | [`mod@train`] | the loop |
//! | [`proposals`] | the layers that propose regions, trained on boxes |
//! | [`written`] | the file of a trained network |
//! | [`mod@report`] | logs, plots, event files |
//! | [`mod@files`] | files of a command, looked at before any work |
//! | [`mod@format`] | how a result is printed |
//! | [`draws`] | random numbers of a seed and a place |
//!
//! # Example
//! ```no_run
//! use ocelli_index::{Grid, Pooling};
//! use ocelli_learn::{List, Recipe, train};
//! use ocelli_network::training::TrainingPrecision;
//! use ocelli_network::{NetworkOptions, Trainable};
//! use ocelli_weights::Weights;
//!
//! let weights = Weights::read("resnet18.safetensors".as_ref())?;
//! let pooling = Pooling::Rmac { levels: 3, grid: Grid::FeatureMap };
//! let options = NetworkOptions::default();
//! let mut network = Trainable::load(&weights, &options, pooling, TrainingPrecision::Single)?;
//! let list = List::read("set.jsonl".as_ref())?;
//! let out = "trained.safetensors".as_ref();
//! let recipe = Recipe::default();
//! train(&list, (&mut network, &mut [], 1), &recipe, None, out, &mut |_| {})?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod ahead;
pub mod augment;
pub mod batch;
pub mod check;
pub mod checkpoint;
pub mod clean;
pub mod cli;
pub mod draws;
pub mod error;
pub mod files;
pub mod format;
pub mod head;
pub mod list;
mod logs;
pub mod loss;
pub mod mining;
pub mod passes;
pub mod photos;
pub mod pool;
pub mod proposals;
pub mod recipe;
pub mod report;
pub mod sgd;
pub mod team;
pub mod train;
pub mod turn;
pub mod validation;
pub mod written;

pub use check::check;
pub use error::{Error, Result};
pub use list::List;
pub use proposals::{ProposalRecipe, train_proposals};
pub use recipe::Recipe;
pub use train::{Checkpoints, train};
