//! Networks that are no part of a bundle: from images to features.

use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorRef;

use lfbm_onnx::{Dim, Tensor, signature};

use crate::error::RuntimeError;
use crate::library::Runtime;

/// A network from images, [B, C, H, W], to features, [B, F], open.
pub struct FeatureNetwork {
    path: PathBuf,
    session: Session,
    input: String,
    output: String,
    image: [Dim; 3],
}

impl FeatureNetwork {
    /// Opens the ONNX file at `path`, which may have other outputs after the features.
    ///
    /// # Errors
    /// When it cannot be read, is no such network, or ONNX Runtime refuses it.
    pub fn open(runtime: &Runtime, path: &Path) -> Result<Self, RuntimeError> {
        let invalid = |reason: String| RuntimeError::Graph {
            graph: path.display().to_string(),
            reason,
        };
        let failed = |source: ort::Error| RuntimeError::Session {
            path: path.to_path_buf(),
            source,
        };
        let bytes = std::fs::read(path).map_err(|source| RuntimeError::File {
            path: path.to_path_buf(),
            source,
        })?;
        let signature = signature(&bytes).map_err(|error| invalid(error.to_string()))?;
        let ([(input, kind)], Some((output, _))) =
            (&signature.inputs[..], signature.outputs.first())
        else {
            let inputs = signature.inputs.len();
            return Err(invalid(format!(
                "it has {inputs} inputs, expected the images alone"
            )));
        };
        let &[Dim::Batch, channels, height, width] = &kind.shape[..] else {
            let sizes: Vec<_> = kind.shape.iter().map(Dim::to_string).collect();
            return Err(invalid(format!(
                "its input {input} has the shape [{}], expected [B, C, H, W] with a free B",
                sizes.join(", ")
            )));
        };
        Ok(Self {
            session: Session::builder(&runtime.environment)
                .map_err(failed)?
                .commit_from_file(path)
                .map_err(failed)?,
            path: path.to_path_buf(),
            input: input.clone(),
            output: output.clone(),
            image: [channels, height, width],
        })
    }

    /// The features of images of `shape`, C H W, n of them one after the other: n x F. Grey images
    /// are given to a network for colour three times over.
    ///
    /// # Errors
    /// When the images are not of the network's size, or it fails.
    pub fn run(&mut self, shape: [usize; 3], images: &[f32]) -> Result<Tensor, RuntimeError> {
        let [channels, height, width] = shape;
        let wanted = match self.image[0] {
            Dim::Fixed(3) if channels == 1 => [3, height, width],
            _ => shape,
        };
        let fits =
            |(free, size): (&Dim, &usize)| matches!(free, Dim::Batch) || *free == Dim::Fixed(*size);
        if !self.image.iter().zip(&wanted).all(fits) {
            let sizes = self.image.map(|dim| dim.to_string()).join(" x ");
            return Err(self.invalid(format!(
                "it is for images of {sizes} (C, H, W; B is any), these have {channels} x {height} \
                 x {width}; export it with a resize in front"
            )));
        }
        let pixels: usize = shape.iter().product();
        let repeats = wanted[0] / channels;
        let rows = images.len() / pixels;
        let repeated: Vec<f32> = images
            .chunks(pixels)
            .flat_map(|image| std::iter::repeat_n(image, repeats))
            .flatten()
            .copied()
            .collect();
        let [c, h, w] = wanted;
        let failed = {
            let path = self.path.clone();
            move |source: ort::Error| RuntimeError::Session { path, source }
        };
        let view = TensorRef::from_array_view(([rows, c, h, w], repeated.as_slice()))
            .map_err(failed.clone())?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => view])
            .map_err(failed.clone())?;
        let (shape, values) = outputs[self.output.as_str()]
            .try_extract_tensor::<f32>()
            .map_err(failed)?;
        let (count, values) = (shape.first().copied(), values.to_vec());
        let features = values.len() / rows.max(1);
        if count.and_then(|count| usize::try_from(count).ok()) != Some(rows) {
            let reason = format!("its output {} is no row for each image", self.output);
            drop(outputs);
            return Err(self.invalid(reason));
        }
        Ok(Tensor::new([rows, features], values))
    }

    fn invalid(&self, reason: String) -> RuntimeError {
        RuntimeError::Graph {
            graph: self.path.display().to_string(),
            reason,
        }
    }
}
