//! NUMA nodes: groups of CPUs, each with memory that they reach sooner than that of others.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where Linux describes them.
const FOLDER: &str = "/sys/devices/system/node";

/// Why threads cannot keep to a NUMA node.
#[derive(Debug, thiserror::Error)]
pub enum NumaError {
    /// There is no such node.
    #[error(
        "the device cpu:{node} cannot be had: this machine has no NUMA node {node}; ask for {}",
        nodes.iter().map(|node| format!("cpu:{node}")).collect::<Vec<_>>().join(" or ")
    )]
    Missing {
        /// The node that was asked for.
        node: u32,
        /// Those that there are, ascending.
        nodes: Vec<u32>,
    },
    /// The system describes no nodes.
    #[error(
        "the device cpu:{node} cannot be had: this system describes no NUMA nodes ({} has none); ask \
         for cpu", folder.display()
    )]
    Undescribed {
        /// The node that was asked for.
        node: u32,
        /// Where they would be described.
        folder: PathBuf,
    },
    /// A node has memory alone.
    #[error("the device cpu:{node} cannot be had: NUMA node {node} has memory and no CPUs")]
    NoCpus {
        /// The node that was asked for.
        node: u32,
    },
    /// The process is kept from the CPUs of a node.
    #[error(
        "the device cpu:{node} cannot be had: this process may use none of the CPUs of NUMA node \
         {node}, which are {cpus}; let it (taskset, or the cpuset of its container), or ask for \
         another node"
    )]
    NotAllowed {
        /// The node that was asked for.
        node: u32,
        /// Its CPUs, as Linux writes them.
        cpus: String,
    },
    /// A description cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Its file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A description is none.
    #[error(
        "{}: expected a list of CPUs below {}, such as 0-3,8, got {text:?}",
        path.display(), CpuSet::MAX_CPU
    )]
    CpuList {
        /// Its file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
    /// The system refuses to say or to change where a thread may run.
    #[error("the system refuses to bind threads to CPUs: {0}; ask for the device cpu")]
    Affinity(Errno),
}

/// The NUMA nodes of a machine.
#[derive(Clone, Debug)]
pub struct Nodes {
    folder: PathBuf,
}

impl Default for Nodes {
    /// Those of this machine.
    fn default() -> Self {
        Self::described_in(FOLDER)
    }
}

impl Nodes {
    /// Those that a folder describes as Linux does: `node0/cpulist` holds `0-3,8` for the CPUs 0 to 3 and 8.
    pub fn described_in(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { folder }
    }

    /// The CPUs of a node that the calling thread may use, at least one.
    pub(crate) fn cpus(&self, node: u32) -> Result<CpuSet, NumaError> {
        let path = self.folder.join(format!("node{node}/cpulist"));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.missing(node));
            }
            Err(source) => return Err(NumaError::File { path, source }),
        };
        let list = text.trim();
        let Some(cpus) = parse_cpulist(list) else {
            let text = list.to_owned();
            return Err(NumaError::CpuList { path, text });
        };
        if cpus.count() == 0 {
            return Err(NumaError::NoCpus { node });
        }
        let allowed = sched_getaffinity(None).map_err(NumaError::Affinity)?;
        let mut usable = CpuSet::new();
        for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu) && allowed.is_set(*cpu)) {
            usable.set(cpu);
        }
        if usable.count() == 0 {
            let cpus = list.to_owned();
            return Err(NumaError::NotAllowed { node, cpus });
        }
        Ok(usable)
    }

    /// Why a node is not there.
    fn missing(&self, node: u32) -> NumaError {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix("node")?.parse().ok()
        });
        let mut nodes: Vec<u32> = numbers.collect();
        nodes.sort_unstable();
        if nodes.is_empty() {
            let folder = self.folder.clone();
            return NumaError::Undescribed { node, folder };
        }
        NumaError::Missing { node, nodes }
    }
}

/// Lets the calling thread run on these CPUs alone.
pub(crate) fn bind_thread(cpus: &CpuSet) -> Result<(), NumaError> {
    sched_setaffinity(None, cpus).map_err(NumaError::Affinity)
}

/// The CPUs of a list such as `0-3,8`; `None` if it is none.
fn parse_cpulist(list: &str) -> Option<CpuSet> {
    let mut cpus = CpuSet::new();
    if list.is_empty() {
        return Some(cpus);
    }
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        for cpu in first..=last {
            cpus.set(cpu);
        }
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(cpus: &CpuSet) -> Vec<usize> {
        let all = 0..CpuSet::MAX_CPU;
        all.filter(|cpu| cpus.is_set(*cpu)).collect()
    }

    #[test]
    fn lists_of_cpus_are_read_and_junk_is_not() {
        for (list, cpus) in [
            ("", &[][..]),
            ("5", &[5]),
            ("0-3,8,10-11", &[0, 1, 2, 3, 8, 10, 11]),
            ("1023", &[1023]),
        ] {
            assert_eq!(numbers(&parse_cpulist(list).unwrap()), cpus, "{list}");
        }
        for junk in [
            ",",
            "0,",
            "0-",
            "-3",
            "3-1",
            "0-3-5",
            "a",
            "0 1",
            "0-1024",
            "0-18446744073709551615",
            "0-99999999999999999999",
            "0-31:2/4",
        ] {
            assert_eq!(parse_cpulist(junk), None, "{junk}");
        }
    }

    /// Nodes with these lists of CPUs.
    fn machine(lists: &[(u32, &str)]) -> (tempfile::TempDir, Nodes) {
        let folder = tempfile::tempdir().unwrap();
        for (node, list) in lists {
            let node = folder.path().join(format!("node{node}"));
            fs::create_dir(&node).unwrap();
            fs::write(node.join("cpulist"), format!("{list}\n")).unwrap();
        }
        let nodes = Nodes::described_in(folder.path());
        (folder, nodes)
    }

    #[test]
    fn a_node_has_those_of_its_cpus_that_the_process_may_use() {
        let (_folder, nodes) = machine(&[(0, "0-1023")]);
        let allowed = sched_getaffinity(None).unwrap();
        assert_eq!(nodes.cpus(0).unwrap(), allowed);
    }

    #[test]
    fn a_node_that_cannot_be_had_is_refused_by_name() {
        let (folder, nodes) = machine(&[(0, "0-1023"), (10, ""), (2, "1023"), (3, "?")]);
        fs::write(folder.path().join("online"), "0-3\n").unwrap();
        for (node, parts) in [
            (
                7,
                &["cpu:7", "ask for cpu:0 or cpu:2 or cpu:3 or cpu:10"][..],
            ),
            (10, &["cpu:10", "no CPUs"]),
            (2, &["cpu:2", "which are 1023", "taskset"]),
            (3, &["node3/cpulist", "\"?\"", "0-3,8"]),
        ] {
            let error = nodes.cpus(node).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        let empty = Nodes::described_in(folder.path().join("node0"));
        let error = empty.cpus(0).unwrap_err().to_string();
        assert!(error.ends_with("ask for cpu"), "{error}");
    }
}
