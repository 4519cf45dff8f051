//! `.onnx` files of others: imported, simplified, differentiated, written and read again.

#![no_main]

use lfbm_onnx::{Dim, Graph, GraphError, Value, decode, encode, gradient, import};
use libfuzzer_sys::fuzz_target;

/// What stands beside the file.
static WEIGHTS: [u8; 1 << 14] = [0; 1 << 14];

fuzz_target!(|bytes: &[u8]| {
    // External tensors of any place and size, as far as a small file goes.
    let external = |file: &str, offset: usize, length: usize| {
        let end = offset.checked_add(length);
        let bytes = end.and_then(|end| WEIGHTS.get(offset..end));
        bytes
            .map(<[u8]>::to_vec)
            .ok_or_else(|| format!("is not in {file}"))
    };
    let Ok(imported) = import(bytes, &external, "generator", "z") else {
        return;
    };
    let mut graph = imported.graph;
    for (index, (_, value)) in imported.outputs.iter().enumerate() {
        let _ = graph.output(&format!("output.{index}"), value);
        if let Ok(slope) = slope(&mut graph, value) {
            let _ = graph.output(&format!("slope.{index}"), &slope);
        }
    }
    graph.simplify();
    graph.fuse_products();
    let again = encode(&graph, None).unwrap();
    decode(&again, &|_, _, _| None).unwrap();
});

/// The gradient of the sum of each row of `value`, as the posterior's is.
fn slope(graph: &mut Graph, value: &Value) -> Result<Value, GraphError> {
    let z = graph.inputs()[0].clone();
    let shape = graph.shape(value)?.to_vec();
    let axes = shape.iter().zip(0..).filter(|(dim, _)| **dim != Dim::Batch);
    let axes: Vec<i64> = axes.map(|(_, axis)| axis).collect();
    let sum = if axes.is_empty() {
        value.clone()
    } else {
        graph.reduce_sum(value, &axes, false)?
    };
    gradient(graph, &sum, &z)
}
