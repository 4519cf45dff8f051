//! Pixels to `x`.

use lfbm_onnx::Op;
use lfbm_onnx::{Dim, Graph};

use crate::error::ModelError;
use crate::image::{Contrast, ImageSpec};
use crate::pixels::SMALLEST_NORM;

/// Builds the graph that turns `image: [B,C,H,W]`, intensities in [0, 1], into `x: [B,C,H,W]`.
///
/// # Errors
/// When the image has a size of zero.
pub fn preprocess_graph(spec: &ImageSpec) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("preprocess");
    let shape = [spec.channels, spec.height, spec.width].map(Dim::Fixed);
    let image = graph.input("image", &[Dim::Batch, shape[0], shape[1], shape[2]]);
    let intensity = match spec.contrast {
        Contrast::None => image,
        Contrast::UnitNorm { norm } => {
            let square = graph.reduce_sum_square(&image, &[1, 2, 3], true)?;
            let present = graph.sqrt(&square)?;
            let smallest = graph.scalar(SMALLEST_NORM);
            let present = graph.apply(Op::Max, &[&present, &smallest])?;
            let unit = graph.div(&image, &present)?;
            graph.scale(&unit, norm)?
        }
    };
    let [low, high] = spec.value_range;
    let scaled = graph.scale(&intensity, high - low)?;
    let low = graph.scalar(low);
    let x = graph.add(&scaled, &low)?;
    graph.output("x", &x)?;
    graph.simplify();
    Ok(graph)
}
