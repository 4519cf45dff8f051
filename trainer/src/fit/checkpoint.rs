//! A run on disk: one safetensors file with the state of the learner and, as bytes, the
//! description of the run and the identity of its images. It is written to a temporary name and
//! renamed, so the last complete one is never lost.

use std::path::{Path, PathBuf};

use lfbm_atomic_files::ScratchFile;
use lfbm_model::LayerWeights;
use serde::{Serialize, de::DeserializeOwned};
use tch::{Kind, Tensor};

use super::state::LearnerState;
use crate::model::host;

const ABOUT: &str = "about";
const ITERATION: &str = "iteration";
const IMAGES: &str = "images";
/// Weights and biases of the layers of learned features are `features.0.weight`, and so on.
const FEATURES: &str = "features";

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

/// The content of a checkpoint.
#[derive(Debug)]
pub struct Checkpoint<T> {
    /// The learner.
    pub state: LearnerState,
    /// The description of the run.
    pub about: T,
    /// The identity of its images; `None` for runs that did not record it.
    pub images: Option<Vec<u8>>,
    /// Weights of the network that x's features come from, where the fit learned it.
    pub features: Option<Vec<LayerWeights>>,
}

/// Writes the state of a learner, the run's description `about`, the identity of its images, and the
/// network of learned features.
///
/// # Errors
/// When the disk fails.
pub fn write_checkpoint(
    path: &Path,
    state: &LearnerState,
    about: &impl Serialize,
    images: Option<&[u8]>,
    features: Option<&[LayerWeights]>,
) -> Result<(), CheckpointError> {
    let failed = CheckpointError::at(path);
    let about = serde_json::to_vec(about).map_err(|error| failed(error.to_string()))?;
    let about = Tensor::from_slice(&about);
    let iteration = Tensor::from_slice(&[state.iteration as i64]);
    let images = images.map(Tensor::from_slice);
    let mut tensors: Vec<(&str, &Tensor)> = state
        .tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    tensors.extend([(ABOUT, &about), (ITERATION, &iteration)]);
    tensors.extend(images.iter().map(|images| (IMAGES, images)));
    let features = features.unwrap_or_default().iter().enumerate();
    let features: Vec<_> = features
        .flat_map(|(number, layer)| {
            let [weight, bias] = feature_names(number);
            [
                (weight, host::to_tensor(&layer.weight)),
                (bias, host::to_tensor(&layer.bias)),
            ]
        })
        .collect();
    tensors.extend(
        features
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor)),
    );
    let file = ScratchFile::beside(path).map_err(|error| failed(error.to_string()))?;
    Tensor::write_safetensors(&tensors, file.path()).map_err(|error| failed(error.to_string()))?;
    file.publish().map_err(|error| failed(error.to_string()))
}

/// Reads what [`write_checkpoint`] wrote.
///
/// # Errors
/// When the file is missing or is not a checkpoint.
pub fn read_checkpoint<T: DeserializeOwned>(path: &Path) -> Result<Checkpoint<T>, CheckpointError> {
    let failed = CheckpointError::at(path);
    // A pipe or a device would be read without an end.
    if !path.is_file() {
        return Err(failed("expected a file, there is none".to_owned()));
    }
    let mut tensors = Tensor::read_safetensors(path).map_err(|error| failed(error.to_string()))?;
    let mut take = |name: &str| {
        let position = tensors.iter().position(|(saved, _)| saved == name);
        position.map(|position| tensors.swap_remove(position).1)
    };
    let missing = |name: &str| failed(format!("it has no {name}"));
    let about = take(ABOUT).ok_or_else(|| missing(ABOUT))?;
    let iteration = take(ITERATION).ok_or_else(|| missing(ITERATION))?;
    let images = take(IMAGES).map(|images| bytes(IMAGES, &images));
    let images = images.transpose().map_err(&failed)?;
    let layers = (0..).map_while(|number| {
        let [weight, bias] = feature_names(number).map(|name| take(&name));
        Some(LayerWeights {
            weight: host::to_host(&weight?),
            bias: host::to_host(&bias?),
        })
    });
    let features: Vec<_> = layers.collect();
    let about = bytes(ABOUT, &about).map_err(&failed)?;
    let about = serde_json::from_slice(&about).map_err(|error| failed(error.to_string()))?;
    Ok(Checkpoint {
        state: LearnerState {
            iteration: number(&iteration).map_err(&failed)?,
            tensors,
        },
        about,
        images,
        features: (!features.is_empty()).then_some(features),
    })
}

fn feature_names(layer: usize) -> [String; 2] {
    ["weight", "bias"].map(|part| format!("{FEATURES}.{layer}.{part}"))
}

fn bytes(name: &str, tensor: &Tensor) -> Result<Vec<u8>, String> {
    if tensor.kind() != Kind::Uint8 {
        let kind = tensor.kind();
        return Err(format!("its {name} is of {kind:?}, expected Uint8"));
    }
    let mut bytes = vec![0_u8; tensor.numel()];
    tensor.copy_data(&mut bytes, tensor.numel());
    Ok(bytes)
}

/// The iteration.
fn number(tensor: &Tensor) -> Result<u64, String> {
    let (kind, size) = (tensor.kind(), tensor.size());
    if kind != Kind::Int64 || size != [1] {
        return Err(format!(
            "its {ITERATION} is of {kind:?} {size:?}, expected Int64 [1]"
        ));
    }
    let number = tensor.int64_value(&[0]);
    u64::try_from(number).map_err(|_| format!("its {ITERATION} is {number}, expected 0 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint at `path`, with one tensor in the place of its own of that name.
    fn write_with(path: &Path, name: &str, tensor: &Tensor) {
        let own = [
            (ABOUT, Tensor::from_slice(b"7")),
            (ITERATION, Tensor::from_slice(&[3_i64])),
            (IMAGES, Tensor::from_slice(b"images")),
        ];
        let tensors = own.each_ref();
        let tensors = tensors.map(|(own, value)| (*own, if *own == name { tensor } else { value }));
        Tensor::write_safetensors(&tensors, path).unwrap();
    }

    #[test]
    fn tensors_of_another_kind_or_size_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        write_with(&path, "", &Tensor::new());
        let read = read_checkpoint::<u32>(&path).unwrap();
        assert_eq!((read.state.iteration, read.about), (3, 7));
        assert_eq!(read.images.as_deref(), Some(&b"images"[..]));

        for (name, tensor, expected) in [
            (ITERATION, Tensor::from(3_i64), "Int64 []"),
            (ITERATION, Tensor::from_slice(&[0_i64; 0]), "Int64 [0]"),
            (ITERATION, Tensor::from_slice(&[3_i64; 2]), "Int64 [2]"),
            (ITERATION, Tensor::from_slice(&[3.0_f32]), "Float [1]"),
            (ITERATION, Tensor::from_slice(&[-3_i64]), "is -3"),
            (ABOUT, Tensor::from_slice(&[7.0_f32]), "Float"),
            (IMAGES, Tensor::from_slice(&[7_i64]), "Int64"),
        ] {
            write_with(&path, name, &tensor);
            let error = read_checkpoint::<u32>(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("its {name} is")), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }
}
