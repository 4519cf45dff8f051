//! `lfbm watch`: every file once, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{self, Server};
use crate::{command, samples, serve, signal};

/// What a busy machine may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is watched, and what comes of it.
pub(crate) struct Place {
    scratch: TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) out: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("parts");
        fs::create_dir(&folder).unwrap();
        let out = scratch.path().join("scores.jsonl");
        Self {
            scratch,
            folder,
            out,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn put(&self, name: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(samples().join("model-1.png"), path).unwrap();
    }

    /// Starts to watch; standard error goes to a file.
    pub(crate) fn watch(&self, mut command: Command, flags: &[&str]) -> Watcher {
        let errors = File::options()
            .append(true)
            .create(true)
            .open(self.file("errors"))
            .unwrap();
        let quick = [["--settle-s", "0.2"], ["--rescan-s", "0.5"]];
        let missing = quick.iter().filter(|[name, _]| !flags.contains(name));
        let child = command
            .arg("watch")
            .arg(&self.folder)
            .arg("--out")
            .arg(&self.out)
            .args(missing.flatten())
            .args(flags)
            .stderr(errors)
            .spawn()
            .unwrap();
        Watcher(child)
    }

    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(self.file("errors")).unwrap_or_default()
    }

    /// The whole lines of the output.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The images of the lines.
    fn images(&self) -> Vec<String> {
        let image = |line: &Value| line["image"].as_str().unwrap().to_owned();
        self.lines().iter().map(image).collect()
    }

    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            let errors = self.errors();
            assert!(
                Instant::now() < deadline,
                "not within a minute: {what}: {errors}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn until_lines(&self, count: usize) {
        self.until(&format!("{count} lines"), || self.lines().len() >= count);
    }
}

/// A running `lfbm watch`; killed on drop.
pub(crate) struct Watcher(Child);

impl Watcher {
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn terminate(mut self) -> ExitStatus {
        signal(&self.0, "TERM");
        self.0.wait().unwrap()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts files into a folder in all the ways that people do, while the watcher is killed again and again.
fn every_file_once(kills: usize) {
    const FILES: usize = 10;
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    let picture = fs::read(samples().join("model-1.png")).unwrap();
    let mut expected = BTreeSet::new();
    for kill in 0..kills {
        let watcher = place.watch(command(&server), &["--concurrency", "3"]);
        let pause = Duration::from_millis(rand::rng().random_range(0..500));
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            watcher.kill();
        });
        for index in 0..FILES {
            let name = format!("round-{kill}/{index}.png");
            let path = place.folder.join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if index % 2 == 0 {
                let draft = path.with_file_name(".draft");
                fs::write(&draft, &picture).unwrap();
                fs::rename(&draft, &path).unwrap();
            } else {
                fs::write(&path, &picture).unwrap();
            }
            thread::sleep(Duration::from_millis(5));
            expected.insert(name);
        }
        killer.join().unwrap();
        if kill % 3 == 0 {
            // As if the kill had come within a write.
            let mut out = File::options()
                .append(true)
                .create(true)
                .open(&place.out)
                .unwrap();
            out.write_all(b"{\"compute_s\":0.01,\"ima").unwrap();
        }
    }
    let watcher = place.watch(command(&server), &[]);
    place.until_lines(expected.len());
    // Whatever comes twice comes now.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(watcher.terminate().code(), Some(0), "{}", place.errors());
    let images = place.images();
    assert_eq!(images.len(), expected.len());
    assert_eq!(images.into_iter().collect::<BTreeSet<_>>(), expected);
    let text = fs::read_to_string(&place.out).unwrap();
    assert!(text.ends_with('\n'));
    for line in place.lines() {
        assert!(line["log_joint"].is_f64(), "{line}");
        assert_eq!(line["size_bytes"], picture.len());
    }
}

#[test]
fn every_file_has_one_line_however_often_the_watcher_is_killed() {
    every_file_once(20);
}

#[test]
#[ignore = "takes a minute; `cargo test --workspace --test client -- --ignored` runs it"]
fn every_file_has_one_line_after_a_hundred_kills() {
    every_file_once(100);
}

#[test]
fn a_file_is_scored_when_its_writer_is_done() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    let picture = fs::read(samples().join("model-1.png")).unwrap();
    let _watcher = place.watch(command(&server), &["--settle-s", "1"]);
    place.until("it watches", || place.errors().contains("watching"));
    place.put("before.png");
    place.until_lines(1);
    let mut file = File::create(place.folder.join("slow.png")).unwrap();
    file.write_all(&picture[..picture.len() / 2]).unwrap();
    // Longer than a file must stay the same that nobody is known to write.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(place.images(), ["before.png"]);
    file.write_all(&picture[picture.len() / 2..]).unwrap();
    drop(file);
    place.until_lines(2);
    assert!(place.lines()[1]["log_joint"].is_f64());
}

#[test]
fn a_file_that_is_written_again_is_scored_again() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    place.put("a.png");
    let watcher = place.watch(command(&server), &[]);
    place.until_lines(1);
    fs::copy(
        samples().join("strokes-4-0.png"),
        place.folder.join("a.png"),
    )
    .unwrap();
    place.until_lines(2);
    // A move gives another name, and is another file.
    fs::rename(place.folder.join("a.png"), place.folder.join("b.png")).unwrap();
    place.until_lines(3);
    drop(watcher);
    let watcher = place.watch(command(&server), &[]);
    place.put("c.png");
    place.until_lines(4);
    assert_eq!(watcher.terminate().code(), Some(0));
    assert_eq!(place.images(), ["a.png", "a.png", "b.png", "c.png"]);
    let lines = place.lines();
    assert_ne!(lines[0]["log_joint"], lines[1]["log_joint"]);
    assert_eq!(lines[1]["log_joint"], lines[2]["log_joint"]);
    let ids: BTreeSet<_> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn what_cannot_be_scored_has_one_line_with_its_error() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    fs::write(place.folder.join("text.png"), "a text").unwrap();
    let picture = fs::read(samples().join("model-1.png")).unwrap();
    fs::write(place.folder.join("torn.png"), &picture[..picture.len() / 2]).unwrap();
    fs::write(place.folder.join("notes.txt"), "a text").unwrap();
    fs::write(place.folder.join(".hidden.png"), &picture).unwrap();
    fs::write(place.folder.join("empty.png"), "").unwrap();
    for other in ["first.png", "second.png"] {
        let watcher = place.watch(command(&server), &[]);
        place.put(other);
        place.until(other, || place.images().contains(&other.to_owned()));
        place.until_lines(3);
        assert_eq!(watcher.terminate().code(), Some(0));
    }
    let mut errors: Vec<_> = place
        .lines()
        .iter()
        .filter_map(|line| {
            let error = line["error"].as_str()?;
            Some((line["image"].as_str()?.to_owned(), error.to_owned()))
        })
        .collect();
    errors.sort();
    assert_eq!(place.lines().len(), 4);
    let [(text, why_text), (torn, why_torn)] = &errors[..] else {
        panic!("{errors:?}");
    };
    assert_eq!([text, torn], ["text.png", "torn.png"]);
    assert!(why_text.contains("got a text"), "{why_text}");
    assert!(why_torn.contains("ends too early"), "{why_torn}");
}

#[test]
fn an_image_whose_chains_diverge_has_a_line_and_the_next_is_scored() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    place.put("a.png");
    let watcher = place.watch(command(&server), &["--step-size", "1e30"]);
    place.until_lines(1);
    place.put("b.png");
    place.until_lines(2);
    assert_eq!(watcher.terminate().code(), Some(0));
    for line in place.lines() {
        let error = line["error"].as_str().unwrap_or_default();
        assert!(error.contains("diverged"), "{line}");
    }
}

#[test]
fn parameters_that_the_server_refuses_end_it_before_any_line() {
    let (server, _scratch) = serve(&[]);
    for (flags, reason) in [
        (&["--chains", "0"][..], "inference.chains"),
        (&["--model", "another"], "there is no model another"),
    ] {
        let place = Place::new();
        place.put("a.png");
        let mut watcher = place.watch(command(&server), flags);
        assert_eq!(watcher.0.wait().unwrap().code(), Some(1));
        assert!(place.errors().contains(reason), "{}", place.errors());
        assert!(place.lines().is_empty());
    }
}

#[test]
fn two_watchers_do_not_share_an_output() {
    let (server, _scratch) = serve(&[]);
    let place = Place::new();
    place.put("a.png");
    let _watcher = place.watch(command(&server), &[]);
    place.until_lines(1);
    let second = command(&server)
        .arg("watch")
        .arg(&place.folder)
        .arg("--out")
        .arg(&place.out)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("another lfbm watch writes to this file"),
        "{errors}"
    );
    assert_eq!(place.lines().len(), 1);
}

/// A server at an address that it had before.
fn serve_at(address: &str, scratch: &Path) -> Server {
    let mut command = common::command(&crate::repository().join("models/mnist-not4"));
    command
        .env("LFBM_GRPC_ADDRESS", address)
        .stderr(Stdio::null());
    Server::spawn(command, scratch)
}

#[test]
fn nothing_is_lost_while_the_server_is_away() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let place = Place::new();
    place.put("a.png");
    let mut client = Command::new(common::binary("lfbm"));
    client.args(["--server", &address]);
    let watcher = place.watch(client, &[]);
    place.until("it waits", || place.errors().contains("trying again"));
    for (lines, name) in [(1, "b.png"), (2, "c.png")] {
        let server = serve_at(&address, place.folder.parent().unwrap());
        place.until_lines(lines);
        drop(server);
        place.put(name);
    }
    let _server = serve_at(&address, place.folder.parent().unwrap());
    place.until_lines(3);
    assert_eq!(watcher.terminate().code(), Some(0));
    assert_eq!(place.images(), ["a.png", "b.png", "c.png"]);
    assert!(place.errors().contains("the server answers again"));
}
