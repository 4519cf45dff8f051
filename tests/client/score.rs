//! Scores, and the formats that they come in.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Server, metric};
use crate::{command, json, json_lines, lfbm, samples, serve, signal, stdout};

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

const TWO_ROWS: [&str; 4] = ["--threads", "1", "--max-batch-chains", "2"];
const SLOW: [&str; 4] = ["score", "--json", "--steps", "2000"];

/// Enough for one slow image, not for twelve on two rows.
fn a_timeout_for_one(server: &Server) -> String {
    let image = samples().join("model-1.png");
    let score = lfbm(server, &[&SLOW[..], &[image.to_str().unwrap()]].concat());
    (3.0 * json(&score)["compute_s"].as_f64().unwrap()).to_string()
}

#[test]
fn an_image_that_ends_the_stream_keeps_no_other_from_its_score() {
    let (server, scratch) = serve(&[&TWO_ROWS[..], &["--max-message-bytes", "65536"]].concat());
    let large = scratch.path().join("large.png");
    fs::write(&large, vec![0; 100_000]).unwrap();
    let large = large.to_str().unwrap();
    let samples = samples();
    let timeout = a_timeout_for_one(&server);
    let rest = ["--timeout-s", &timeout, large, samples.to_str().unwrap()];
    let output = lfbm(&server, &[&SLOW[..], &rest, &[large]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let scores = String::from_utf8_lossy(&output.stdout);
    assert_eq!(scores.lines().count(), 12, "{errors}");
    let refused = errors
        .lines()
        .filter(|line| line.contains("large.png: INVALID_ARGUMENT: the message is too long"));
    assert_eq!(refused.count(), 2, "{errors}");
}

#[test]
fn the_errors_of_a_stream_name_its_request() {
    let (server, _scratch) = serve(&[]);
    let samples = samples();
    let output = lfbm(
        &server,
        &["score", "--chains", "0", samples.to_str().unwrap()],
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    let refused = errors
        .lines()
        .filter(|line| line.contains(": INVALID_ARGUMENT: ") && line.contains(" (request "));
    assert_eq!(refused.count(), 12, "{errors}");
}

#[test]
fn many_images_may_take_longer_than_the_timeout_of_one_while_the_server_answers() {
    let (server, _scratch) = serve(&TWO_ROWS);
    let samples = samples();
    // Twelve images are ready together, after a longer time.
    let timeout = a_timeout_for_one(&server);
    let rest = ["--timeout-s", &timeout, samples.to_str().unwrap()];
    let scores = json_lines(&lfbm(&server, &[&SLOW[..], &rest].concat()));
    assert_eq!(scores.len(), 12);

    let asked = command(&server)
        .args(SLOW)
        .args(["--chains", "64", "--timeout-s", "2"])
        .arg(&samples)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while metric(&server, "lfbm_chains_running", "") == 0.0 {
        assert!(Instant::now() < deadline, "no request came");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&server.process, "STOP");
    let output = asked.wait_with_output().unwrap();
    signal(&server.process, "CONT");
    let errors = String::from_utf8_lossy(&output.stderr);
    let silent = ": DEADLINE_EXCEEDED: no answer within --timeout-s";
    let given_up = errors.lines().filter(|line| line.ends_with(silent));
    assert_eq!(given_up.count(), 12, "{errors}");
}
