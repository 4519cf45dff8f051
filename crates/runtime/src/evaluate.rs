//! Running a graph that is no part of a bundle.

use std::path::Path;

use ort::session::Session;
use ort::value::TensorRef;

use lfbm_onnx::{Graph, Tensor, encode};

use crate::error::RuntimeError;
use crate::library::Runtime;

/// The outputs of `graph`, in its order, at `inputs` given in the order of its inputs. An input may end
/// in dimensions of size 1 that the tensor has not.
///
/// It opens a session and closes it, so it is for checks and not for a hot path.
///
/// # Errors
/// When the graph is not valid or the run fails.
pub fn evaluate(
    runtime: &Runtime,
    graph: &Graph,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, RuntimeError> {
    let failed = |reason: String| RuntimeError::Graph {
        graph: graph.name().to_owned(),
        reason,
    };
    let bytes = encode(graph, None).map_err(|error| failed(error.to_string()))?;
    Session::builder(&runtime.environment)
        .and_then(|mut builder| builder.commit_from_memory(&bytes))
        .and_then(|session| run(session, inputs))
        .map_err(|error| failed(error.to_string()))
}

/// The same for the ONNX file at `path`, as it is; its outputs are of floats, in single
/// precision or double, which is narrowed.
///
/// # Errors
/// When ONNX Runtime refuses the file, or the run fails.
pub fn evaluate_file(
    runtime: &Runtime,
    path: &Path,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, RuntimeError> {
    Session::builder(&runtime.environment)
        .and_then(|mut builder| builder.commit_from_file(path))
        .and_then(|session| run(session, inputs))
        .map_err(|source| RuntimeError::Session {
            path: path.to_path_buf(),
            source,
        })
}

pub(super) fn run(mut session: Session, inputs: &[Tensor]) -> ort::Result<Vec<Tensor>> {
    let feeds = session
        .inputs()
        .iter()
        .zip(inputs)
        .map(|(input, tensor)| {
            let rank = input.dtype().tensor_shape().map_or(0, |shape| shape.len());
            let mut shape = tensor.shape.clone();
            shape.resize(rank.max(shape.len()), 1);
            let view = TensorRef::from_array_view((shape, tensor.data.as_slice()))?;
            Ok((input.name().to_owned(), view))
        })
        .collect::<ort::Result<Vec<_>>>()?;
    let results = session.run(feeds)?;
    results
        .values()
        .map(|output| {
            let (shape, values) = match output.try_extract_tensor::<f64>() {
                Ok((shape, values)) => (shape, values.iter().map(|&v| v as f32).collect()),
                Err(_) => {
                    let (shape, values) = output.try_extract_tensor::<f32>()?;
                    (shape, values.to_vec())
                }
            };
            let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
            Ok(Tensor::new(shape, values))
        })
        .collect()
}
