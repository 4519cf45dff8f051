//! Networks of features that others trained: their checkpoints, and their graphs.

mod checkpoint;
mod efficientnet_lite0;
mod error;
mod objects;
mod pickle;

pub use checkpoint::{Checkpoint, read_checkpoint};
pub use efficientnet_lite0::efficientnet_lite0;
pub use error::CheckpointError;
