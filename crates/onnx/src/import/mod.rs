//! Graphs that others exported, in the operators of this crate.
//!
//! Exporters write three things that this crate does not. Sizes computed from the batch's, which
//! are followed here and disappear (`known`); layers as one node, which become several that can be
//! differentiated (`lower`); and newer operator sets, whose nodes are brought to
//! [`OPSET`](super::OPSET) (`lower` too). What the outputs do not need is not looked at (`source`).

mod importer;
mod known;
mod lower;
mod source;
mod walk;

use std::collections::HashSet;

use prost::Message;

use super::codec::{DecodeError, External, content, is_standard, read_info};
use super::graph::{Dim, ElementType, Graph, Value, ValueType};
use super::missing::shortened;
use super::proto::{ModelProto, ValueInfoProto};
use importer::Importer;
use lower::FileOp;
use source::inline_functions;
use walk::{IF, Walk};

/// The oldest operator set that is read: since then, axes are inputs.
const OLDEST_OPSET: i64 = 13;
/// What operators mean in later ones is not known here.
const NEWEST_OPSET: i64 = 25;

/// A graph without outputs, and what its outputs can be.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The nodes.
    pub graph: Graph,
    /// The file's outputs in order: their names there, and the values here.
    pub outputs: Vec<(String, Value)>,
}

/// Reads a model with one input of floats, as another program exported it. The graph is called
/// `name` and its input `input`.
///
/// # Errors
/// When the bytes are no ONNX model, or it needs something that cannot be brought to this crate's
/// operators; the message names all of that, and lists the operators that can.
pub fn import(
    bytes: &[u8],
    external: &External,
    name: &str,
    input: &str,
) -> Result<Imported, DecodeError> {
    let model = ModelProto::decode(bytes)?;
    let mut opsets = model.opset_import.iter();
    let opset = opsets.find(|set| set.domain.as_deref().is_none_or(is_standard));
    let opset = opset.and_then(|set| set.version).unwrap_or_default();
    let mut graph = model.graph.ok_or_else(|| content("it holds no graph"))?;
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(content(format!(
            "it is written in operator set {opset}, and {OLDEST_OPSET} to {NEWEST_OPSET} are read; \
             export it with one of these"
        )));
    }
    let nodes = inline_functions(std::mem::take(&mut graph.node), &model.functions)?;
    let mut importer = Importer::new(Graph::new(name), opset);
    let constants: HashSet<&str> = graph
        .initializer
        .iter()
        .filter_map(|tensor| tensor.name.as_deref())
        .collect();
    let is_given = |info: &&ValueInfoProto| {
        let name = info.name.as_deref().unwrap_or_default();
        !constants.contains(name)
    };
    let given: Vec<_> = graph.input.iter().filter(is_given).collect();
    bind_input(&mut importer, &given, input)?;
    let outputs: Vec<String> = graph
        .output
        .iter()
        .map(|info| info.name.clone().unwrap_or_default())
        .collect();
    let mut walk = Walk::new(importer, external);
    walk.run(&nodes, &graph.initializer, &outputs)?;
    walk.finish(outputs)
}

/// The operators that [`import`] can read.
fn readable() -> String {
    let mut names: Vec<_> = FileOp::names().chain([IF]).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// A generator of images may take its latents as images of one position.
fn bind_input(
    importer: &mut Importer,
    given: &[&ValueInfoProto],
    input: &str,
) -> Result<(), DecodeError> {
    let [info] = given else {
        let names = given.iter().map(|info| info.name.as_deref());
        let names: Vec<_> = names.map(Option::unwrap_or_default).collect();
        return Err(content(format!(
            "it has {} inputs ({}), expected one, the latents",
            given.len(),
            shortened(&names.join(", "), 200)
        )));
    };
    let (name, ValueType { element, shape }) = read_info(info)?;
    let (shape, positions): (&[Dim], &[i64]) = match &shape[..] {
        [rows, size, Dim::Fixed(1), Dim::Fixed(1)] => (&[*rows, *size], &[2, 3]),
        shape => (shape, &[]),
    };
    let [Dim::Batch, Dim::Fixed(1..)] = shape else {
        let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
        return Err(content(format!(
            "its input {} has the shape [{}], expected [B, d] with a free number of rows B and a \
             fixed d; export it with a dynamic first dimension",
            shortened(&name, 80),
            shortened(&sizes.join(", "), 80)
        )));
    };
    if element != ElementType::F32 {
        return Err(content(format!("its input {name} is not of float32")));
    }
    let mut value = importer.graph.input(input, shape);
    if !positions.is_empty() {
        value = importer.graph.unsqueeze(&value, positions)?;
    }
    importer.names.insert(Value::new(&name), value);
    Ok(())
}

#[cfg(test)]
mod tests;
