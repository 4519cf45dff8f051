//! `lfbm` as its users meet it: the binary against a server, its output and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Server, http_get};
use serde_json::Value;
use tempfile::TempDir;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn samples() -> PathBuf {
    repository().join("deploy/samples")
}

fn serve(flags: &[&str]) -> (Server, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let bundle = repository().join("models/mnist-not4");
    (Server::start(&bundle, scratch.path(), flags), scratch)
}

fn command(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lfbm"));
    command.args(["--server", &server.url]);
    command
}

fn lfbm(server: &Server, args: &[&str]) -> Output {
    command(server).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// How many scores the server has answered.
fn scored(server: &Server) -> u64 {
    let metrics = http_get(server, "/metrics");
    let answered = metrics
        .lines()
        .filter(|line| line.starts_with("lfbm_requests_total") && line.contains("\"Score\""));
    answered
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn signal(process: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), process.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

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
fn every_format_has_the_same_scores_in_the_order_of_the_images() {
    let (server, scratch) = serve(&[]);
    let folder = samples();
    let folder = folder.to_str().unwrap();
    let lines = json_lines(&lfbm(&server, &["score", "--json", folder]));
    let images: Vec<_> = lines
        .iter()
        .map(|line| line["image"].as_str().unwrap())
        .collect();
    assert_eq!(images.len(), 12);
    assert!(images.is_sorted());

    let csv = stdout(&lfbm(&server, &["score", "--format", "csv", folder]));
    let mut rows = csv.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |name| header.iter().position(|&column| column == name).unwrap();
    for (row, line) in rows.by_ref().zip(&lines) {
        assert_eq!(row[column("image")], line["image"].as_str().unwrap());
        assert_eq!(row[column("verdict")], line["verdict"].as_str().unwrap());
        let log_joint: f64 = row[column("log_joint")].parse().unwrap();
        assert!((log_joint - line["log_joint"].as_f64().unwrap()).abs() < 1e-2);
    }
    assert_eq!(csv.lines().count(), 13);

    let table = stdout(&lfbm(&server, &["score", folder]));
    let rows: Vec<_> = table.lines().skip(2).collect();
    assert_eq!(rows.len(), 12);
    for (row, line) in rows.iter().zip(&lines) {
        let log_joint = format!("{:.1}", line["log_joint"].as_f64().unwrap());
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1], line["image"].as_str().unwrap());
        assert!(
            cells[4].starts_with(log_joint.trim_end_matches(|c| c != '.')),
            "{row}"
        );
    }

    let comma = scratch.path().join("a, \"b\".png");
    fs::copy(images[0], &comma).unwrap();
    let csv = stdout(&lfbm(
        &server,
        &["score", "--format", "csv", comma.to_str().unwrap()],
    ));
    let expected = format!("\"{}\",", comma.to_str().unwrap().replace('"', "\"\""));
    assert!(csv.lines().nth(1).unwrap().starts_with(&expected), "{csv}");
}

#[test]
fn images_and_lists_of_images_come_through_standard_input() {
    let (server, _scratch) = serve(&[]);
    let image = samples().join("model-1.png");
    let bytes = fs::read(&image).unwrap();
    let by_name = json(&lfbm(
        &server,
        &["score", "--json", image.to_str().unwrap()],
    ));
    let piped = with_input(command(&server).args(["score", "--json", "-"]), &bytes);
    assert_eq!(json(&piped)["log_joint"], by_name["log_joint"]);

    let other = samples().join("strokes-4-0.png");
    for separator in ["\n", "\0"] {
        let list = format!(
            "{}{separator}{}{separator}",
            image.display(),
            other.display()
        );
        let mut command = command(&server);
        command.args(["score", "--json", "--files-from", "-"]);
        let listed = json_lines(&with_input(&mut command, list.as_bytes()));
        assert_eq!(listed[0]["log_joint"], by_name["log_joint"]);
        assert_eq!(listed[1]["image"], other.to_str().unwrap());
        assert_eq!(listed.len(), 2);
    }
}

#[test]
fn exit_codes_say_what_happened() {
    let (server, _scratch) = serve(&[]);
    let normal = samples().join("model-1.png");
    let anomalous = samples().join("strokes-4-2.png");
    let (normal, anomalous) = (normal.to_str().unwrap(), anomalous.to_str().unwrap());
    let manifest = repository().join("Cargo.toml");
    let manifest = manifest.to_str().unwrap();
    for (args, code) in [
        (&["score", anomalous][..], 0),
        (&["score", "--fail-on-anomaly", normal], 0),
        (&["score", "--fail-on-anomaly", normal, anomalous], 3),
        (&["score", "--fail-on-anomaly", anomalous, manifest], 1),
        (&["score", "no-such.png"], 1),
        (&["score"], 2),
        (&["score", "--json", "--format", "csv", normal], 2),
        (&["health"], 0),
        (&["health", "--model", "mnist-not4"], 0),
        (&["health", "--model", "other"], 1),
        (&["inpaint", normal], 2),
        (&["score", "--hide", "0,0,29,1", normal], 1),
        (&["bench", "--concurrency", "0"], 2),
        (&["bench", "--model", "other", "--duration-s", "1"], 1),
    ] {
        let output = lfbm(&server, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    }
}

#[test]
fn errors_are_one_line_that_says_what_to_do() {
    let (server, scratch) = serve(&[]);
    let image = samples().join("model-1.png");
    let image = image.to_str().unwrap();
    let token = scratch.path().join("token");
    fs::write(&token, "two words").unwrap();
    for (args, expected) in [
        (
            &["score", "--chains", "0", "--steps", "100000", image][..],
            "INVALID_ARGUMENT: inference.steps: expected at most 2000, got 100000; \
             inference.chains: expected 1 to 64, got 0",
        ),
        (
            &["score", "--model", "other", image],
            "NOT_FOUND: there is no model other; there are mnist-not4",
        ),
        (
            &["score", "--timeout-s", "0.000001", image],
            "DEADLINE_EXCEEDED: ",
        ),
        (
            &["score", "no-such.png"],
            "no-such.png: there is no such file or folder",
        ),
        (
            &["health", "--server", "127.0.0.1:1"],
            "no connection to 127.0.0.1:1 (--server): Connection refused",
        ),
        (
            &["health", "--tls-ca", "ca.pem"],
            "--tls-ca and --tls-cert need https:// in --server",
        ),
        (
            &[
                "health",
                "--server",
                "https://localhost:1",
                "--tls-ca",
                token.to_str().unwrap(),
            ],
            "expected certificates, PEM",
        ),
        (
            &["health", "--token-file", token.to_str().unwrap()],
            "expected one token",
        ),
        (
            &["bench", "--rate", "0"],
            "--rate: expected requests per second, above 0, got 0",
        ),
    ] {
        let output = lfbm(&server, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        let line = errors.lines().next().unwrap();
        assert!(line.starts_with("lfbm: "), "{args:?}: {errors}");
        assert!(line.contains(expected), "{args:?}: {errors}");
    }
}

#[test]
fn images_that_are_made_lie_next_to_the_originals_and_are_not_taken_for_originals() {
    let (server, scratch) = serve(&[]);
    let folder = scratch.path().join("parts");
    fs::create_dir(&folder).unwrap();
    fs::copy(samples().join("strokes-4-2.png"), folder.join("part.png")).unwrap();
    let parts = folder.to_str().unwrap();
    let original = image::open(folder.join("part.png")).unwrap().to_luma8();

    let explain = [
        "explain",
        "--json",
        "--reconstruction",
        "--chains",
        "2",
        parts,
    ];
    let explained = json(&lfbm(&server, &explain));
    let heatmap = folder.join("part.heatmap.png");
    assert_eq!(explained["heatmap"], heatmap.to_str().unwrap());
    assert_eq!(explained["chains"].as_array().unwrap().len(), 2);
    for made in ["part.heatmap.png", "part.reconstruction.png"] {
        let made = image::open(folder.join(made)).unwrap();
        assert_eq!((made.width(), made.height()), original.dimensions());
    }

    let hidden = ["--hide", "0,20,28,8", "--hide", "0,0,4,28"];
    let inpaint = [&["inpaint", "--json", "--chains", "3", parts], &hidden[..]].concat();
    let completed = json(&lfbm(&server, &inpaint));
    let completions = completed["completions"].as_array().unwrap();
    let scores: Vec<_> = completions
        .iter()
        .map(|completion| completion["log_joint"].as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.iter().rev().is_sorted(), "{completed}");
    for rank in 1..=3 {
        let made = image::open(folder.join(format!("part.inpainted-{rank}.png")));
        let made = made.unwrap().to_luma8();
        let visible = |x: u32, y: u32| x >= 4 && y < 20;
        for (x, y, pixel) in original.enumerate_pixels() {
            assert!(!visible(x, y) || made.get_pixel(x, y) == pixel, "{x}, {y}");
        }
    }

    let elsewhere = scratch.path().join("new/out");
    let out = ["explain", "--out", elsewhere.to_str().unwrap(), parts];
    let table = stdout(&lfbm(&server, &out));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(elsewhere.join("part.heatmap.png").is_file());
    let below = folder.join("below");
    fs::create_dir(&below).unwrap();
    fs::copy(folder.join("part.png"), below.join("part.png")).unwrap();
    let clash = lfbm(&server, &out);
    let errors = String::from_utf8_lossy(&clash.stderr);
    assert!(!clash.status.success());
    assert!(errors.contains("would have one name"), "{errors}");
    fs::remove_dir_all(below).unwrap();
    assert_eq!(
        json_lines(&lfbm(&server, &["score", "--json", parts])).len(),
        1
    );
}

#[test]
fn a_mask_file_hides_what_a_rectangle_hides() {
    let (server, scratch) = serve(&[]);
    let image = samples().join("model-1.png");
    let image = image.to_str().unwrap();
    let mask = scratch.path().join("mask.png");
    let visible = |_, y| image::Luma([if y < 14 { 255 } else { 0 }]);
    image::GrayImage::from_fn(28, 28, visible)
        .save(&mask)
        .unwrap();
    let score = |flags: &[&str]| {
        let output = lfbm(&server, &[&["score", "--json", image], flags].concat());
        json(&output)
    };
    let by_file = score(&["--mask", mask.to_str().unwrap()]);
    let by_rectangle = score(&["--hide", "0,14,28,14"]);
    assert_eq!(by_file["log_joint"], by_rectangle["log_joint"]);
    assert_ne!(by_file["log_joint"], score(&[])["log_joint"]);
    assert_eq!(by_file["verdict"], Value::Null);
}

#[test]
fn samples_are_files_that_a_seed_decides() {
    let (server, scratch) = serve(&[]);
    let sample = |folder: &str, count: &str| {
        let folder = scratch.path().join(folder);
        let flags = ["sample", "--seed", "7", "--count", count, "--out"];
        let output = command(&server).args(flags).arg(folder).output().unwrap();
        let names = stdout(&output);
        names
            .lines()
            .map(|name| fs::read(name).unwrap())
            .collect::<Vec<_>>()
    };
    let three = sample("three", "3");
    assert_eq!(three.len(), 3);
    assert_eq!(sample("two", "2"), three[..2]);
}

#[test]
fn a_server_that_asks_for_certificates_and_tokens_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = write("cert.pem", &pair.cert.pem());
    let key = write("key.pem", &pair.signing_key.serialize_pem());
    let tokens = write("tokens", "an-older-token\nopen-sesame\n");
    let token = write("token", "open-sesame\n");
    let (server, _scratch) = serve(&[
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &certificate,
        "--auth-tokens-file",
        &tokens,
    ]);
    let port = server.url.rsplit(':').next().unwrap();
    let address = format!("localhost:{port}");
    let call = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lfbm"))
            .args(["--server", &address, "models", "--json"])
            .args(args)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, errors)
    };
    let trust = ["--tls-ca", &certificate];
    let identity = ["--tls-cert", &certificate, "--tls-key", &key];
    assert!(!call(&[]).0.status.success());
    assert!(!call(&trust).0.status.success());
    let (output, errors) = call(&[&trust[..], &identity].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("UNAUTHENTICATED: "), "{errors}");
    assert!(errors.contains(" (request "), "{errors}");
    let (output, _) = call(&[&trust[..], &identity, &["--token-file", &token]].concat());
    assert_eq!(json(&output)["model"], "mnist-not4");
    // The server's own variables mean nothing to a client on the same machine.
    let output = Command::new(env!("CARGO_BIN_EXE_lfbm"))
        .args(["models", "--json"])
        .envs([
            ("LFBM_SERVER", address.as_str()),
            ("LFBM_TLS_CA", &certificate),
            ("LFBM_CLIENT_CERT", &certificate),
            ("LFBM_CLIENT_KEY", &key),
            ("LFBM_TOKEN_FILE", &token),
            ("LFBM_TLS_CERT", "the server's"),
        ])
        .output()
        .unwrap();
    assert_eq!(json(&output)["model"], "mnist-not4");
}

#[test]
fn refused_images_are_tried_again() {
    let (server, _scratch) = serve(&["--max-chains", "4", "--max-chains-in-flight", "4"]);
    let folder = samples();
    let long = [
        "score",
        "--json",
        "--timeout-s",
        "600",
        "--steps",
        "2000",
        folder.to_str().unwrap(),
    ];
    let once = command(&server).args(long).args(["--retry", "0"]).output();
    let once = once.unwrap();
    assert_eq!(once.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&once.stderr);
    assert!(errors.contains("RESOURCE_EXHAUSTED"), "{errors}");
    assert!(errors.contains("; try again in "), "{errors}");

    let patient = command(&server)
        .args(long)
        .args(["--retry", "1000"])
        .output();
    assert_eq!(json_lines(&patient.unwrap()).len(), 12);
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_asked_again() {
    let (mut server, scratch) = serve(&[]);
    let address = server.url.trim_start_matches("http://").to_owned();
    for (images, chains) in [(samples().join("model-1.png"), "64"), (samples(), "4")] {
        let asked = command(&server)
            .args(["score", "--json", "--retry", "1000", "--steps", "2000"])
            .args(["--timeout-s", "600", "--chains", chains])
            .arg(&images)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !http_get(&server, "/metrics")
            .lines()
            .any(|line| line.starts_with("lfbm_chains_running") && !line.ends_with(" 0"))
        {
            assert!(Instant::now() < deadline, "no request came");
            std::thread::sleep(Duration::from_millis(10));
        }
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        let bundle = repository().join("models/mnist-not4");
        let flags = ["--grpc-address", &address];
        server = Server::start(&bundle, scratch.path(), &flags);
        let scored = json_lines(&asked.wait_with_output().unwrap());
        assert_eq!(scored.len(), if images.is_dir() { 12 } else { 1 });
    }
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

#[test]
fn completions_are_a_script_that_the_shell_reads() {
    let output = Command::new(env!("CARGO_BIN_EXE_lfbm"))
        .args(["completions", "bash"])
        .output();
    let script = stdout(&output.unwrap());
    assert!(script.contains("--find-capacity"));
    let checked = with_input(Command::new("bash").arg("-n"), script.as_bytes());
    assert!(checked.status.success(), "{checked:?}");
}
