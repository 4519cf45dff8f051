//! `Resize` along rows and columns.

use super::{Importer, Size};
use crate::onnx::graph::{Dim, GraphError, Node, Value};
use crate::tensor::Tensor;

/// Whole multiples by the nearest neighbour, which is what upsampling layers do, repeat elements;
/// what is linear in between is a product with a matrix of weights on either side.
pub(super) fn resize(importer: &mut Importer, node: &Node) -> Result<Option<Value>, GraphError> {
    let mut x = importer.input(node, 0)?;
    let &[
        _,
        Dim::Fixed(channels),
        Dim::Fixed(height),
        Dim::Fixed(width),
    ] = importer.graph.shape(&x)?
    else {
        return Err(node.error("its input is no batch of images of a fixed size"));
    };
    let from = [height, width];
    let scales = match node.optional_input(2) {
        Some(_) => importer.floats(node, 2)?,
        None => Vec::new(),
    };
    let sizes = importer.ints(node, 3)?.unwrap_or_default();
    let to = match (&sizes[..], &scales[..]) {
        ([.., Size::Number(height), Size::Number(width)], _) => {
            [*height, *width].map(|size| usize::try_from(size).unwrap_or_default())
        }
        (_, [.., down, right]) => {
            let scaled = |size: usize, scale: f32| (size as f64 * f64::from(scale)) as usize;
            [scaled(height, *down), scaled(width, *right)]
        }
        _ => return Err(node.error("it has neither scales nor sizes that are known")),
    };
    if to.contains(&0) || from.contains(&0) {
        return Err(node.error("nothing is left of its input"));
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
            if !repeats || !to[0].is_multiple_of(height) || !to[1].is_multiple_of(width) {
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
                if from[axis] == to[axis] {
                    continue;
                }
                let place = coordinates(how, from[axis], to[axis]).ok_or_else(|| {
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

/// Where each of `to` places lies among `from`.
fn coordinates(how: &str, from: usize, to: usize) -> Option<Vec<f64>> {
    let (from, to) = (from as f64, to as f64);
    let place: fn(f64, f64, f64) -> f64 = match how {
        "half_pixel" => |at, from, to| (at + 0.5) * from / to - 0.5,
        "pytorch_half_pixel" => |at, from, to| {
            if to > 1.0 {
                (at + 0.5) * from / to - 0.5
            } else {
                0.0
            }
        },
        "align_corners" => |at, from, to| {
            if to > 1.0 {
                at * (from - 1.0) / (to - 1.0)
            } else {
                0.0
            }
        },
        "asymmetric" => |at, from, to| at * from / to,
        _ => return None,
    };
    Some(
        (0..to as usize)
            .map(|at| place(at as f64, from, to))
            .collect(),
    )
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
