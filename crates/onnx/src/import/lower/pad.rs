//! `Pad`, by numbers and by what is there.

use super::pick::pick;
use super::{FileNode, Importer, Lowered};
use crate::graph::attribute::attributes;
use crate::graph::ops::normalize_axis;
use crate::graph::{Dim, GraphError, Op, Value};

attributes! {
    pub(in crate::import) struct Pad {
        mode: String = "constant".to_owned(),
    }
}

/// How many elements come before and after each axis; fewer are cut off.
fn amounts(
    importer: &Importer,
    node: &FileNode,
    rank: usize,
) -> Result<Vec<(i64, i64)>, GraphError> {
    let pads = importer
        .numbers(node, 1)?
        .ok_or_else(|| node.error("it has no pads"))?;
    let axes = match importer.numbers(node, 3)? {
        Some(axes) => axes
            .into_iter()
            .map(|axis| normalize_axis(node, axis, rank))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        let (given, axes) = (pads.len(), axes.len());
        return Err(node.error(format!("it has {given} pads for {axes} axes")));
    }
    let mut amounts = vec![(0, 0); rank];
    for (index, &axis) in axes.iter().enumerate() {
        amounts[axis] = (pads[index], pads[index + axes.len()]);
    }
    Ok(amounts)
}

pub(super) fn pad(importer: &mut Importer, node: &FileNode, pad: &Pad) -> Lowered {
    let mut x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let amounts = amounts(importer, node, rank)?;
    for (axis, &(before, after)) in amounts.iter().enumerate() {
        x = cut(importer, node, &x, axis, before.min(0), after.min(0))?;
    }
    let grown = |(before, after): &(i64, i64)| [*before, *after].map(|pad| pad.max(0) as usize);
    let amounts: Vec<[usize; 2]> = amounts.iter().map(grown).collect();
    if amounts.as_flattened().iter().all(|&pad| pad == 0) {
        return Ok(Some(x));
    }
    let mode = pad.mode();
    if mode == "constant" {
        return filled(importer, node, &x, &amounts).map(Some);
    }
    for (axis, &[before, after]) in amounts.iter().enumerate() {
        if (before, after) == (0, 0) {
            continue;
        }
        let Dim::Fixed(size) = importer.graph.shape(&x)?[axis] else {
            return Err(node.error("the rows of the batch cannot be padded"));
        };
        let total = size.checked_add(before).and_then(|n| n.checked_add(after));
        let total = total.filter(|&total| size > 0 && total <= MAX_SIDE);
        let total = total.ok_or_else(|| {
            node.error(format!(
                "{size} and pads of {before} and {after} are too many"
            ))
        })?;
        let places: Option<Vec<usize>> = (0..total)
            .map(|at| place(&mode, at, before, size))
            .collect();
        let places = places.ok_or_else(|| {
            node.error(format!(
                "the mode {mode} with pads of {before} and {after} around {size} is not supported; \
                 constant, edge, reflect and wrap are"
            ))
        })?;
        x = pick(importer, node, &x, axis, &places)?;
    }
    Ok(Some(x))
}

/// Elements along an axis with its pads.
const MAX_SIDE: usize = 1 << 16;

/// Which of `size` elements is at `at`, `before` of which are pads.
fn place(mode: &str, at: usize, before: usize, size: usize) -> Option<usize> {
    let (inside, last) = (at as i64 - before as i64, size as i64 - 1);
    let place = match mode {
        "edge" => inside.clamp(0, last),
        "wrap" => inside.rem_euclid(size as i64),
        "reflect" => {
            let mirrored = if inside < 0 { -inside } else { inside };
            if mirrored > last {
                2 * last - mirrored
            } else {
                mirrored
            }
        }
        _ => return None,
    };
    usize::try_from(place).ok().filter(|&place| place < size)
}

/// `x` without the first `-before` and the last `-after` elements of an axis.
fn cut(
    importer: &mut Importer,
    node: &FileNode,
    x: &Value,
    axis: usize,
    before: i64,
    after: i64,
) -> Result<Value, GraphError> {
    if (before, after) == (0, 0) {
        return Ok(x.clone());
    }
    let Dim::Fixed(size) = importer.graph.shape(x)?[axis] else {
        return Err(node.error("the rows of the batch cannot be cut"));
    };
    let removed = |pad: i64| usize::try_from(pad.unsigned_abs()).unwrap_or(usize::MAX);
    let (start, end) = (removed(before), size.checked_sub(removed(after)));
    let end = end.filter(|&end| start < end);
    let end = end.ok_or_else(|| node.error(format!("its pads cut all of {size} elements away")))?;
    importer.graph.slice(x, axis, start, end)
}

fn filled(
    importer: &mut Importer,
    node: &FileNode,
    x: &Value,
    amounts: &[[usize; 2]],
) -> Result<Value, GraphError> {
    let befores = amounts.iter().map(|pads| pads[0] as i64);
    let pads: Vec<i64> = befores
        .chain(amounts.iter().map(|pads| pads[1] as i64))
        .collect();
    let pads = importer.graph.int_list(&pads);
    let fill = match node.optional_input(2) {
        Some(_) => match importer.floats(node, 2)?[..] {
            [number] => number,
            _ => return Err(node.error("it pads with more than one number")),
        },
        None => 0.0,
    };
    if fill == 0.0 {
        return importer.graph.apply(Op::Pad, &[x, &pads]);
    }
    let fill = importer.graph.scalar(fill);
    importer.graph.apply(Op::Pad, &[x, &pads, &fill])
}
