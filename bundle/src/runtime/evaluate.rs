//! Running a graph that is no part of a bundle.

use ort::session::Session;
use ort::value::TensorRef;

use super::{Runtime, RuntimeError};
use crate::onnx::{Graph, encode};
use crate::tensor::Tensor;

/// The outputs of `graph`, in its order, at `inputs` given in the order of its inputs.
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
    let name = graph.name().to_owned();
    let failed = |reason: String| RuntimeError::Graph {
        graph: name.clone(),
        reason,
    };
    let bytes = encode(graph, None).map_err(|error| failed(error.to_string()))?;
    let mut session = Session::builder(&runtime.environment)
        .and_then(|mut builder| builder.commit_from_memory(&bytes))
        .map_err(|error| failed(error.to_string()))?;
    let feeds = graph
        .inputs()
        .iter()
        .zip(inputs)
        .map(|(value, tensor)| {
            let view = TensorRef::from_array_view((tensor.shape.clone(), tensor.data.as_slice()))?;
            Ok((value.name().to_owned(), view))
        })
        .collect::<Result<Vec<_>, ort::Error>>()
        .map_err(|error| failed(error.to_string()))?;
    let results = session
        .run(feeds)
        .map_err(|error| failed(error.to_string()))?;
    graph
        .outputs()
        .iter()
        .map(|output| {
            let (shape, values) = results[output.name()]
                .try_extract_tensor::<f32>()
                .map_err(|error| failed(error.to_string()))?;
            let shape: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
            Ok(Tensor::new(shape, values.to_vec()))
        })
        .collect()
}
