//! `Resize`, an axis after the other.

use super::pick::{along, pick};
use super::repeat::repeated;
use super::{FileNode, Importer, Lowered, Size};
use crate::graph::attribute::attributes;
use crate::graph::ops::normalize_axis;
use crate::graph::{Dim, GraphError, Value};
use crate::tensor::Tensor;

attributes! {
    pub(in crate::import) struct Resize ignores ["extrapolation_value"] {
        antialias: bool = false,
        axes: Option<Vec<i64>>,
        coordinate_transformation_mode: String = "half_pixel".to_owned(),
        cubic_coeff_a: f32 = -0.75,
        exclude_outside: bool = false,
        keep_aspect_ratio_policy: String = "stretch".to_owned(),
        mode: String = "nearest".to_owned(),
        nearest_mode: String = "round_prefer_floor".to_owned(),
    }
}

/// How an axis changes.
struct Stretch {
    axis: usize,
    from: usize,
    to: usize,
    /// Not `to / from` where that was rounded.
    scale: f64,
}

/// Whole multiples by the nearest neighbour, which is what upsampling layers do, repeat elements;
/// what lies in between is a product with a matrix of weights.
///
/// # Errors
/// When it does anything else, or its sizes are not known or too large.
pub(super) fn resize(importer: &mut Importer, node: &FileNode, resize: &Resize) -> Lowered {
    let x = importer.input(node, 0)?;
    let stretches = stretches(importer, node, resize, &x)?;
    let how = resize.coordinate_transformation_mode();
    match resize.mode().as_str() {
        "nearest" => nearest(importer, node, resize, x, &stretches).map(Some),
        mode @ ("linear" | "cubic") => {
            let mut x = x;
            for stretch in &stretches {
                let at = coordinates(&how, stretch.from, stretch.to, stretch.scale)
                    .ok_or_else(|| unknown_coordinates(node, &how))?;
                importer.fill(node, stretch.from.checked_mul(stretch.to))?;
                let weights = if mode == "linear" {
                    linear_weights(&at, stretch.from)
                } else {
                    let sharpness = f64::from(resize.cubic_coeff_a());
                    let inside = resize.exclude_outside();
                    cubic_weights(&at, stretch.from, sharpness, inside)
                };
                let matrix = Tensor::new([stretch.to, stretch.from], weights);
                x = along(importer, node, &x, stretch.axis, matrix)?;
            }
            Ok(Some(x))
        }
        other => Err(node.error(format!(
            "the mode {other} is not supported; nearest, linear and cubic are"
        ))),
    }
}

fn unknown_coordinates(node: &FileNode, how: &str) -> GraphError {
    node.error(format!("the coordinates {how} are not supported"))
}

/// The axes that change.
fn stretches(
    importer: &mut Importer,
    node: &FileNode,
    resize: &Resize,
    x: &Value,
) -> Result<Vec<Stretch>, GraphError> {
    if resize.keep_aspect_ratio_policy() != "stretch" || resize.antialias() {
        return Err(node.error("antialias and keep_aspect_ratio_policy are not supported"));
    }
    let shape = importer.graph.shape(x)?.to_vec();
    let axes: Vec<usize> = match &resize.axes {
        Some(axes) => axes
            .iter()
            .map(|&axis| normalize_axis(node, axis, shape.len()))
            .collect::<Result<_, _>>()?,
        None => (0..shape.len()).collect(),
    };
    let scales = match node.optional_input(2) {
        Some(_) => importer.floats(node, 2)?,
        None => Vec::new(),
    };
    let sizes = importer.ints(node, 3)?.unwrap_or_default();
    let (by_scales, by_sizes) = (scales.len() == axes.len(), sizes.len() == axes.len());
    if by_scales == by_sizes {
        return Err(node.error("it has neither scales nor sizes that are known for each axis"));
    }
    let mut stretches = Vec::new();
    for (index, &axis) in axes.iter().enumerate() {
        let dim = shape[axis];
        let (to, scale) = match (dim, by_scales) {
            (Dim::Batch, true) if scales[index] == 1.0 => continue,
            (Dim::Batch, false) if sizes[index] == Size::Batch => continue,
            (Dim::Batch, _) => {
                return Err(node.error("scales and sizes must leave the batch as it is"));
            }
            (Dim::Fixed(from), true) => {
                let scale = scales[index];
                // In single precision, as ONNX Runtime rounds it. A scale that is negative or not finite makes a size
                // that is refused below.
                ((scale * from as f32) as usize, f64::from(scale))
            }
            (Dim::Fixed(from), false) => {
                let Size::Number(to) = sizes[index] else {
                    return Err(node.error("its sizes take the batch's size to another axis"));
                };
                let to = usize::try_from(to).unwrap_or_default();
                (to, to as f64 / from as f64)
            }
        };
        let Dim::Fixed(from) = dim else { continue };
        if to == from && scale == 1.0 {
            continue;
        }
        if !(1..=MAX_SIDE).contains(&to) || !(1..=MAX_SIDE).contains(&from) {
            return Err(node.error(format!(
                "{from} to {to} along axis {axis}: sides from 1 to {MAX_SIDE} are supported"
            )));
        }
        stretches.push(Stretch {
            axis,
            from,
            to,
            scale,
        });
    }
    Ok(stretches)
}

/// Rows or columns of an image.
const MAX_SIDE: usize = 1 << 14;

fn nearest(
    importer: &mut Importer,
    node: &FileNode,
    resize: &Resize,
    mut x: Value,
    stretches: &[Stretch],
) -> Result<Value, GraphError> {
    let how = resize.coordinate_transformation_mode();
    let rounding = resize.nearest_mode();
    let mut times = vec![1; importer.graph.shape(&x)?.len()];
    for stretch in stretches {
        let at = coordinates(&how, stretch.from, stretch.to, stretch.scale)
            .ok_or_else(|| unknown_coordinates(node, &how))?;
        let last = (stretch.from - 1) as f64;
        let places: Option<Vec<usize>> = at
            .into_iter()
            .map(|at| rounded(at, &rounding).map(|at| at.clamp(0.0, last) as usize))
            .collect();
        let places = places
            .ok_or_else(|| node.error(format!("the rounding {rounding} is not supported")))?;
        let whole = stretch.to / stretch.from;
        let repeats = stretch.to.is_multiple_of(stretch.from)
            && places
                .iter()
                .enumerate()
                .all(|(to, &from)| to / whole == from);
        if repeats {
            times[stretch.axis] = whole;
        } else {
            x = pick(importer, node, &x, stretch.axis, &places)?;
        }
    }
    repeated(importer, &x, &times, true)
}

fn rounded(at: f64, how: &str) -> Option<f64> {
    Some(match how {
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        "round_prefer_floor" => (at - 0.5).ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        _ => return None,
    })
}

/// Where each of `to` places lies among `from`. `scale` is not `to / from` where that was rounded.
fn coordinates(how: &str, from: usize, to: usize, scale: f64) -> Option<Vec<f64>> {
    let centres = |at: f64| (at + 0.5) / scale - 0.5;
    let corners = |at: f64| at * (from as f64 - 1.0) / (to as f64 - 1.0);
    let middle = |at: f64| {
        // What rounding cut off is shared by both ends.
        let full = from as f64 * scale;
        let offset = from as f64 / 2.0 * (1.0 - to as f64 / full);
        offset + (at + 0.5) / scale - 0.5
    };
    let place: &dyn Fn(f64) -> f64 = match how {
        "pytorch_half_pixel" | "align_corners" if to == 1 => &|_| 0.0,
        "half_pixel" | "pytorch_half_pixel" => &centres,
        "half_pixel_symmetric" => &middle,
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

/// The same of a cubic convolution over four neighbours. Those beyond the border are the border's, or
/// left out.
fn cubic_weights(places: &[f64], from: usize, sharpness: f64, inside: bool) -> Vec<f32> {
    let a = sharpness;
    let near = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((t - 5.0) * t + 8.0) * t * a - 4.0 * a;
    let last = from as f64 - 1.0;
    let mut weights = vec![0.0; places.len() * from];
    for (row, place) in weights.chunks_mut(from).zip(places) {
        let below = place.floor();
        let share = place - below;
        let taps = [
            far(1.0 + share),
            near(share),
            near(1.0 - share),
            far(2.0 - share),
        ];
        let neighbours = (-1..3).map(|step| below + f64::from(step));
        let taps: Vec<(f64, f64)> = neighbours
            .zip(taps)
            .filter(|(at, _)| !inside || (0.0..=last).contains(at))
            .collect();
        let total: f64 = if inside {
            taps.iter().map(|tap| tap.1).sum()
        } else {
            1.0
        };
        for (at, weight) in taps {
            row[at.clamp(0.0, last) as usize] += (weight / total) as f32;
        }
    }
    weights
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
