//! `Attention` of operator set 23.

use super::{FileNode, Importer, Lowered, fixed, in_triangle};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, GraphError, Op, Shares, Value};
use crate::tensor::Tensor;

attributes! {
    pub(in crate::import) struct Attention ignores ["qk_matmul_output_mode", "softmax_precision"] {
        is_causal: bool = false,
        kv_num_heads: i64 = 0,
        q_num_heads: i64 = 0,
        scale: Option<f32>,
        softcap: f32 = 0.0,
    }
}

/// Added where a query must not see a key: its share is zero in single precision.
const MASKED: f32 = -1e30;

/// `softmax(scale q k^T + mask) v` for each head.
pub(super) fn attention(
    importer: &mut Importer,
    node: &FileNode,
    attention: &Attention,
) -> Lowered {
    if (4..node.inputs.len()).any(|index| node.optional_input(index).is_some()) {
        return Err(node.error("keys and values of before are not supported"));
    }
    if node.outputs.len() > 1 {
        return Err(node.error("only its first output is supported"));
    }
    let joined = importer
        .input(node, 0)
        .and_then(|q| Ok(importer.graph.shape(&q)?.len() == 3))?;
    let q = heads(importer, node, 0, attention.q_num_heads())?;
    let k = heads(importer, node, 1, attention.kv_num_heads())?;
    let v = heads(importer, node, 2, attention.kv_num_heads())?;
    let shape = importer.graph.shape(&q)?.to_vec();
    let [query_heads, queries, size] = fixed(node, &shape[1..])?[..] else {
        return Err(node.error("its queries have no heads"));
    };
    let k = shared(importer, node, &k, query_heads)?;
    let v = shared(importer, node, &v, query_heads)?;
    let keys = fixed(node, &importer.graph.shape(&k)?[2..])?
        .first()
        .copied()
        .unwrap_or_default();
    let default = 1.0 / (size as f32).sqrt();
    let scale = match attention.scale {
        None | Some(0.0) => default,
        Some(scale) => scale,
    };
    let k = importer.transposed(&k, &[0, 1, 3, 2])?;
    let product = importer.graph.matmul(&q, &k)?;
    let mut scores = importer.graph.scale(&product, scale)?;
    let cap = attention.softcap();
    if cap != 0.0 {
        let scaled = importer.graph.scale(&scores, 1.0 / cap)?;
        let squashed = importer.graph.tanh(&scaled)?;
        scores = importer.graph.scale(&squashed, cap)?;
    }
    if attention.is_causal() {
        importer.fill(node, queries.checked_mul(keys))?;
        let hidden = |flat: usize| {
            let seen = in_triangle(flat / keys, flat % keys, 0, false);
            if seen { 0.0 } else { MASKED }
        };
        let mask = Tensor::new([queries, keys], (0..queries * keys).map(hidden).collect());
        let mask = importer
            .graph
            .weights(&format!("{}.causal", node.name), mask);
        scores = importer.graph.add(&scores, &mask)?;
    }
    if node.optional_input(3).is_some() {
        let mask = mask(importer, node)?;
        scores = importer.graph.add(&scores, &mask)?;
    }
    let softmax = Op::Softmax(Shares { axis: Some(3) });
    let shares = importer.graph.apply(softmax, &[&scores])?;
    let seen = importer.graph.matmul(&shares, &v)?;
    if !joined {
        return Ok(Some(seen));
    }
    let moved = importer.transposed(&seen, &[0, 2, 1, 3])?;
    importer
        .graph
        .reshape(&moved, &[0, queries as i64, -1])
        .map(Some)
}

/// Input `index` as B x heads x length x size.
fn heads(
    importer: &mut Importer,
    node: &FileNode,
    index: usize,
    heads: i64,
) -> Result<Value, GraphError> {
    let x = importer.input(node, index)?;
    let shape = importer.graph.shape(&x)?.to_vec();
    match shape[..] {
        [_, _, _, _] => Ok(x),
        [rows, length, Dim::Fixed(width)] => {
            let heads = usize::try_from(heads).unwrap_or_default();
            if heads == 0 || !width.is_multiple_of(heads) {
                return Err(node.error(format!("{width} values make no {heads} heads")));
            }
            let dims = [rows, length, Dim::Fixed(heads), Dim::Fixed(width / heads)];
            let apart = importer.reshaped(&x, &dims)?;
            importer.transposed(&apart, &[0, 2, 1, 3])
        }
        _ => Err(node.error("its inputs have neither three nor four dimensions")),
    }
}

/// Keys or values for `heads` queries' heads, of which some share one.
fn shared(
    importer: &mut Importer,
    node: &FileNode,
    x: &Value,
    heads: usize,
) -> Result<Value, GraphError> {
    let shape = importer.graph.shape(x)?;
    let own = match shape.get(1) {
        Some(&Dim::Fixed(own)) if own > 0 && heads.is_multiple_of(own) => own,
        _ => return Err(node.error("its heads of queries and of keys do not fit")),
    };
    super::repeat::repeated(importer, x, &[1, heads / own, 1, 1], true)
}

/// The mask as what is added: a condition says what is seen.
fn mask(importer: &mut Importer, node: &FileNode) -> Result<Value, GraphError> {
    if let Ok(mask) = importer.input(node, 3) {
        return Ok(mask);
    }
    let seen = importer.condition(node, 3)?;
    let (zero, masked) = (importer.graph.scalar(0.0), importer.graph.scalar(MASKED));
    importer.graph.select(&seen, &zero, &masked)
}
