//! Graphs that others exported, in the operators of this crate.
//!
//! Exporters write three things that this crate does not. Sizes computed from the batch's, which
//! are followed here and disappear (`known`); layers as one node, which become several that can be
//! differentiated (`lower`); and newer operator sets, whose nodes are brought to
//! [`OPSET`](super::OPSET) (`lower` too). What the outputs do not need is not looked at (`source`).

mod importer;
mod input;
mod known;
mod lower;
mod source;
mod walk;

use std::collections::HashSet;

use prost::Message;

use super::codec::{DecodeError, External, content, is_standard};
use super::graph::{Graph, Value};
use super::proto::{ModelProto, ValueInfoProto};
use importer::Importer;
use input::{bind_images, bind_latents, only_input};
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

/// Reads a model of latents, `[B, d]` or `[B, d, 1, 1]`, as another program exported it. The graph is
/// called `name`, and its input `input: [B, d]`.
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
    read(bytes, external, name, |importer, info| {
        bind_latents(importer, info, input)
    })
}

/// [`import`] of a model of RGB images. Its input becomes `input: [B, 3, height, width]`, where the file
/// leaves the height and the width free or has the same ones.
///
/// # Errors
/// Those of [`import`], and when the file's input is of another size.
pub fn import_of_images(
    bytes: &[u8],
    external: &External,
    name: &str,
    input: &str,
    [height, width]: [usize; 2],
) -> Result<Imported, DecodeError> {
    read(bytes, external, name, |importer, info| {
        bind_images(importer, info, input, [height, width])
    })
}

fn read(
    bytes: &[u8],
    external: &External,
    name: &str,
    bind: impl FnOnce(&mut Importer, &ValueInfoProto) -> Result<(), DecodeError>,
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
    bind(&mut importer, only_input(&given)?)?;
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

#[cfg(test)]
mod tests;
