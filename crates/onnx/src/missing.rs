//! All that keeps a graph from being imported or differentiated, so that one message says it.

use std::fmt;

use super::graph::GraphError;

/// Entries that are written out; the others are counted.
const MAX_ENTRIES: usize = 24;
/// Characters of a name, and of a reason: both may come from a file.
const MAX_NAME: usize = 80;
const MAX_REASON: usize = 400;

/// What is missing, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Missing {
    entries: Vec<Entry>,
    /// Entries beyond [`MAX_ENTRIES`].
    more: usize,
    /// The operators that there are instead, once one that is not was asked for.
    known: Option<String>,
}

#[derive(Debug)]
struct Entry {
    about: About,
    reason: String,
    /// The first of those that it is about, and how many there are.
    first: String,
    count: usize,
}

#[derive(Debug, PartialEq)]
enum About {
    /// Nodes of an operator.
    Nodes(String),
    Tensors,
    /// What the reason says.
    Other,
}

impl Missing {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn add(&mut self, error: GraphError) {
        match error {
            GraphError::Node { node, op, reason } => self.add_node(&op, &node, &reason),
            GraphError::UnknownOperator {
                node,
                op,
                what,
                known,
            } => {
                self.known
                    .get_or_insert_with(|| format!("operators with one: {known}"));
                self.add_node(&op, &node, &format!("no {what} for this operator"));
            }
            other => self.add_reason(&other.to_string()),
        }
    }

    fn add_node(&mut self, op: &str, node: &str, reason: &str) {
        self.enter(About::Nodes(shortened(op, MAX_NAME)), node, reason);
    }

    /// What is wrong with a tensor.
    pub(super) fn add_tensor(&mut self, name: &str, reason: &str) {
        self.enter(About::Tensors, name, reason);
    }

    /// Something that is about neither.
    pub(super) fn add_reason(&mut self, reason: &str) {
        self.enter(About::Other, "", reason);
    }

    fn enter(&mut self, about: About, name: &str, reason: &str) {
        let reason = shortened(reason, MAX_REASON);
        let mut present = self.entries.iter_mut();
        if let Some(entry) = present.find(|entry| entry.about == about && entry.reason == reason) {
            entry.count += 1;
        } else if self.entries.len() < MAX_ENTRIES {
            self.entries.push(Entry {
                about,
                reason,
                first: shortened(name, MAX_NAME),
                count: 1,
            });
        } else {
            self.more += 1;
        }
    }
}

/// `text` on one line, and cut where it is long.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let visible = |c: char| if c.is_control() { '?' } else { c };
    let mut short: String = text.chars().take(most).map(visible).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.entries.len() + self.more;
        if count > 1 {
            write!(f, "{count} things are missing: ")?;
        }
        for (index, entry) in self.entries.iter().enumerate() {
            let Entry {
                about,
                reason,
                first,
                count,
            } = entry;
            if index > 0 {
                write!(f, "; ")?;
            }
            match (about, count) {
                (About::Other, _) => write!(f, "{reason}")?,
                (About::Tensors, 1) => write!(f, "tensor {first} {reason}")?,
                (About::Tensors, _) => {
                    write!(f, "tensor {first} and {} more: it {reason}", count - 1)?
                }
                (About::Nodes(op), 1) => write!(f, "node {first} ({op}): {reason}")?,
                (About::Nodes(op), _) => {
                    write!(f, "{op} ({count} nodes, the first is {first}): {reason}")?;
                }
            }
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        if let Some(known) = &self.known {
            write!(f, "; {known}")?;
        }
        Ok(())
    }
}
