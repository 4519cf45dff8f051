//! SIGINT and SIGTERM at any moment: the command ends, and what it has is kept.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{command, samples, serve, signal};

/// What a stop may take on a busy machine.
const STOP: Duration = Duration::from_secs(10);
/// Exit codes of processes that a signal ended, as shells have them.
const CODES: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

/// How it ends after a signal; a signal that ends it before it listens is as good.
fn stopped(child: &mut Child, name: &str, code: i32) {
    let asked = Instant::now();
    signal(child, name);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(asked.elapsed() < STOP, "{name}: it goes on"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let ended = status.code().or(status.signal().map(|signal| 128 + signal));
    assert_eq!(ended, Some(code), "{name}: {status}");
}

#[test]
fn a_command_that_waits_for_a_dead_server_ends() {
    // Connections are accepted by the system, and nobody speaks.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = dead.local_addr().unwrap().to_string();
    let image = samples().join("model-1.png");
    let image = image.to_str().unwrap();
    for args in [
        &["score", image][..],
        &["score", "--json", image, image],
        &["explain", image],
        &["inpaint", image, "--hide", "0,0,2,2"],
        &["sample", "--count", "1"],
        &["models"],
        &["health"],
        &["bench"],
    ] {
        for (name, code) in CODES {
            let mut command = Command::new(crate::common::binary("lfbm"));
            command
                .args(["--server", &server, "--timeout-s", "600"])
                .args(args);
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(300));
            assert!(
                child.try_wait().unwrap().is_none(),
                "{args:?} does not wait"
            );
            stopped(&mut child, name, code);
        }
    }
}

#[test]
fn a_command_that_reads_standard_input_ends() {
    let (server, _scratch) = serve(&[]);
    for args in [
        ["score", "-"],
        ["score", "--files-from=-"],
        ["score", "--frames=-"],
    ] {
        for (name, code) in CODES {
            let mut command = command(&server);
            let mut child = command.args(args).stdin(Stdio::piped()).spawn().unwrap();
            thread::sleep(Duration::from_millis(500));
            assert!(
                child.try_wait().unwrap().is_none(),
                "{args:?} does not wait"
            );
            stopped(&mut child, name, code);
        }
    }
}

#[test]
fn what_was_scored_before_a_signal_is_printed() {
    let (server, _scratch) = serve(&[]);
    let samples = samples();
    for (format, rows) in [("json", 2), ("csv", 3)] {
        for (name, code) in CODES {
            // The last of them never comes: somebody has to write it.
            let folder = tempfile::tempdir().unwrap();
            let fifo = folder.path().join("z.png");
            let made = Command::new("mkfifo").arg(&fifo).status();
            assert!(made.unwrap().success());
            let mut command = command(&server);
            command
                .args(["score", "--concurrency", "1", "--format", format])
                .args([
                    samples.join("model-1.png"),
                    samples.join("model-3.png"),
                    fifo.clone(),
                ]);
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // It waits for the third once the first two are scored.
            let writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
            let mut printed = BufReader::new(child.stdout.take().unwrap());
            let mut text = String::new();
            for _ in 0..rows {
                printed.read_line(&mut text).unwrap();
            }
            stopped(&mut child, name, code);
            drop(writer);
            printed.read_to_string(&mut text).unwrap();
            assert_eq!(text.lines().count(), rows, "{format}: {text}");
        }
    }
}

#[test]
fn a_table_is_printed_as_far_as_it_goes() {
    let (server, _scratch) = serve(&[]);
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let images: Vec<_> = (0..20_000).map(|_| samples().join("model-1.png")).collect();
    let lines: String = images
        .iter()
        .map(|path| format!("{}\n", path.display()))
        .collect();
    std::fs::write(&list, lines).unwrap();
    for (name, code) in CODES {
        let before = crate::scored_in_streams(&server);
        let mut command = command(&server);
        command
            .args([
                "score",
                "--concurrency",
                "4",
                "--steps",
                "500",
                "--files-from",
            ])
            .arg(&list);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while crate::scored_in_streams(&server) < before + 20 {
            assert!(Instant::now() < deadline, "nothing is scored");
            thread::sleep(Duration::from_millis(20));
        }
        stopped(&mut child, name, code);
        let output = child.wait_with_output().unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        let rows = table
            .lines()
            .filter(|line| line.contains("model-1.png"))
            .count();
        assert!((1..20_000).contains(&rows), "{name}: {rows} rows");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("stopped: "), "{errors}");
        assert!(
            errors.contains("of 20000 images have no answer"),
            "{errors}"
        );
    }
}
