//! Whether an imported graph computes what its file does.

use std::path::Path;

use anyhow::{Context, ensure};
use lfbm_bundle::onnx::Graph;
use lfbm_bundle::runtime::{Runtime, evaluate, evaluate_file};

use super::points;

/// How far an output may be from the file's, as a share of the file's largest value: above what the
/// order of sums changes in single precision (5e-7 in the models of the tests), and below what a
/// misread operator does.
const TOLERANCE: f64 = 1e-4;

/// Checks that `graph`, of latents, gives what the file at `path` does when ONNX Runtime runs it as
/// it is: for each output of the graph, the file's output of the same shape.
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
        let pairs = got.data.iter().zip(&expected.data);
        let difference = largest(pairs.map(|(got, expected)| got - expected));
        let scale = largest(expected.data.iter().copied());
        ensure!(
            difference == 0.0 || difference / scale <= TOLERANCE,
            "{}: the graph {} that was imported of it is not the same: {output} differs by up to \
             {difference:.3e} from what ONNX Runtime makes of the file, whose values go to \
             {scale:.3e}; {TOLERANCE} of that is allowed",
            path.display(),
            graph.name()
        );
    }
    Ok(())
}

/// The largest absolute value; one that is not a number is larger than all.
fn largest(values: impl Iterator<Item = f32>) -> f64 {
    let magnitudes = values.map(|value| f64::from(value).abs());
    magnitudes.max_by(f64::total_cmp).unwrap_or_default()
}
