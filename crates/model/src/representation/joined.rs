//! Several representations of the same image, one after the other.

use lfbm_onnx::Graph;

use crate::error::ModelError;

/// Joins graphs from `image: [B,C,H,W]` to `x: [B,S,D]`: the values of a site are those of the first graph, then those of
/// the second, and so on.
///
/// # Errors
/// When there is no graph, or they are not of the same images and sites.
pub fn joined_graph(parts: &[Graph]) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("preprocess");
    let mut image = None;
    let mut x = Vec::with_capacity(parts.len());
    for part in parts {
        let [input] = part.inputs() else {
            return Err(refusal("have an image as their only input"));
        };
        let shape = part.shape(input)?;
        let image = image.get_or_insert_with(|| graph.input("image", shape));
        if graph.shape(image)? != shape {
            return Err(refusal("are of images of one size"));
        }
        x.extend(graph.inline(part, &[(input.name(), image)])?);
    }
    if x.is_empty() {
        return Err(refusal("are there"));
    }
    let x = graph.concat(&x.iter().collect::<Vec<_>>(), 2)?;
    graph.output("x", &x)?;
    graph.simplify();
    Ok(graph)
}

fn refusal(expected: &str) -> ModelError {
    ModelError::Spec(format!(
        "representations cannot be joined, expected some that {expected}"
    ))
}
