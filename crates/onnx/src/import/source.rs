//! The nodes of a file that its outputs need, in an order in which they can run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use prost::Message;

use crate::codec::{DecodeError, content};
use crate::missing::shortened;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};

/// Nodes of a file, those of its functions counted at every call.
const MAX_NODES: usize = 1 << 15;
/// Bytes of the functions' nodes, at every call.
const MAX_FUNCTION_BYTES: usize = 1 << 28;
/// Functions that call each other.
const MAX_DEPTH: usize = 16;

/// `nodes` with those of the functions that they call in place of the calls.
pub(super) fn inline_functions(
    nodes: Vec<NodeProto>,
    functions: &[FunctionProto],
) -> Result<Vec<NodeProto>, DecodeError> {
    let mut by_name = HashMap::new();
    for function in functions {
        let (name, domain) = (function.name.as_deref(), function.domain.as_deref());
        let overload = function.overload.as_deref();
        by_name.insert(
            [name, domain, overload].map(Option::unwrap_or_default),
            function,
        );
    }
    let mut inliner = Inliner {
        functions: by_name,
        nodes: Vec::new(),
        bytes: 0,
        calls: 0,
    };
    for node in nodes {
        inliner.node(node, 0)?;
    }
    Ok(inliner.nodes)
}

struct Inliner<'a> {
    /// By name, domain and overload.
    functions: HashMap<[&'a str; 3], &'a FunctionProto>,
    nodes: Vec<NodeProto>,
    bytes: usize,
    calls: usize,
}

impl Inliner<'_> {
    fn node(&mut self, node: NodeProto, depth: usize) -> Result<(), DecodeError> {
        let key = [&node.op_type, &node.domain, &node.overload];
        let key = key.map(|part| part.as_deref().unwrap_or_default());
        let Some(&function) = self.functions.get(&key) else {
            if self.nodes.len() == MAX_NODES {
                return Err(content(format!(
                    "it has more than {MAX_NODES} nodes, which are not imported"
                )));
            }
            self.nodes.push(node);
            return Ok(());
        };
        self.bytes = self.bytes.saturating_add(function.encoded_len());
        self.calls += 1;
        if depth == MAX_DEPTH || self.bytes > MAX_FUNCTION_BYTES || self.calls > MAX_NODES {
            return Err(content(format!(
                "its function {} is called too often, or calls itself",
                shortened(key[0], 80)
            )));
        }
        let scope = Scope::new(&node, function, self.calls);
        for inner in &function.node {
            let mut inner = inner.clone();
            scope.enter(&mut inner, true);
            self.node(inner, depth + 1)?;
        }
        // An output that is an input as it is.
        for (output, given) in function.output.iter().zip(&node.output) {
            if function.input.contains(output) && !given.is_empty() {
                let copy = NodeProto {
                    op_type: Some("Identity".to_owned()),
                    input: vec![scope.value(output)],
                    output: vec![given.clone()],
                    ..NodeProto::default()
                };
                self.node(copy, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// What names in a function are called where it is called.
struct Scope<'a> {
    values: HashMap<&'a str, &'a str>,
    attributes: HashMap<&'a str, &'a AttributeProto>,
    /// Before all other names.
    prefix: String,
    /// The node that calls, for messages.
    caller: &'a str,
}

impl<'a> Scope<'a> {
    fn new(call: &'a NodeProto, function: &'a FunctionProto, number: usize) -> Self {
        // The input's name wins: an output of the same name is a copy.
        let outputs = function.output.iter().zip(&call.output);
        let outputs = outputs.filter(|(_, given)| !given.is_empty());
        let absent = std::iter::repeat(const { &String::new() });
        let inputs = function.input.iter().zip(call.input.iter().chain(absent));
        let defaults = function.attribute_proto.iter();
        let attributes = defaults.chain(&call.attribute);
        Self {
            values: outputs
                .chain(inputs)
                .map(|(inner, given)| (inner.as_str(), given.as_str()))
                .collect(),
            attributes: attributes
                .map(|attribute| (attribute.name.as_deref().unwrap_or_default(), attribute))
                .collect(),
            prefix: format!("call{number}/"),
            caller: call.name.as_deref().unwrap_or_default(),
        }
    }

    fn value(&self, name: &str) -> String {
        match self.values.get(name) {
            Some(given) => (*given).to_owned(),
            None if name.is_empty() => String::new(),
            None => format!("{}{name}", self.prefix),
        }
    }

    /// Renames what `node` reads and writes; `named` also makes the caller a part of its name.
    fn enter(&self, node: &mut NodeProto, named: bool) {
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = self.value(name);
        }
        if named {
            let name = node.name.as_deref().unwrap_or_default();
            let name = if name.is_empty() {
                node.op_type.as_deref().unwrap_or_default()
            } else {
                name
            };
            node.name = Some(shortened(&format!("{}/{name}", self.caller), 200));
        }
        node.attribute.retain_mut(|attribute| {
            if let Some(reference) = attribute.ref_attr_name.as_deref().filter(|r| !r.is_empty()) {
                let Some(&given) = self.attributes.get(reference) else {
                    return false;
                };
                let name = attribute.name.take();
                *attribute = given.clone();
                attribute.name = name;
            } else if let Some(graph) = &mut attribute.g {
                self.enter_graph(graph);
            }
            true
        });
    }

    fn enter_graph(&self, graph: &mut GraphProto) {
        for node in &mut graph.node {
            self.enter(node, false);
        }
        for tensor in &mut graph.initializer {
            tensor.name = tensor.name.as_deref().map(|name| self.value(name));
        }
        for output in &mut graph.output {
            output.name = output.name.as_deref().map(|name| self.value(name));
        }
    }
}

/// The indices of the nodes that `outputs` need, in an order in which they can run.
///
/// # Errors
/// When two produce the same value, or they need each other.
pub(super) fn needed<'a>(
    nodes: &'a [NodeProto],
    outputs: impl Iterator<Item = &'a str>,
) -> Result<Vec<usize>, DecodeError> {
    let mut producers = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if producers.insert(output.as_str(), index).is_some() {
                return Err(content(format!(
                    "two nodes give the value {}; every value has one node",
                    shortened(output, 80)
                )));
            }
        }
    }
    let mut reached: HashSet<usize> = HashSet::new();
    let mut waiting: Vec<usize> = outputs
        .filter_map(|output| producers.get(output).copied())
        .collect();
    let mut sources: HashMap<usize, HashSet<usize>> = HashMap::new();
    while let Some(index) = waiting.pop() {
        if !reached.insert(index) {
            continue;
        }
        let mut before = HashSet::new();
        reads(&nodes[index], &mut |name| {
            before.extend(producers.get(name));
        });
        waiting.extend(&before);
        sources.insert(index, before);
    }
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (&index, before) in &sources {
        for &source in before {
            readers.entry(source).or_default().push(index);
        }
    }
    // In the file's order, where that can run.
    let mut open: HashMap<usize, usize> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for (&index, before) in &sources {
        open.insert(index, before.len());
        if before.is_empty() {
            ready.push(Reverse(index));
        }
    }
    let mut order = Vec::with_capacity(reached.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in readers.get(&index).into_iter().flatten() {
            if let Some(count) = open.get_mut(&reader) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    if order.len() < reached.len() {
        let placed: HashSet<usize> = order.into_iter().collect();
        let stuck = reached.into_iter().filter(|index| !placed.contains(index));
        let name = stuck.min().map(|index| &nodes[index]).map(|node| {
            let output = node.output.first().map(String::as_str);
            let name = node.name.as_deref().filter(|name| !name.is_empty());
            shortened(name.or(output).unwrap_or_default(), 80)
        });
        return Err(content(format!(
            "its nodes need each other in a circle, among them {}",
            name.unwrap_or_default()
        )));
    }
    Ok(order)
}

/// Calls `seen` with the values that a node reads, those of graphs within it included.
pub(super) fn reads<'a>(node: &'a NodeProto, seen: &mut dyn FnMut(&'a str)) {
    for name in node.input.iter().filter(|name| !name.is_empty()) {
        seen(name);
    }
    for graph in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
        for inner in &graph.node {
            reads(inner, seen);
        }
        for name in graph.output.iter().filter_map(|o| o.name.as_deref()) {
            seen(name);
        }
    }
}

/// `graph` with the names of its own values made unlike all others.
pub(super) fn in_a_scope(graph: &GraphProto, prefix: &str) -> GraphProto {
    let nodes = graph.node.iter().flat_map(|node| &node.output);
    let tensors = graph.initializer.iter().filter_map(|t| t.name.as_ref());
    let own: HashSet<String> = nodes.chain(tensors).cloned().collect();
    let mut graph = graph.clone();
    rename(&mut graph, &own, prefix);
    graph
}

fn rename(graph: &mut GraphProto, own: &HashSet<String>, prefix: &str) {
    let renamed = |name: &mut String| {
        if !name.is_empty() && own.contains(name) {
            *name = format!("{prefix}/{name}");
        }
    };
    for node in &mut graph.node {
        node.input
            .iter_mut()
            .chain(&mut node.output)
            .for_each(renamed);
        for attribute in &mut node.attribute {
            if let Some(inner) = &mut attribute.g {
                rename(inner, own, prefix);
            }
        }
    }
    let tensors = graph.initializer.iter_mut().filter_map(|t| t.name.as_mut());
    tensors.for_each(renamed);
    let outputs = graph.output.iter_mut().filter_map(|o| o.name.as_mut());
    outputs.for_each(renamed);
}
