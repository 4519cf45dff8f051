//! Reverse-mode differentiation of a graph, by appending nodes to it.
//!
//! ONNX Runtime runs forward graphs only, so the gradient that Langevin dynamics needs is written
//! out as more graph when a bundle is made. This is the ordinary reverse sweep: the nodes between
//! the variable and the function are visited backwards, and each operator's vector-Jacobian
//! product (`vjp`) turns the cotangents of its outputs into those of its inputs.
//!
//! A cotangent may be smaller than its value and stands for its broadcast: the sweep starts with
//! the number 1, and the sum over pixels costs nothing on the way back. Rules that need every
//! element call [`Graph::expand_like`].

use std::collections::{HashMap, HashSet};

use super::graph::{Graph, GraphError, Op, Value, ops};
use super::missing::Missing;

/// Appends the gradient of the sum of `of` with respect to `by`, and returns it, in `by`'s shape.
///
/// When every row of `of` depends on its own row of `by` alone, row `i` of the result is the
/// gradient of row `i`.
///
/// # Errors
/// [`GraphError::Several`] names every node that has no rule, and [`GraphError::Independent`] says that `of` does not depend on `by`.
pub fn gradient(graph: &mut Graph, of: &Value, by: &Value) -> Result<Value, GraphError> {
    let one = graph.scalar(1.0);
    pullback(graph, of, &one, by)
}

/// Appends `cotangent`, which is of `of`'s shape or stands for its broadcast, times the Jacobian of
/// `of` with respect to `by`, and returns it, in `by`'s shape.
///
/// # Errors
/// Those of [`gradient`].
pub fn pullback(
    graph: &mut Graph,
    of: &Value,
    cotangent: &Value,
    by: &Value,
) -> Result<Value, GraphError> {
    let path = between(graph, of, by);
    let mut cotangents = HashMap::from([(of.clone(), cotangent.clone())]);
    let mut missing = Missing::default();
    for index in path.nodes.iter().rev() {
        let node = graph.nodes[*index].clone();
        let outputs: Vec<_> = node
            .outputs
            .iter()
            .map(|output| cotangents.remove(output))
            .collect();
        if outputs.iter().all(Option::is_none) {
            continue;
        }
        let rule = match ops::vjp(&node) {
            Ok(rule) => rule,
            Err(error) => {
                missing.add(error);
                // What comes before is looked at as well.
                let one = graph.scalar(1.0);
                let inputs = node.inputs.iter().flatten();
                for input in inputs.filter(|input| path.values.contains(input)) {
                    cotangents
                        .entry(input.clone())
                        .or_insert_with(|| one.clone());
                }
                continue;
            }
        };
        for position in 0..node.inputs.len() {
            let Some(input) = node.inputs[position]
                .clone()
                .filter(|v| path.values.contains(v))
            else {
                continue;
            };
            let part = match rule(graph, &node, &outputs, position) {
                Ok(Some(part)) => part,
                Ok(None) => continue,
                Err(error) => {
                    missing.add(error);
                    graph.scalar(1.0)
                }
            };
            let sum = match cotangents.remove(&input) {
                Some(present) => graph.add(&present, &part)?,
                None => part,
            };
            cotangents.insert(input, sum);
        }
    }
    if !missing.is_empty() {
        return Err(GraphError::Several(missing.to_string()));
    }
    let slope = cotangents
        .remove(by)
        .ok_or_else(|| GraphError::Independent {
            of: of.to_string(),
            by: by.to_string(),
        })?;
    graph.expand_like(&slope, by)
}

/// The operators that [`gradient`] has a rule for.
pub fn differentiable_ops() -> Vec<Op> {
    ops::differentiable()
}

/// The part of a graph through which `of` depends on `by`.
struct Path {
    /// Indices of nodes, in the order in which they run.
    nodes: Vec<usize>,
    /// Values that depend on `by`, and `by` itself.
    values: HashSet<Value>,
}

fn between(graph: &Graph, of: &Value, by: &Value) -> Path {
    let mut values = HashSet::from([by.clone()]);
    let mut dependent = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        // The shape of a value does not change with its elements.
        if node.op != Op::Shape
            && node
                .inputs
                .iter()
                .flatten()
                .any(|input| values.contains(input))
        {
            values.extend(node.outputs.iter().cloned());
            dependent.push(index);
        }
    }
    let mut needed = HashSet::from([of.clone()]);
    let mut nodes = Vec::new();
    for index in dependent.into_iter().rev() {
        let node = &graph.nodes[index];
        if node.outputs.iter().any(|output| needed.contains(output)) {
            needed.extend(node.inputs.iter().flatten().cloned());
            nodes.push(index);
        }
    }
    nodes.reverse();
    Path { nodes, values }
}
