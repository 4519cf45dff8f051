//! Which nodes can run together.

use std::collections::{BTreeMap, HashMap, HashSet};

use lfbm_onnx::{Dim, Graph, Node, Value};

use crate::program::is_view;

/// Nodes that can run together: none reads what others make of their results.
pub(super) struct Cluster {
    /// In an order in which they can run.
    pub(super) nodes: Vec<usize>,
    /// What others read, or whoever runs the graph.
    pub(super) outputs: Vec<Value>,
}

/// The clusters between the nodes that stay.
pub(super) struct Clusters {
    pub(super) clusters: Vec<Cluster>,
    levels: Vec<usize>,
    stays: Vec<bool>,
}

impl Clusters {
    /// A node has the level of the longest way to it, counted in nodes that stay and are left on it for
    /// one that does not. So nodes of a level that do not stay can run together, before those of the
    /// level that do.
    pub(super) fn of(graph: &Graph, fits: impl Fn(&Node) -> bool) -> Self {
        let nodes = graph.nodes();
        let mut read: HashSet<&Value> = graph.outputs().iter().collect();
        let mut is_output = vec![false; nodes.len()];
        // What nobody reads stays.
        let mut stays = vec![true; nodes.len()];
        for (index, node) in nodes.iter().enumerate().rev() {
            is_output[index] = node.outputs.iter().any(|o| graph.outputs().contains(o));
            if node.outputs.iter().any(|output| read.contains(output)) {
                stays[index] = !fits(node);
                read.extend(node.inputs.iter().flatten());
            }
        }
        let mut producers: HashMap<&Value, usize> = HashMap::new();
        let mut levels: Vec<usize> = Vec::with_capacity(nodes.len());
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            let mut level = 0;
            for producer in node.inputs.iter().flatten() {
                if let Some(&producer) = producers.get(producer) {
                    let left = usize::from(stays[producer] && !stays[index]);
                    level = level.max(levels[producer] + left);
                    readers[producer].push(index);
                }
            }
            levels.push(level);
            producers.extend(node.outputs.iter().map(|output| (output, index)));
        }
        // What is not smaller than what it is made of is made where it is read.
        for (index, node) in nodes.iter().enumerate().rev() {
            let read_at = readers[index].iter().map(|&reader| levels[reader]).min();
            if let Some(level) = read_at
                && !stays[index]
                && !is_output[index]
                && grows(graph, node)
            {
                levels[index] = level;
            }
        }
        let mut found = Self {
            clusters: Vec::new(),
            levels,
            stays,
        };
        let roots = found.connected(&readers);
        let mut clusters: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, &root) in roots.iter().enumerate() {
            if !found.stays[index] {
                clusters.entry(root).or_default().push(index);
            }
        }
        let work = |&&index: &&usize| !is_view(&nodes[index]);
        clusters.retain(|_, cluster| cluster.iter().filter(work).count() > 1);
        let leaves = |index: usize| {
            let elsewhere = |&reader: &usize| found.stays[reader] || roots[reader] != roots[index];
            is_output[index] || readers[index].iter().any(elsewhere)
        };
        let clusters = clusters.into_values().map(|members| {
            let leaving = members.iter().filter(|&&index| leaves(index));
            let outputs = leaving.flat_map(|&index| nodes[index].outputs.clone());
            Cluster {
                outputs: outputs.collect(),
                nodes: members,
            }
        });
        found.clusters = clusters.collect();
        found
    }

    /// What nodes, and clusters in the place of one of theirs, are sorted by to run.
    pub(super) fn order(&self, node: usize) -> (usize, bool, usize) {
        (self.levels[node], self.stays[node], node)
    }

    /// For each node the first of those of its level that it is connected with.
    fn connected(&self, readers: &[Vec<usize>]) -> Vec<usize> {
        fn root(parents: &[usize], mut node: usize) -> usize {
            while parents[node] != node {
                node = parents[node];
            }
            node
        }
        let mut parents: Vec<usize> = (0..readers.len()).collect();
        for (node, readers) in readers.iter().enumerate() {
            for &reader in readers {
                let together = !self.stays[node] && !self.stays[reader];
                if together && self.levels[node] == self.levels[reader] {
                    let roots = [node, reader].map(|node| root(&parents, node));
                    parents[roots[0].max(roots[1])] = roots[0].min(roots[1]);
                }
            }
        }
        (0..readers.len())
            .map(|node| root(&parents, node))
            .collect()
    }
}

/// Whether its outputs are as large as what it reads, constants aside.
fn grows(graph: &Graph, node: &Node) -> bool {
    let size = |value: &Value| -> usize {
        let shape = graph.shape(value).unwrap_or_default();
        let sizes = shape.iter().map(|dim| match dim {
            Dim::Batch => 1,
            Dim::Fixed(size) => *size,
        });
        sizes.fold(1, usize::saturating_mul)
    };
    let mut inputs: Vec<&Value> = node.inputs.iter().flatten().collect();
    inputs.sort_unstable();
    inputs.dedup();
    let read = inputs
        .into_iter()
        .filter(|value| !graph.constants().contains_key(value));
    let read = read.map(size).fold(0, usize::saturating_add);
    node.outputs.iter().map(size).fold(0, usize::saturating_add) >= read
}
