//! Gradients of an image, divided among orientations.

use std::f32::consts::FRAC_PI_2;

use lfbm_onnx::{Graph, GraphError, Op, Tensor, Value};

/// Below this change of intensity a gradient has no horizontal part.
const SMALLEST_CHANGE: f32 = 1e-9;

/// Which orientations are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circle {
    /// Those from -pi/2 to pi/2: a gradient and its opposite have the same one.
    Half,
    /// Those from -pi/2 to 3 pi/2: light to dark is another one than dark to light.
    Whole,
}

/// The magnitude of each gradient (x, y), both `[B,1,h,w]`, divided among the two next of the orientations at
/// `centres`, n equal parts of the circle: `[B,n,h,w]`. Centres are in such parts, from where the circle begins:
/// 0 is the angle 0.
pub(super) fn divided(
    graph: &mut Graph,
    x: &Value,
    y: &Value,
    circle: Circle,
    centres: &[f32],
) -> Result<Value, GraphError> {
    let squares = [y, x].map(|part| graph.mul(part, part));
    let [vertical, horizontal] = squares;
    let square = graph.add(&vertical?, &horizontal?)?;
    let magnitude = graph.sqrt(&square)?;

    let size = graph.apply(Op::Abs, &[x])?;
    let smallest = graph.scalar(SMALLEST_CHANGE);
    let divisible = graph.greater(&size, &smallest)?;
    let divisor = graph.select(&divisible, x, &smallest)?;
    let tangent = graph.div(y, &divisor)?;
    let angle = graph.apply(Op::Atan, &[&tangent])?;
    let parts = centres.len() as f32;
    let quarter_turns = match circle {
        Circle::Half => 2.0,
        Circle::Whole => 4.0,
    };
    let mut position = graph.scale(&angle, parts / (quarter_turns * FRAC_PI_2))?;
    if circle == Circle::Whole {
        let opposite = graph.scalar(parts / 2.0);
        let opposite = graph.add(&position, &opposite)?;
        let zero = graph.scalar(0.0);
        let points_left = graph.greater(&zero, &divisor)?;
        position = graph.select(&points_left, &opposite, &position)?;
    }

    // Orientations are a circle, so the way to one is the shorter of two.
    let centres = Tensor::new([centres.len(), 1, 1], centres.to_vec());
    let centres = graph.weights("orientations", centres);
    let way = graph.sub(&position, &centres)?;
    let way = graph.apply(Op::Abs, &[&way])?;
    let circle = graph.scalar(parts);
    let other_way = graph.sub(&circle, &way)?;
    let way = graph.apply(Op::Min, &[&way, &other_way])?;
    let one = graph.scalar(1.0);
    let nearness = graph.sub(&one, &way)?;
    let share = graph.relu(&nearness)?;
    graph.mul(&share, &magnitude)
}
