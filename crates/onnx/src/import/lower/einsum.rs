//! `Einsum` of one or two tensors, as a product of matrices.

use super::{FileNode, Importer, Lowered};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, GraphError, Value};

attributes! {
    pub(in crate::import) struct Einsum {
        equation: String,
    }
}

/// A tensor and the labels of its axes.
struct Labelled {
    value: Value,
    labels: Vec<char>,
}

pub(super) fn einsum(importer: &mut Importer, node: &FileNode, einsum: &Einsum) -> Lowered {
    let equation: String = einsum.equation.split_whitespace().collect();
    let (terms, output) = match equation.split_once("->") {
        Some((terms, output)) => (terms.to_owned(), output.to_owned()),
        None => {
            // Labels that are there once, in their order.
            let mut once: Vec<char> = equation.chars().filter(|c| c.is_alphabetic()).collect();
            once.retain(|label| equation.matches(*label).count() == 1);
            once.sort_unstable();
            (equation.clone(), once.into_iter().collect())
        }
    };
    let output: Vec<char> = output.chars().collect();
    let terms: Vec<&str> = terms.split(',').collect();
    if terms.len() != node.inputs.len() || terms.len() > 2 {
        return Err(node.error(format!(
            "the equation {equation} is not of one or two tensors"
        )));
    }
    let mut operands = Vec::with_capacity(2);
    for (index, term) in terms.iter().enumerate() {
        let value = importer.input(node, index)?;
        let labels: Vec<char> = term.chars().collect();
        let rank = importer.graph.shape(&value)?.len();
        let twice = (1..labels.len()).any(|at| labels[..at].contains(&labels[at]));
        let plain = labels.iter().all(|label| label.is_alphabetic());
        if labels.len() != rank || twice || !plain {
            return Err(node.error(format!(
                "the part {term} of the equation {equation} is not supported"
            )));
        }
        operands.push(Labelled { value, labels });
    }
    let mut made = if let [a, b] = &mut operands[..] {
        let (others, own) = (b.labels.clone(), a.labels.clone());
        summed(importer, a, |label| {
            output.contains(&label) || others.contains(&label)
        })?;
        summed(importer, b, |label| {
            output.contains(&label) || own.contains(&label)
        })?;
        product(importer, node, a, b, &output)?
    } else {
        operands
            .pop()
            .ok_or_else(|| node.error("it has no input"))?
    };
    summed(importer, &mut made, |label| output.contains(&label))?;
    let order: Option<Vec<usize>> = output
        .iter()
        .map(|label| made.labels.iter().position(|own| own == label))
        .collect();
    let order = order.filter(|order| order.len() == made.labels.len());
    let order =
        order.ok_or_else(|| node.error(format!("the equation {equation} is not supported")))?;
    importer.transposed(&made.value, &order).map(Some)
}

/// Sums over the axes that nobody keeps.
fn summed(
    importer: &mut Importer,
    tensor: &mut Labelled,
    keep: impl Fn(char) -> bool,
) -> Result<(), GraphError> {
    let labels = tensor.labels.iter().enumerate();
    let gone = labels.filter(|(_, label)| !keep(**label));
    let gone: Vec<i64> = gone.map(|(axis, _)| axis as i64).collect();
    if !gone.is_empty() {
        tensor.value = importer.graph.reduce_sum(&tensor.value, &gone, false)?;
        tensor.labels.retain(|label| keep(*label));
    }
    Ok(())
}

/// Labels of both that are kept are those of a batch of products; what only one has is its rows or
/// columns, and the rest is summed over.
fn product(
    importer: &mut Importer,
    node: &FileNode,
    a: &Labelled,
    b: &Labelled,
    output: &[char],
) -> Result<Labelled, GraphError> {
    let dims = |importer: &Importer, tensor: &Labelled| -> Result<Vec<(char, Dim)>, GraphError> {
        let shape = importer.graph.shape(&tensor.value)?;
        Ok(tensor
            .labels
            .iter()
            .copied()
            .zip(shape.iter().copied())
            .collect())
    };
    let (a_dims, b_dims) = (dims(importer, a)?, dims(importer, b)?);
    let of = |dims: &[(char, Dim)], label: char| {
        dims.iter().find(|(l, _)| *l == label).map(|(_, dim)| *dim)
    };
    // The rows of the batch stay apart, whoever has them.
    let rows = |(label, dim): &&(char, Dim)| *dim == Dim::Batch && output.contains(label);
    let mut batch: Vec<char> = a_dims
        .iter()
        .chain(&b_dims)
        .filter(rows)
        .map(|(label, _)| *label)
        .collect();
    for label in &a.labels {
        if b.labels.contains(label) && output.contains(label) {
            batch.push(*label);
        }
    }
    let mut seen = Vec::new();
    batch.retain(|label| {
        !seen.contains(label) && {
            seen.push(*label);
            true
        }
    });
    let alone = |own: &[char], other: &[char]| -> Vec<char> {
        let alone = own
            .iter()
            .filter(|label| !other.contains(label) && !batch.contains(label));
        alone.copied().collect()
    };
    let (a_alone, b_alone) = (alone(&a.labels, &b.labels), alone(&b.labels, &a.labels));
    let shared = a
        .labels
        .iter()
        .filter(|label| b.labels.contains(label) && !batch.contains(label));
    let shared: Vec<char> = shared.copied().collect();
    let size = |dims: &[(char, Dim)], labels: &[char]| -> Result<usize, GraphError> {
        labels
            .iter()
            .try_fold(1_usize, |product, &label| match of(dims, label) {
                Some(Dim::Fixed(size)) => Ok(product.saturating_mul(size)),
                _ => Err(node.error(
                    "it sums over the rows of the batch, which do not influence each other",
                )),
            })
    };
    let (rows, columns) = (size(&a_dims, &a_alone)?, size(&b_dims, &b_alone)?);
    let (inner, b_inner) = (size(&a_dims, &shared)?, size(&b_dims, &shared)?);
    if inner != b_inner {
        return Err(node.error("the sizes of its inputs do not fit"));
    }
    let arranged = |importer: &mut Importer,
                    tensor: &Labelled,
                    own: &[(char, Dim)],
                    last: [&[char]; 2],
                    sizes: [usize; 2]| {
        let present = batch.iter().filter(|label| tensor.labels.contains(label));
        let wanted = present.chain(last[0]).chain(last[1]);
        let order: Vec<usize> = wanted
            .filter_map(|label| tensor.labels.iter().position(|own| own == label))
            .collect();
        let moved = importer.transposed(&tensor.value, &order)?;
        let mut dims: Vec<Dim> = batch
            .iter()
            .map(|&label| of(own, label).unwrap_or(Dim::Fixed(1)))
            .collect();
        dims.extend(sizes.map(Dim::Fixed));
        importer.reshaped(&moved, &dims)
    };
    let left = arranged(importer, a, &a_dims, [&a_alone, &shared], [rows, inner])?;
    let right = arranged(importer, b, &b_dims, [&shared, &b_alone], [inner, columns])?;
    let value = importer.graph.matmul(&left, &right)?;
    let labels = [&batch[..], &a_alone, &b_alone].concat();
    let dim = |&label: &char| match of(&a_dims, label) {
        Some(Dim::Fixed(1)) | None => of(&b_dims, label).unwrap_or(Dim::Fixed(1)),
        Some(dim) => dim,
    };
    let dims: Vec<Dim> = labels.iter().map(dim).collect();
    let value = importer.reshaped(&value, &dims)?;
    Ok(Labelled { value, labels })
}
