//! A run on disk: one safetensors file with the state of the learner and, as bytes, what the run
//! is about. It is written to a temporary name and renamed, so the last good one is never lost.

use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use tch::Tensor;

use super::state::LearnerState;

const ABOUT: &str = "about";
const ITERATION: &str = "iteration";

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint {}: {reason}", path.display())]
pub struct CheckpointError {
    path: PathBuf,
    reason: String,
}

impl CheckpointError {
    fn at(path: &Path) -> impl Fn(String) -> Self {
        let path = path.to_path_buf();
        move |reason| Self {
            path: path.clone(),
            reason,
        }
    }
}

/// Writes the state of a learner, and `about` to know the run by.
///
/// # Errors
/// When the disk fails.
pub fn write_checkpoint(
    path: &Path,
    state: LearnerState,
    about: &impl Serialize,
) -> Result<(), CheckpointError> {
    let failed = CheckpointError::at(path);
    let about = serde_json::to_vec(about).map_err(|error| failed(error.to_string()))?;
    let mut tensors = state.tensors;
    tensors.push((ABOUT.to_owned(), Tensor::from_slice(&about)));
    tensors.push((
        ITERATION.to_owned(),
        Tensor::from_slice(&[state.iteration as i64]),
    ));
    let temporary = path.with_added_extension("new");
    Tensor::write_safetensors(&tensors, &temporary).map_err(|error| failed(error.to_string()))?;
    std::fs::File::open(&temporary)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| failed(error.to_string()))
}

/// Reads what [`write_checkpoint`] wrote.
///
/// # Errors
/// When it is not there, or is none.
pub fn read_checkpoint<T: DeserializeOwned>(
    path: &Path,
) -> Result<(LearnerState, T), CheckpointError> {
    let failed = CheckpointError::at(path);
    let mut tensors = Tensor::read_safetensors(path).map_err(|error| failed(error.to_string()))?;
    let mut take = |name: &str| {
        let position = tensors.iter().position(|(saved, _)| saved == name);
        let position = position.ok_or_else(|| failed(format!("it has no {name}")))?;
        Ok(tensors.swap_remove(position).1)
    };
    let (about, iteration) = (take(ABOUT)?, take(ITERATION)?);
    let mut bytes = vec![0_u8; about.numel()];
    about.copy_data(&mut bytes, about.numel());
    let about = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    Ok((
        LearnerState {
            iteration: iteration.int64_value(&[0]) as u64,
            tensors,
        },
        about,
    ))
}
