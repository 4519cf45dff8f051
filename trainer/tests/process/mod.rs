//! The trainer as a process, on fits that take seconds.

#![allow(dead_code)] // Not every test uses everything.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Settings of a fit that takes seconds.
const SMALL: [&str; 5] = [
    "model.latent_dim=4",
    "learning.iterations=20",
    "learning.batch_size=16",
    "learning.langevin.steps=2",
    "inference.steps=2",
];
/// The same, of the sites of images.
const SMALL_SITES: [&str; 8] = [
    "model.latent_dim=4",
    "model.width=16",
    "learning.iterations=40",
    "learning.batch_size=64",
    "learning.langevin.steps=3",
    "inference.steps=2",
    "inference.noise_free_steps=2",
    "calibration.sites=300",
];
/// For what takes seconds, on a machine that has other work.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn trainer<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(arguments).env_remove("LFBM_DATA_DIR");
    command
}

fn fit(data: &[&str], out: &Path, changes: &[&str]) -> Command {
    let mut command = trainer(["fit", "--device", "cpu"]);
    command.args(data).arg("--out").arg(out);
    for change in SMALL.iter().chain(changes) {
        command.args(["--set", change]);
    }
    command.args(["--set", "inference.noise_free_steps=0"]);
    command
}

/// A fit of drawn digits without the 1.
pub fn fit_strokes(out: &Path, changes: &[&str]) -> Command {
    let data = ["--dataset", "strokes", "--strokes-count", "400"];
    fit(&[&data[..], &["--holdout", "1"]].concat(), out, changes)
}

/// A fit of the class `good` of a folder.
pub fn fit_folder(folder: &Path, out: &Path, changes: &[&str]) -> Command {
    let folder = folder.to_str().unwrap();
    let data = ["--dataset", "images", "--data-dir", folder];
    let data = [&data[..], &["--normal-classes", "good"]].concat();
    fit(&data, out, changes)
}

/// A fit of the sites of drawn cloth.
pub fn fit_cloth(set: &Path, representation: &str, out: &Path, changes: &[&str]) -> Command {
    let mut command = trainer(["fit", "--device", "cpu", "--image-size", "64"]);
    command.args(["--representation", representation, "--data-dir"]);
    command.arg(set).arg("--out").arg(out);
    for change in SMALL_SITES.iter().chain(changes) {
        command.args(["--set", change]);
    }
    command
}

/// Draws digits into a folder.
pub fn draw(digit: &str, count: &str, seed: &str, folder: &Path) {
    let mut command = trainer(["draw", "--digit", digit, "--count", count, "--seed", seed]);
    done(command.arg("--out").arg(folder));
}

/// What a command says that must succeed: standard output, then errors.
pub fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// What a command says that must fail.
pub fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    text(&output)
}

pub fn text(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until `happened`.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads what the process says on standard error until it says `awaited`.
pub fn wait_for_line(child: &mut Child, awaited: &str) {
    let errors = child.stderr.as_mut().unwrap();
    let (mut said, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&said).contains(awaited) {
        let read = errors.read(&mut byte).unwrap();
        assert_eq!(
            read,
            1,
            "{awaited:?} never came: {}",
            String::from_utf8_lossy(&said)
        );
        said.push(byte[0]);
    }
}

pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid])
        .status();
    assert!(status.unwrap().success());
}

/// Names in a folder, hidden ones too.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
