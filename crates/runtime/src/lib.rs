//! Runs the graphs of a bundle with ONNX Runtime.
//!
//! * [`Runtime`] is the library, [`SessionOptions`] say where and how exactly graphs run ([`Device`],
//!   [`Precision`]), [`Devices`] which of them share chains, [`Placement`] with which threads, which may keep
//!   to NUMA [`Nodes`];
//! * [`PosteriorStep`] takes one Langevin step, [`ChainStarts`] says where chains start, and
//!   [`ChainGraphs`] holds what one thread needs for whole chains;
//! * [`ChainBatch`] steps chains, for serving, evaluation and calibration alike;
//! * [`Inference`] runs the chains of a set of images to their end, [`Sampler`] draws from the prior;
//! * [`ChainNoise`] is the noise that all of them draw.
//!
//! Each graph is run by a `GraphExecutor`: on the CPU by a session, on a GPU by what is in `cuda/`.
#![deny(unsafe_code)]

mod chain;
mod chain_batch;
mod chain_graphs;
mod chain_start;
mod cuda;
mod device;
mod devices;
mod error;
mod evaluate;
mod executor;
mod features;
mod graphs;
mod inference;
mod library;
mod noise;
mod numa;
mod operators;
mod options;
mod placement;
mod posterior_step;
mod precision;
mod sampler;
mod session;

pub use chain::{Chain, ChainModel, ChainSizes, EndedChain, Suspended};
pub use chain_batch::ChainBatch;
pub use chain_graphs::ChainGraphs;
pub use chain_start::ChainStarts;
pub use device::Device;
pub use devices::{Devices, DevicesError};
pub use error::{LIBRARY_VARIABLE, RuntimeError};
pub use evaluate::{evaluate, evaluate_file};
pub use features::FeatureNetwork;
pub use graphs::{Decoder, Generator, Preprocess, PriorSampler, PriorStep};
pub use inference::{Inference, SCORE_SEED};
pub use library::{NO_TELEMETRY, Runtime};
pub use noise::ChainNoise;
pub use numa::{Nodes, NumaError};
pub use options::SessionOptions;
pub use placement::Placement;
pub use posterior_step::{PosteriorStep, StepInputs, StepOutputs};
pub use precision::Precision;
pub use sampler::Sampler;
