//! Learning a model from normal images.

mod adam;
mod adaptation;
mod batches;
mod chains;
mod checkpoint;
mod decoder;
mod inference;
mod learner;
mod losses;
mod mixture;
mod network;
mod prior_gradient;
mod random;
mod state;
mod threads;

pub use adam::Adam;
pub use adaptation::AdaptationSpec;
pub use batches::Batches;
pub use chains::ChainPrecision;
pub use checkpoint::{Checkpoint, CheckpointError, read_checkpoint, write_checkpoint};
pub use decoder::DecoderLearner;
pub use inference::{EncoderLearning, InferenceSpec};
pub use learner::{Learner, Learning};
pub use losses::{Loss, Losses};
pub use mixture::MixtureError;
pub(crate) use random::{Purpose, seed_torch};
pub use state::{LearnerState, StateError};
