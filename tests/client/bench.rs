//! `lfbm bench`.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::Server;
use crate::{command, json, lfbm, scored, serve, signal};

/// Starts `lfbm bench`, and waits until it is at work.
fn bench_at_work(server: &Server, flags: &[&str]) -> Child {
    let before = scored(server);
    let child = command(server)
        .args(["bench", "--json", "--warmup-s", "0"])
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while scored(server) == before {
        assert!(Instant::now() < deadline, "no request came");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn count(report: &Value, priority: &str, code: &str) -> u64 {
    let answers = report["answers"].as_array().unwrap();
    let answers = answers
        .iter()
        .filter(|answer| answer["priority"] == priority && answer["code"] == code);
    answers
        .map(|answer| answer["requests"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_closed_loop_keeps_so_many_under_way() {
    let (server, _scratch) = serve(&[]);
    let before = scored(&server);
    let report = json(&lfbm(
        &server,
        &[
            "bench",
            "--json",
            "--concurrency",
            "4",
            "--duration-s",
            "2",
            "--warmup-s",
            "0.2",
        ],
    ));
    assert_eq!(report["peak_outstanding"], 4);
    assert_eq!(report["answers"].as_array().unwrap().len(), 1, "{report}");
    let ok = count(&report, "interactive", "OK");
    assert!(ok > 0 && ok <= scored(&server) - before, "{report}");
    // All that were due are counted in both, but for those that cross an end of the window.
    let goodput = report["goodput_per_s"].as_f64().unwrap() * 2.0;
    assert!((goodput - ok as f64).abs() <= 8.0, "{report}");
    let latency = &report["answers"][0]["latency_s"];
    let quantiles =
        ["p50", "p90", "p99", "p99.9", "max"].map(|name| latency[name].as_f64().unwrap());
    assert!(quantiles.is_sorted() && quantiles[0] > 0.0, "{report}");
    assert!(
        report["compute_s"]["p50"].as_f64().unwrap() <= quantiles[4],
        "{report}"
    );
}

#[test]
fn an_open_loop_sends_on_schedule_and_counts_from_the_time_when_a_request_was_due() {
    let (server, _scratch) = serve(&[]);
    let flags = ["--rate", "40", "--bulk-share", "0.5", "--duration-s", "6"];
    let bench = bench_at_work(&server, &flags);
    // Nothing is answered for two seconds, and about 80 requests are due in them.
    signal(&server.process, "STOP");
    std::thread::sleep(Duration::from_secs(2));
    signal(&server.process, "CONT");
    let report = json(&bench.wait_with_output().unwrap());
    let offered = report["offered_per_s"].as_f64().unwrap();
    assert!((20.0..60.0).contains(&offered), "{report}");
    let (interactive, bulk) = (
        count(&report, "interactive", "OK"),
        count(&report, "bulk", "OK"),
    );
    assert!(interactive > 20 && bulk > 20, "{report}");
    for answer in report["answers"].as_array().unwrap() {
        assert!(
            answer["latency_s"]["p90"].as_f64().unwrap() > 0.5,
            "{report}"
        );
    }

    let flags = [
        "bench",
        "--json",
        "--rate",
        "2000",
        "--max-outstanding",
        "1",
        "--duration-s",
        "1",
    ];
    let report = json(&lfbm(&server, &flags));
    assert!(report["not_sent"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["peak_outstanding"], 1);
}

#[test]
fn an_interrupted_bench_reports_what_it_has() {
    let (server, _scratch) = serve(&[]);
    let bench = bench_at_work(&server, &["--concurrency", "2", "--duration-s", "600"]);
    std::thread::sleep(Duration::from_millis(500));
    signal(&bench, "INT");
    let report = json(&bench.wait_with_output().unwrap());
    assert_eq!(report["stopped_early"], true);
    assert!(report["duration_s"].as_f64().unwrap() < 600.0, "{report}");
    assert!(count(&report, "interactive", "OK") > 0, "{report}");
}

#[test]
fn the_capacity_is_the_best_of_the_loads_that_were_tried() {
    let (server, _scratch) = serve(&[]);
    let flags = ["--duration-s", "0.5", "--warmup-s", "0.1"];
    let output = command(&server)
        .args(["bench", "--json", "--find-capacity"])
        .args(flags)
        .output();
    let report = json(&output.unwrap());
    let levels = report["levels"].as_array().unwrap();
    assert!(levels.len() >= 3, "{report}");
    let best = levels
        .iter()
        .map(|level| level["goodput_per_s"].as_f64().unwrap())
        .fold(0.0, f64::max);
    assert_eq!(report["capacity_per_s"].as_f64().unwrap(), best);
}
