//! Where settings come from, and mistakes in them.

use super::*;
use std::fs;

fn args(flags: &[&str]) -> ArgMatches {
    Config::command().get_matches_from([&["lfbm-server"], flags].concat())
}

fn options(flags: &[&str]) -> SessionOptions {
    let config = Config::load(&args(flags)).unwrap();
    config.execution().unwrap().options
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let text = "bundle = ['a', 'b']\nmax_steps = 50\nmax_chains = 3\ndevice = 'cuda:1'\n";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let config = Config::load(&args(&["--config", file, "--max-chains", "5"])).unwrap();
    let mut expected = Config::parse_from(["lfbm-server", "--config", file]);
    expected.models.bundle = vec!["a".into(), "b".into()];
    expected.requests.max_steps = 50;
    expected.requests.max_chains = 5;
    expected.models.device = "cuda:1".parse().unwrap();
    assert_eq!(config, expected);
}

#[test]
fn several_devices_are_a_list_or_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let flags = ["--config", file.to_str().unwrap(), "--bundle", "a"];
    for text in ["device = ['cuda:0', 'cuda:1']", "device = 'cuda,cuda:1'"] {
        fs::write(&file, text).unwrap();
        let config = Config::load(&args(&flags)).unwrap();
        let execution = config.execution().unwrap();
        assert_eq!(execution.devices.to_string(), "cuda:0,cuda:1");
        assert_eq!(execution.options.device, Device::Cuda { id: 0 });
        assert_eq!(
            (execution.placements.len(), execution.policy.capacity),
            (2, 128)
        );
        assert!(config.fallback().unwrap().is_none());
    }
    let flag = [&flags[..], &["--device", "tensorrt:3"]].concat();
    let config = Config::load(&args(&flag)).unwrap();
    assert_eq!(config.models.device.to_string(), "tensorrt:3");
}

#[test]
fn a_fallback_runs_on_the_cpu_in_single_precision() {
    let flags = [
        "--bundle",
        "a",
        "--device",
        "cuda:0,cuda:1",
        "--device-fallback",
        "cpu",
        "--precision",
        "tf32",
        "--cuda-graphs",
        "true",
        "--threads",
        "3",
    ];
    let fallback = Config::load(&args(&flags)).unwrap().fallback().unwrap();
    let Execution {
        devices,
        placements,
        options,
        policy,
    } = fallback.unwrap();
    assert_eq!(
        (devices.to_string().as_str(), placements[0].threads()),
        ("cpu", 3)
    );
    assert_eq!(
        (options.device, options.precision),
        (Device::Cpu, Precision::F32)
    );
    assert!(!options.cuda_graphs);
    assert_eq!((policy.capacity, policy.buckets.len()), (3 * 64, 0));
}

#[test]
fn precision_is_the_most_exact_that_the_device_has() {
    for (device, precision) in [
        ("cpu", Precision::F32),
        ("cuda", Precision::F32),
        ("tensorrt", Precision::Tf32),
    ] {
        let flags = ["--bundle", "a", "--device", device];
        assert_eq!(options(&flags).precision, precision, "{device}");
    }
    let flags = ["--bundle", "a", "--precision", "bf16"];
    assert_eq!(options(&flags).precision, Precision::Bf16);
}

#[test]
fn cuda_graphs_are_for_cuda() {
    let flags = [
        "--bundle",
        "a",
        "--device",
        "cuda:1",
        "--cuda-graphs",
        "true",
    ];
    assert!(options(&flags).cuda_graphs);
    let options = Config::parse_from(["lfbm-server"])
        .execution()
        .unwrap()
        .options;
    assert!(!options.cuda_graphs);
}

#[test]
fn mistakes_name_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let path = file.to_str().unwrap();
    for (text, part) in [
        ("max_step = 50", "max_step"),
        ("max_steps = 'many'", "max_steps"),
        (
            "max_steps = 4.7",
            "max_steps is 4.7, expected a whole number",
        ),
        ("grpc_web = 1", "grpc_web is 1, expected true or false"),
        (
            "max_batch_chains = 8.0",
            "max_batch_chains is 8.0, expected a whole number",
        ),
        (
            "false_alarm_rate = '0.1'",
            "false_alarm_rate is \"0.1\", expected a number",
        ),
        (
            "max_connection_age_s = 31536001",
            "max_connection_age_s is 31536001",
        ),
        (
            "drain_grace_s = 86401",
            "drain_grace_s is 86401, expected 0 to 86400",
        ),
        ("device = 'tpu'", "tpu"),
        ("device = 1", "a list of texts"),
        ("device = []", "unknown device"),
        ("device = 'cpu,cuda'", "got cpu with cuda:0"),
        (
            "device = ['cuda:0', 'tensorrt:1']",
            "got cuda:0 with tensorrt:1",
        ),
        ("device = ['cuda:1', 'cuda:1']", "cuda:1 is named twice"),
        ("device = 'cpu:2147483647'", "cpu:2147483647 cannot be had"),
        (
            "device = 'cuda:0,cuda:1,cuda:2'\nmax_batch_chains = 2",
            "at least 3: each device of cuda:0,cuda:1,cuda:2",
        ),
        ("precision = 'f16'", "f16"),
        (
            "precision = 'tf32'",
            "expected f32 or bf16 on the device cpu",
        ),
        ("max_batch_chains = 1", "max_batch_chains"),
        ("bulk_share = 1.5", "bulk_share"),
        ("threads = 8\nmax_batch_chains = 4", "threads is 8"),
        ("threads = 100000", "threads is 100000, expected fewer"),
        ("trace_sampling_ratio = -1.0", "trace_sampling_ratio"),
        ("batch_buckets = [0]", "batch_buckets"),
        ("device_fallback = 'never'", "never"),
        ("max_chains_in_flight = 3", "max_chains_in_flight"),
        ("tls_key = 'key.pem'", "tls_cert is not"),
        ("max_connections = 0", "max_connections"),
        ("handshake_timeout_s = 0", "handshake_timeout_s"),
        ("message_timeout_s = 0", "message_timeout_s"),
        ("grpc_address = 'localhost'", "expected HOST:PORT"),
        ("cuda_graphs = true", "cuda_graphs is true"),
        ("cuda_graphs = true\ndevice = 'tensorrt'", "tensorrt:0"),
        ("false_alarm_rate = 1.0", "above 0 and below 1"),
        ("audit_key_file = 'key'", "audit_log is not"),
        ("audit_log_keep = 0", "audit_log_keep"),
        ("shadow = ['parts:2']", "MODEL:VERSION=SHARE"),
        ("shadow = ['parts:2=1', 'parts:2=0.5']", "parts:2 twice"),
        ("shadow_queue = 0", "shadow_queue"),
        ("bundle = []", "--bundle"),
    ] {
        let flags: &[&str] = if text.starts_with("bundle") {
            &["--config", path]
        } else {
            &["--config", path, "--bundle", "a"]
        };
        fs::write(&file, text).unwrap();
        let error = Config::load(&args(flags)).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
