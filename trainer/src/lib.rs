//! Fits latent-space flow-based models and writes them as bundles.
//!
//! * [`data`]: where images come from, which are normal, and the split;
//! * [`model`]: the model in libtorch, [`fit`]: learning it;
//! * [`export`]: from a learner to a bundle, [`evaluate`]: what its scores are worth;
//! * [`settings`], [`device`], [`commands`]: the program around them.

pub mod commands;
pub mod data;
pub mod device;
pub mod evaluate;
pub mod export;
pub mod fit;
pub mod model;
pub mod settings;
