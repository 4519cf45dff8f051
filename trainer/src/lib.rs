//! Fits latent-space flow-based models and writes them as bundles.
//!
//! * [`data`]: where images come from, which are normal, and the split;
//! * [`model`]: the model in libtorch, [`fit`]: learning it;
//! * [`export`]: from a learner to a bundle, [`record`]: what the bundle says of its fit, [`calibrate`]: what its scores are compared with, and faults to choose a recipe by,
//!   [`evaluate`]: what they are worth, [`principal`]: principal components, for both;
//! * [`representation`]: what x is made of; [`decoder`]: pixels of the latents of features;
//! * [`import_check`]: whether what was imported is what was exported, and a flow is a density;
//! * [`tensorboard`]: event files of a fit;
//! * [`tasks`]: reconstructions, completions and recovered images;
//! * [`reproduction`]: the commands that repeat the paper's experiments;
//! * [`settings`], [`device`], [`memory`], [`output`], [`progress`], [`stop`], [`waiting`], [`commands`]: the program around them.
#![deny(unsafe_code)]

pub mod calibrate;
pub mod commands;
pub mod data;
pub mod decoder;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod fit;
pub mod import_check;
pub mod memory;
pub mod model;
pub mod output;
pub mod principal;
pub mod progress;
pub mod record;
pub mod representation;
pub mod reproduction;
pub mod settings;
pub mod stop;
pub mod tasks;
pub mod tensorboard;
pub mod waiting;
