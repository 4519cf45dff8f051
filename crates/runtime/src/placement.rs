//! The threads of each device.

use std::fmt;
use std::num::NonZero;
use std::thread;

use rustix::thread::CpuSet;

use crate::device::{Device, NamedDevice};
use crate::devices::Devices;
use crate::error::RuntimeError;
use crate::numa::{Nodes, NumaError, bind_thread};

/// The threads that run chains on one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    named: NamedDevice,
    /// Of a NUMA node, the CPUs that the threads keep to.
    cpus: Option<CpuSet>,
    threads: usize,
}

impl fmt::Display for Placement {
    /// The device's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.named.fmt(f)
    }
}

impl Placement {
    /// So many threads on the CPU, or one on a GPU, which keep to no CPUs.
    pub fn new(device: Device, threads: usize) -> Self {
        let node = None;
        Self {
            named: NamedDevice { device, node },
            cpus: None,
            threads: threads_of(device, threads),
        }
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.named.device
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether its threads keep to the CPUs of a NUMA node.
    pub fn is_bound(&self) -> bool {
        self.cpus.is_some()
    }

    /// Makes the calling thread one of these: it keeps to the CPUs of its NUMA node, if there is one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn bind_thread(&self) -> Result<(), RuntimeError> {
        let bound = self.cpus.as_ref().map_or(Ok(()), bind_thread);
        bound.map_err(RuntimeError::Numa)
    }
}

impl Devices {
    /// The threads of each device, in order. A GPU has one. The CPU has `threads`, or for 0 one per core, but
    /// no more than `most`; NUMA nodes share as many by their numbers of CPUs, and each has at least one.
    ///
    /// # Errors
    /// When a NUMA node is not there, or the calling thread may use none of its CPUs.
    pub fn placements(
        &self,
        nodes: &Nodes,
        threads: usize,
        most: usize,
    ) -> Result<Vec<Placement>, NumaError> {
        let usable = thread::available_parallelism().map_or(1, NonZero::get);
        let threads_on = |cores: usize| match threads {
            0 => cores.min(usable).min(most),
            threads => threads.min(most),
        };
        let place = |named: &NamedDevice| {
            Ok(Placement {
                named: *named,
                cpus: named.node.map(|node| nodes.cpus(node)).transpose()?,
                threads: threads_of(named.device, threads_on(usable)),
            })
        };
        let mut placements = self
            .named()
            .iter()
            .map(place)
            .collect::<Result<Vec<_>, _>>()?;
        let cpus: Vec<_> = placements.iter().filter_map(|place| place.cpus).collect();
        // A node that is named twice has its cores once.
        let cores = (0..CpuSet::MAX_CPU).filter(|cpu| cpus.iter().any(|cpus| cpus.is_set(*cpu)));
        let sizes: Vec<_> = cpus.iter().map(|cpus| cpus.count() as usize).collect();
        // Without nodes, there is nobody to share.
        let shares = share(threads_on(cores.count()), &sizes);
        for (placement, threads) in placements.iter_mut().zip(shares) {
            placement.threads = threads;
        }
        Ok(placements)
    }
}

/// A GPU computes a whole batch at once, so one thread feeds it.
fn threads_of(device: Device, on_cpu: usize) -> usize {
    match device {
        Device::Cpu => on_cpu,
        Device::Cuda { .. } | Device::TensorRt { .. } => 1,
    }
}

/// How many of `threads` each node has, by its number of CPUs and at least one.
fn share(threads: usize, cpus: &[usize]) -> Vec<usize> {
    let rest = threads.saturating_sub(cpus.len()) as u128;
    let all = cpus.iter().sum::<usize>().max(1) as u128;
    let (mut before, mut given) = (0, 0);
    let of_node = |cpus: &usize| {
        before += *cpus as u128;
        // Rounded together with those before, so that the shares add up.
        let so_far = rest * before / all;
        let threads = so_far - given;
        given = so_far;
        1 + threads as usize
    };
    cpus.iter().map(of_node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::sched_getaffinity;
    use std::fs;

    #[test]
    fn nodes_share_threads_by_their_cpus() {
        for (threads, cpus, shares) in [
            (2, &[4, 4][..], &[1, 1][..]),
            (8, &[4, 4], &[4, 4]),
            (5, &[4, 4], &[2, 3]),
            (10, &[2, 8], &[2, 8]),
            (7, &[8, 8, 8], &[2, 2, 3]),
            (1, &[4, 4], &[1, 1]),
            (6, &[6], &[6]),
            (0, &[], &[]),
            (
                usize::MAX,
                &[1023, 1023],
                &[usize::MAX / 2, usize::MAX / 2 + 1],
            ),
        ] {
            assert_eq!(share(threads, cpus), shares, "{threads} on {cpus:?}");
        }
    }

    #[test]
    fn a_gpu_has_one_thread_and_the_cpu_as_many_as_are_asked_for() {
        let threads = |devices: &str, threads, most| -> Vec<usize> {
            let devices: Devices = devices.parse().unwrap();
            let placements = devices.placements(&Nodes::default(), threads, most);
            placements.unwrap().iter().map(Placement::threads).collect()
        };
        assert_eq!(threads("cuda:0,cuda:1,cuda:2", 7, 100), [1, 1, 1]);
        assert_eq!(threads("cpu", 7, 100), [7]);
        assert_eq!(threads("cpu", 7, 3), [3]);
        let cores = thread::available_parallelism().unwrap().get();
        assert_eq!(threads("cpu", 0, 1_000_000), [cores]);
        assert_eq!(threads("cpu", 0, 1), [1]);
    }

    #[test]
    fn a_thread_keeps_to_the_cpus_of_its_node() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpus: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| allowed.is_set(*cpu))
            .collect();
        let (first, last) = (cpus[0], cpus[cpus.len() - 1]);
        let folder = tempfile::tempdir().unwrap();
        for (node, cpu) in [(0, first), (1, last)] {
            let node = folder.path().join(format!("node{node}"));
            fs::create_dir(&node).unwrap();
            fs::write(node.join("cpulist"), format!("{cpu}\n")).unwrap();
        }
        let nodes = Nodes::described_in(folder.path());
        let devices: Devices = "cpu:1,cpu:0,cpu:1".parse().unwrap();
        let placements = devices.placements(&nodes, 3, 100).unwrap();
        for (placement, (name, cpu)) in
            placements
                .iter()
                .zip([("cpu:1", last), ("cpu:0", first), ("cpu:1", last)])
        {
            assert_eq!(
                (placement.to_string().as_str(), placement.threads),
                (name, 1)
            );
            let mut expected = CpuSet::new();
            expected.set(cpu);
            let affinity = || {
                placement.bind_thread().unwrap();
                sched_getaffinity(None).unwrap()
            };
            let affinity = thread::scope(|scope| scope.spawn(affinity).join().unwrap());
            assert_eq!(affinity, expected, "{name}");
        }
        assert_eq!(sched_getaffinity(None).unwrap(), allowed);
        // One per core, of those that are meant.
        let both: Devices = "cpu:0,cpu:1".parse().unwrap();
        let threads = both.placements(&nodes, 0, 100).unwrap();
        let threads: Vec<_> = threads.iter().map(Placement::threads).collect();
        assert_eq!(threads, [1, 1]);
        let one: Devices = "cpu:0".parse().unwrap();
        assert_eq!(one.placements(&nodes, 0, 100).unwrap()[0].threads, 1);
        assert_eq!(one.placements(&nodes, 5, 100).unwrap()[0].threads, 5);
        assert_eq!(one.placements(&nodes, 5, 3).unwrap()[0].threads, 3);
    }
}
