//! Checks that rows of a batch do not influence each other.

use anyhow::ensure;
use lfbm_onnx::{Graph, Tensor};
use lfbm_runtime::{Runtime, evaluate};

use super::{Difference, points};

/// Checks that `graph` gives the same for a latent alone and among others: a score must not depend on
/// the rest of its batch.
///
/// # Errors
/// When it is not, with the output and the largest difference, or the graph does not run.
pub fn check_rows(runtime: &Runtime, graph: &Graph, latent_dim: usize) -> anyhow::Result<()> {
    check_rows_of(runtime, graph, "a latent", points(latent_dim))
}

/// [`check_rows`] for any input, whose rows are `each`.
pub(super) fn check_rows_of(
    runtime: &Runtime,
    graph: &Graph,
    each: &str,
    rows: Tensor,
) -> anyhow::Result<()> {
    let mut shape = rows.shape.clone();
    let count = std::mem::replace(&mut shape[0], 1);
    let first = Tensor::new(shape, rows.data[..rows.data.len() / count].to_vec());
    let together = evaluate(runtime, graph, &[rows])?;
    let alone = evaluate(runtime, graph, &[first])?;
    for (output, (together, alone)) in graph.outputs().iter().zip(together.iter().zip(&alone)) {
        // As many values as there are of one row.
        let difference = Difference::between(&together.data, &alone.data);
        ensure!(
            difference.is_rounding(),
            "{output} of {each} differs by up to {:.3e} when others are in its batch; rows must not \
             influence each other, so call .eval() before the export, and take no mean and no maximum over the batch",
            difference.largest
        );
    }
    Ok(())
}
