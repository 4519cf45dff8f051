//! What the server and the trainer of LFBM share.
//!
//! * [`onnx`]: building ONNX graphs and differentiating them;
//! * [`model`]: the architectures and their forward graphs, [`posterior`]: the graph of one
//!   Langevin step, made from them by differentiation;
//! * [`manifest`], [`calibration`], [`store`]: the bundle on disk;
//! * [`local`]: the local score, made of [`neighbours`] in pixels and in [`edges`], by their
//!   [`normal_scores`];
//! * [`pixels`], [`runtime`], [`noise`], [`inference`], [`sampler`]: running a bundle;
//! * [`console`]: what programs say, [`environment`]: what they are told, [`scratch`]: files that are
//!   whole or not there.
//!
//! It depends neither on libtorch nor on gRPC.

pub mod calibration;
pub mod console;
pub mod edges;
pub mod environment;
pub mod inference;
pub mod local;
pub mod manifest;
pub mod model;
pub mod neighbours;
pub mod noise;
pub mod normal_scores;
pub mod onnx;
pub mod pixels;
pub mod posterior;
pub mod runtime;
pub mod sampler;
pub mod scratch;
pub mod store;
pub mod tensor;
pub mod testing;
