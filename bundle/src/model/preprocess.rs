//! Pixels to `x`.

use super::ModelError;
use crate::manifest::{Contrast, ImageSpec};
use crate::onnx::{Dim, Graph};
use crate::pixels::SMALLEST_NORM;

pub(super) fn graph(spec: &ImageSpec) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("preprocess");
    let shape = [spec.channels, spec.height, spec.width].map(Dim::Fixed);
    let image = graph.input("image", &[Dim::Batch, shape[0], shape[1], shape[2]]);
    let intensity = match spec.contrast {
        Contrast::None => image,
        Contrast::UnitNorm { norm } => {
            let square = graph.reduce_sum_square(&image, &[1, 2, 3], true)?;
            let present = graph.sqrt(&square)?;
            let smallest = graph.scalar(SMALLEST_NORM);
            let present = graph.apply("Max", &[&present, &smallest], [])?;
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
