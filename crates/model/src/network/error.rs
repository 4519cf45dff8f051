//! What is wrong with a checkpoint.

/// Why bytes are no checkpoint that can be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is an archive, as PyTorch writes since 1.6.
    #[error(
        "the checkpoint is a zip archive, expected the older format; write it with \
         torch.save(state_dict, path, _use_new_zipfile_serialization=False)"
    )]
    Zip,
    /// It starts as no checkpoint does.
    #[error("the file is no PyTorch checkpoint: it does not start with its magic number")]
    Magic,
    /// Bytes are missing at its end.
    #[error("the checkpoint ends in the middle; fetch the file again")]
    Cut,
    /// A pickle names what no state dict needs.
    #[error("the checkpoint needs {0}, expected a state dict of tensors; save module.state_dict()")]
    Global(String),
    /// A pickle has an opcode that no state dict needs.
    #[error("the checkpoint has the pickle opcode {0:#04x}, which no state dict of tensors needs")]
    Opcode(u8),
    /// A pickle is malformed.
    #[error("a pickle of the checkpoint cannot be read: {0}")]
    Pickle(String),
    /// The parts of the checkpoint do not fit each other.
    #[error("the checkpoint does not fit together: {0}")]
    Content(String),
}
