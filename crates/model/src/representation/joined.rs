//! Several representations of the same image, one after the other.

use lfbm_onnx::Graph;

use crate::error::ModelError;

/// Joins graphs from the same `image: [B,C,H,W]` to the `x: [B,S,D]` of as many sites: the values of a site are those of
/// the first graph, then those of the second, and so on.
///
/// # Errors
/// When there is no graph, or their inputs or sites differ.
pub fn joined_graph(parts: &[Graph]) -> Result<Graph, ModelError> {
    let input = parts
        .first()
        .and_then(|first| first.inputs().first().map(|input| (first, input)));
    let Some((first, input)) = input else {
        return Err(ModelError::Spec(
            "there is no representation to join".to_owned(),
        ));
    };
    let mut graph = Graph::new("preprocess");
    let image = graph.input(input.name(), first.shape(input)?);
    let mut x = Vec::with_capacity(parts.len());
    for part in parts {
        x.extend(graph.inline(part, &[(input.name(), &image)])?);
    }
    let x = graph.concat(&x.iter().collect::<Vec<_>>(), 2)?;
    graph.output("x", &x)?;
    graph.simplify();
    Ok(graph)
}
