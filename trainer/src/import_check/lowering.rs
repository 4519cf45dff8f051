//! Checks that an imported graph computes the same as its file.

use std::path::Path;

use anyhow::{Context, ensure};
use lfbm_onnx::{Graph, Tensor, Value};
use lfbm_runtime::{Runtime, evaluate, evaluate_file};

use super::{Difference, TOLERANCE, points};

/// Checks that `graph`, a function of latents, gives the same as ONNX Runtime on the unchanged file at
/// `path`: for each output of the graph, the file's output of the same shape.
///
/// # Errors
/// When it does not, with the file, the output and the largest difference, or when one of them does
/// not run.
pub fn check_lowering(
    runtime: &Runtime,
    path: &Path,
    graph: &Graph,
    latent_dim: usize,
) -> anyhow::Result<()> {
    let points = [points(latent_dim)];
    let exported = evaluate_file(runtime, path, &points)?;
    let imported = evaluate(runtime, graph, &points)?;
    for (output, got) in graph.outputs().iter().zip(&imported) {
        let expected = exported
            .iter()
            .find(|expected| expected.shape == got.shape)
            .with_context(|| {
                let (path, shape) = (path.display(), &got.shape);
                format!("{path}: ONNX Runtime gives no output of the shape {shape:?} of {output}")
            })?;
        check_output(path, graph, output, got, expected)?;
    }
    Ok(())
}

/// Checks that an output of the `graph` that was imported from `path` is that of the file.
pub(super) fn check_output(
    path: &Path,
    graph: &Graph,
    output: &Value,
    got: &Tensor,
    expected: &Tensor,
) -> anyhow::Result<()> {
    let difference = Difference::between(&got.data, &expected.data);
    ensure!(
        got.shape == expected.shape && difference.is_rounding(),
        "{}: the graph {} that was imported of it is not the same: {output} differs by up to \
         {:.3e} from what ONNX Runtime makes of the file, whose values go to {:.3e}; \
         {TOLERANCE} of that is allowed. A file that computes in half precision must be exported \
         in single precision",
        path.display(),
        graph.name(),
        difference.largest,
        difference.scale,
    );
    Ok(())
}
