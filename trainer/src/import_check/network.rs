//! Checks of a feature network.

use std::path::Path;

use anyhow::Context;
use lfbm_onnx::{Graph, Tensor};
use lfbm_runtime::{ChainNoise, Runtime, evaluate, evaluate_file};

use super::lowering::check_output;
use super::rows::check_rows_of;

/// Checks that `graph`, a network of images `[B, 3, height, width]`, gives the same as ONNX Runtime on the unchanged
/// file at `path`, and for an image alone the same as for one among others: a fit makes features of many images at
/// once, and the server of one.
///
/// # Errors
/// When it does not, with the file, the output and the largest difference, or when one of them does not run.
pub fn check_network(
    runtime: &Runtime,
    path: &Path,
    graph: &Graph,
    [height, width]: [usize; 2],
) -> anyhow::Result<()> {
    let mut noise = vec![0.0; 2 * 3 * height * width];
    ChainNoise::new(0, 0).initial(&mut noise);
    // Statistics of both are not those of one.
    noise[3 * height * width..]
        .iter_mut()
        .for_each(|value| *value *= 2.0);
    let images = [Tensor::new([2, 3, height, width], noise)];
    let exported = evaluate_file(runtime, path, &images)?;
    let imported = evaluate(runtime, graph, &images)?;
    // Outputs are imported in the order of the file.
    for ((output, got), expected) in graph.outputs().iter().zip(&imported).zip(&exported) {
        check_output(path, graph, output, got, expected)?;
    }
    let [images] = images;
    check_rows_of(runtime, graph, "an image", images).with_context(|| path.display().to_string())
}
