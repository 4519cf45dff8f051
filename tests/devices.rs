//! A model on several devices: NUMA nodes as a server's process meets them, and GPUs that are not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Server, bundle, client, encoded, http_get, metric, pixels, png};
use lfbm_bundle::Bundle;
use lfbm_wire::InferenceParameters;

const NODES: &str = "/sys/devices/system/node";

/// The numbers of a list such as `0-3,8`.
fn cpus(list: &str) -> BTreeSet<usize> {
    let ranges = list.trim().split(',').filter(|range| !range.is_empty());
    let numbers = ranges.flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<usize>().unwrap()..=last.parse().unwrap()
    });
    numbers.collect()
}

/// The CPUs that a thread may use, by its folder in /proc; `None` if it has ended.
fn allowed(thread: &Path) -> Option<BTreeSet<usize>> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(cpus)
}

/// The names of a server's threads and the CPUs that each may use: the workers, in order, and the others.
fn threads(server: &Server) -> [Vec<(String, BTreeSet<usize>)>; 2] {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap();
    let threads = tasks.filter_map(|task| {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).ok()?;
        Some((name, allowed(&task)?))
    });
    let (mut workers, others): (Vec<_>, _) =
        threads.partition(|(name, _)| name.starts_with("worker-"));
    workers.sort();
    [workers, others]
}

/// The CPUs that each worker may use; all other threads may use `own`.
fn of_workers(server: &Server, own: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
    let [workers, others] = threads(server);
    assert!(others.iter().all(|(_, cpus)| cpus == own), "{others:?}");
    workers.into_iter().map(|(_, cpus)| cpus).collect()
}

/// Scores of some images, one after the other, so that each is alone in its batch, as bits.
async fn scores(server: &Server, bundle: &Bundle) -> Vec<[u64; 3]> {
    let mut client = client(server).await;
    let mut scores = Vec::new();
    for index in 0..8 {
        let mut request = encoded(png(pixels(&bundle.manifest().image, index)));
        request.inference = Some(InferenceParameters {
            seed: Some(index as u64),
            chains: Some(1),
            ..Default::default()
        });
        let reply = client.score(request).await.unwrap().into_inner();
        let parts = [reply.log_joint, reply.log_prior, reply.log_likelihood];
        scores.push(parts.map(f64::to_bits));
    }
    scores
}

/// What a server that does not start says last.
fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{errors}");
    errors.into_owned()
}

#[tokio::test]
async fn two_instances_on_a_node_score_to_the_bit_as_the_cpu_does() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--threads", "2", "--device", "cpu:0,cpu:0"];
    let Ok(node) = fs::read_to_string(format!("{NODES}/node0/cpulist")) else {
        let mut command = common::command(bundle.dir());
        command.args(flags);
        let errors = refusal(command);
        assert!(
            errors.contains("the device cpu:0 cannot be had"),
            "{errors}"
        );
        return;
    };
    let cpu = Server::start(bundle.dir(), folder.path(), &flags[..2]);
    let nodes = Server::start(bundle.dir(), folder.path(), &flags);
    assert_eq!(scores(&nodes, &bundle).await, scores(&cpu, &bundle).await);

    let own = allowed(Path::new("/proc/self")).unwrap();
    let of_node = &cpus(&node) & &own;
    assert_eq!(of_workers(&nodes, &own), [of_node.clone(), of_node]);
    assert_eq!(of_workers(&cpu, &own), [own.clone(), own]);

    let device = r#"asked="cpu:0,cpu:0",cuda_graphs="false",got="cpu:0,cpu:0""#;
    assert_eq!(metric(&nodes, "lfbm_model_device_info", device), 1.0);
    let models = http_get(&nodes, "/models");
    assert!(models.contains(r#""device":"cpu:0,cpu:0""#), "{models}");
    for (server, device) in [(&cpu, r#"device="cpu""#), (&nodes, r#"device="cpu:0""#)] {
        let steps = metric(server, "lfbm_chain_steps_total", "");
        assert!(steps > 0.0);
        assert_eq!(
            metric(server, "lfbm_device_chain_steps_total", device),
            steps
        );
    }
}

/// `command` on a machine whose NUMA nodes a folder describes; `None` where a process may not make
/// itself believe that.
fn on_machine(nodes: &Path, command: &Command) -> Option<Command> {
    let mount = r#"mount --bind "$0" /sys/devices/system/node && exec "$@""#;
    let believing = |program: &std::ffi::OsStr| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]);
        unshare.arg(nodes).arg(program);
        unshare
    };
    let status = believing("true".as_ref()).output().ok()?.status;
    let mut believing = believing(command.get_program());
    believing.args(command.get_args());
    for (name, value) in command.get_envs() {
        believing.env(name, value.unwrap());
    }
    status.success().then_some(believing)
}

#[tokio::test]
async fn workers_are_spread_over_nodes_and_keep_to_their_cpus() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let own = allowed(Path::new("/proc/self")).unwrap();
    let (first, last) = (*own.first().unwrap(), *own.last().unwrap());
    let nodes = folder.path().join("nodes");
    let foreign = own.last().unwrap() + 1;
    for (node, cpu) in [(0, first), (1, last), (2, foreign)] {
        let node = nodes.join(format!("node{node}"));
        fs::create_dir_all(&node).unwrap();
        fs::write(node.join("cpulist"), format!("{cpu}\n")).unwrap();
    }
    let command = |device: &str| {
        let mut command = common::command(bundle.dir());
        command.args(["--threads", "4", "--device", device]);
        on_machine(&nodes, &command)
    };
    let Some(mut two) = command("cpu:1,cpu:0") else {
        println!("this machine lets no test describe NUMA nodes: its own are tested alone");
        return;
    };
    two.stderr(Stdio::null());
    let server = Server::spawn(two, folder.path());
    let [first, last] = [first, last].map(|cpu| BTreeSet::from([cpu]));
    assert_eq!(
        of_workers(&server, &own),
        [last.clone(), last, first.clone(), first]
    );
    scores(&server, &bundle).await;

    let errors = refusal(command("cpu:0,cpu:7").unwrap());
    let last = errors.lines().last().unwrap();
    assert!(last.contains("ask for cpu:0 or cpu:1 or cpu:2"), "{errors}");
    let errors = refusal(command("cpu:2").unwrap());
    let last = errors.lines().last().unwrap();
    assert!(
        last.contains("may use none of the CPUs of NUMA node 2"),
        "{errors}"
    );
}

#[test]
fn what_cannot_be_a_list_of_devices_is_refused_before_anything_is_loaded() {
    let nowhere = Path::new("/nowhere/bundle");
    for (device, part) in [
        (
            "cpu,cuda:0",
            "expected devices of one kind, got cpu with cuda:0",
        ),
        ("cuda:0,tensorrt:1", "got cuda:0 with tensorrt:1"),
        ("cuda:0,cuda:0", "cuda:0 is named twice"),
        ("cpu:2147483647", "the device cpu:2147483647 cannot be had"),
    ] {
        let mut command = common::command(nowhere);
        command.env("LFBM_DEVICE", device);
        let errors = refusal(command);
        assert!(errors.contains(part), "{device}: {errors}");
        assert!(!errors.contains("/nowhere"), "{device}: {errors}");
    }
    let mut command = common::command(nowhere);
    if Path::new(NODES).is_dir() {
        command.args(["--threads", "1", "--device", "cpu:0,cpu:0"]);
        let errors = refusal(command);
        let part = "threads is 1, expected at least 2, one for each device of cpu:0,cpu:0";
        assert!(errors.contains(part), "{errors}");
    }
}

#[tokio::test]
async fn when_one_gpu_is_missing_the_model_runs_on_none() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let gpus = ["--device", "cuda:0,cuda:1"];
    let mut command = common::command(bundle.dir());
    command.args(gpus);
    let errors = refusal(command);
    assert!(
        errors.contains("the device cuda:0 cannot be had"),
        "{errors}"
    );

    let flags = [&gpus[..], &["--device-fallback", "cpu"]].concat();
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    scores(&server, &bundle).await;
    let devices = r#"asked="cuda:0,cuda:1",cuda_graphs="false",got="cpu""#;
    assert_eq!(metric(&server, "lfbm_model_device_info", devices), 1.0);
}
