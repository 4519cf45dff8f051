//! What is wrong with a model.

use std::path::PathBuf;

use lfbm_onnx::GraphError;

/// What is wrong with an architecture or its weights.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A setting is out of range.
    #[error("{0}")]
    Spec(String),
    /// The weights are not those of the architecture.
    #[error("weights of {layer}: expected {expected}, got {got}")]
    Weights {
        /// Which layer.
        layer: String,
        /// The shape that the architecture has.
        expected: String,
        /// The shape that came.
        got: String,
    },
    /// A file of an imported model is not what it is given for.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The graph could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
