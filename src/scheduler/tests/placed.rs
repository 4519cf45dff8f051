//! Workers of several devices.

use std::fs;

use lfbm_runtime::{Devices, Nodes};
use rustix::thread::{CpuSet, sched_getaffinity};

use super::running::{Running, policy, scores};
use crate::request::Priority;

#[tokio::test]
async fn workers_of_numa_nodes_keep_to_their_cpus_and_share_the_queue() {
    let allowed = sched_getaffinity(None).unwrap();
    let all = 0..CpuSet::MAX_CPU;
    let usable: Vec<_> = all.filter(|cpu| allowed.is_set(*cpu)).collect();
    let (first, last) = (usable[0], usable[usable.len() - 1]);
    let folder = tempfile::tempdir().unwrap();
    for (node, cpu) in [(0, first), (1, last)] {
        let node = folder.path().join(format!("node{node}"));
        fs::create_dir(&node).unwrap();
        fs::write(node.join("cpulist"), format!("{cpu}\n")).unwrap();
    }
    let devices: Devices = "cpu:1,cpu:0".parse().unwrap();
    let nodes = Nodes::described_in(folder.path());
    let placements = devices.placements(&nodes, 2, 8).unwrap();
    let (anywhere, placed) = (
        Running::start(policy(8)),
        Running::start_at(placements, policy(8)),
    );
    let job = |running: &Running| running.job(Priority::Interactive, 8, 500);
    let expected = anywhere.scheduler.infer(job(&anywhere)).await.unwrap();
    let inferred = placed.scheduler.infer(job(&placed)).await.unwrap();
    assert_eq!(scores(&inferred), scores(&expected));
    let only = |cpu| {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        cpus
    };
    let cpus = placed.cpus.lock().unwrap();
    assert_eq!((cpus[&0], cpus[&1]), (only(last), only(first)));
    assert_eq!(anywhere.cpus.lock().unwrap()[&0], allowed);
    // Of 8 chains 501 runs each, whichever worker took them.
    let steps = |device| placed.metrics.steps_on(device).get();
    assert_eq!(steps("cpu:0") + steps("cpu:1"), 8 * 501);
    assert_eq!(anywhere.metrics.steps_on("cpu").get(), 8 * 501);
}
