//! `Resize` along rows and columns.

use super::{Importer, Lowered, Size, image_sizes};
use crate::onnx::graph::Node;
use crate::tensor::Tensor;

/// Whole multiples by the nearest neighbour, which is what upsampling layers do, repeat elements;
/// what is linear in between is a product with a matrix of weights on either side.
///
/// # Errors
/// When it does anything else, or its sizes are not known or too large.
pub(super) fn resize(importer: &mut Importer, node: &Node) -> Lowered {
    let mut x = importer.input(node, 0)?;
    let [channels, height, width] = image_sizes(importer, node, &x)?;
    let from = [height, width];
    let stretches = node.string("keep_aspect_ratio_policy").unwrap_or("stretch") == "stretch";
    let plain = stretches && node.int("antialias", 0) == 0 && node.int("exclude_outside", 0) == 0;
    if !plain || node.ints("axes").is_some() {
        return Err(node.error(
            "antialias, exclude_outside, keep_aspect_ratio_policy and axes are not supported",
        ));
    }
    let scales = match node.optional_input(2) {
        Some(_) => importer.floats(node, 2)?,
        None => Vec::new(),
    };
    let sizes = importer.ints(node, 3)?.unwrap_or_default();
    let (to, scales) = match (&sizes[..], &scales[..]) {
        (
            &[
                Size::Batch,
                Size::Number(same),
                Size::Number(height),
                Size::Number(width),
            ],
            [],
        ) if usize::try_from(same) == Ok(channels) => {
            let to = [height, width].map(|size| usize::try_from(size).unwrap_or_default());
            (to, [0, 1].map(|axis| to[axis] as f64 / from[axis] as f64))
        }
        ([], &[1.0, 1.0, down, right]) => {
            let scales = [down, right].map(f64::from);
            // A scale that is negative or not finite makes a size that is refused below.
            let to = [0, 1].map(|axis| (from[axis] as f64 * scales[axis]) as usize);
            (to, scales)
        }
        _ => {
            return Err(node.error(
                "it has neither scales nor sizes that are known and leave batch and channels as \
                 they are",
            ));
        }
    };
    if to
        .iter()
        .chain(&from)
        .any(|side| !(1..=MAX_SIDE).contains(side))
    {
        return Err(node.error(format!(
            "{height} x {width} to {} x {}: sides from 1 to {MAX_SIDE} are supported",
            to[0], to[1]
        )));
    }
    let how = node.string("coordinate_transformation_mode");
    let how = how.unwrap_or("half_pixel");
    match node.string("mode").unwrap_or("nearest") {
        "nearest" => {
            let rounding = node.string("nearest_mode").unwrap_or("round_prefer_floor");
            let repeats = matches!(
                (how, rounding),
                ("asymmetric", "floor") | ("half_pixel", "round_prefer_floor")
            );
            if !repeats || scales.iter().any(|scale| scale.fract() != 0.0) {
                return Err(node.error(format!(
                    "{height} x {width} to {} x {} by {how} and {rounding}: of the nearest \
                     neighbour, only whole multiples are supported",
                    to[0], to[1]
                )));
            }
            let repeat = [to[0] / height, to[1] / width];
            let graph = &mut importer.graph;
            let sizes = |sizes: [usize; 5]| sizes.map(|size| size as i64);
            let apart = [&[0][..], &sizes([channels, height, 1, width, 1])].concat();
            let spread = graph.reshape(&x, &apart)?;
            let full = sizes([channels, height, repeat[0], width, repeat[1]]);
            let full = graph.int_list(&[&[1][..], &full].concat());
            let repeated = graph.apply("Expand", &[&spread, &full], [])?;
            let together = [channels, to[0], to[1]].map(|size| size as i64);
            let together = [&[0][..], &together].concat();
            graph.reshape(&repeated, &together).map(Some)
        }
        "linear" => {
            for (axis, name) in ["rows", "columns"].into_iter().enumerate() {
                if scales[axis] == 1.0 {
                    continue;
                }
                let place =
                    coordinates(how, from[axis], to[axis], scales[axis]).ok_or_else(|| {
                        node.error(format!("the coordinates {how} are not supported"))
                    })?;
                let weights = linear_weights(&place, from[axis]);
                let matrix = if axis == 0 {
                    Tensor::new([to[0], from[0]], weights)
                } else {
                    transposed(&weights, from[1])
                };
                let graph = &mut importer.graph;
                let matrix = graph.weights(&format!("{}.{name}", node.name), matrix);
                x = if axis == 0 {
                    graph.matmul(&matrix, &x)?
                } else {
                    graph.matmul(&x, &matrix)?
                };
            }
            Ok(Some(x))
        }
        other => Err(node.error(format!("the mode {other} is not supported"))),
    }
}

/// Rows or columns of an image.
const MAX_SIDE: usize = 1 << 14;

/// Where each of `to` places lies among `from`. `scale` is not `to / from` where that was rounded.
fn coordinates(how: &str, from: usize, to: usize, scale: f64) -> Option<Vec<f64>> {
    let centres = |at: f64| (at + 0.5) / scale - 0.5;
    let corners = |at: f64| at * (from as f64 - 1.0) / (to as f64 - 1.0);
    let place: &dyn Fn(f64) -> f64 = match how {
        "pytorch_half_pixel" | "align_corners" if to == 1 => &|_| 0.0,
        "half_pixel" | "pytorch_half_pixel" => &centres,
        "align_corners" => &corners,
        "asymmetric" => &|at| at / scale,
        _ => return None,
    };
    Some((0..to).map(|at| place(at as f64)).collect())
}

/// A row of weights for each place, `from` of them.
fn linear_weights(places: &[f64], from: usize) -> Vec<f32> {
    let mut weights = vec![0.0; places.len() * from];
    for (row, place) in weights.chunks_mut(from).zip(places) {
        let place = place.clamp(0.0, (from - 1) as f64);
        let below = place.floor() as usize;
        let above = (below + 1).min(from - 1);
        let share = (place - below as f64) as f32;
        row[below] += 1.0 - share;
        row[above] += share;
    }
    weights
}

fn transposed(weights: &[f32], columns: usize) -> Tensor {
    let rows = weights.len() / columns;
    let at = |index: usize| weights[index % rows * columns + index / rows];
    Tensor::new([columns, rows], (0..weights.len()).map(at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_by_the_scale_where_it_was_rounded() {
        // 5 x 1.5 is 7.5, of which 7 are left.
        let places = coordinates("half_pixel", 5, 7, 1.5).unwrap_or_default();
        let last = places.last().copied().unwrap_or_default();
        assert!((last - (6.5 / 1.5 - 0.5)).abs() < 1e-12, "{last}");
    }
}
