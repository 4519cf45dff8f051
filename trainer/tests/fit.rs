//! `trainer fit` as its users meet it: a process that is stopped, goes on, and gets things wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lfbm_bundle::Bundle;
use lfbm_trainer::record::TrainingRecord;
use lfbm_trainer::settings::FloatType;

/// A fit of the held-out digit 1 that takes seconds.
fn fit(out: &Path, changes: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .args(["fit", "--dataset", "strokes", "--strokes-count", "600"])
        .args(["--holdout", "1", "--device", "cpu", "--out"])
        .arg(out);
    let small = [
        "model.latent_dim=4",
        "learning.iterations=200",
        "learning.batch_size=16",
        "learning.langevin.steps=5",
        "calibration.count=50",
        "run.checkpoint_every=5",
    ];
    for change in small.iter().chain(changes) {
        command.args(["--set", change]);
    }
    command
}

fn weights(bundle: &Path) -> Vec<u8> {
    Bundle::open(bundle).unwrap();
    fs::read(bundle.join("weights.bin")).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_result_of_an_unbroken_one() {
    stop_and_go_on(&[]);
}

#[test]
fn a_run_with_an_encoder_goes_on_to_the_result_of_an_unbroken_one() {
    let updates = "learning.vae.updates_per_iteration=2";
    stop_and_go_on(&["learning.inference=vae", updates]);
}

#[test]
fn a_run_with_an_energy_goes_on_to_the_result_of_an_unbroken_one() {
    stop_and_go_on(&["model.prior=ebm", "model.ebm.sampling.steps=5"]);
}

#[test]
fn a_run_with_a_gaussian_goes_on_to_the_result_of_an_unbroken_one() {
    stop_and_go_on(&["model.prior=gaussian"]);
}

fn stop_and_go_on(changes: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let output = fit(&whole, changes).output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));

    let checkpoint = folder.path().join("broken.checkpoint");
    let process = fit(&broken, changes)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !checkpoint.is_file() {
        assert!(Instant::now() < deadline, "no checkpoint after a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    let stopped = Command::new("kill")
        .args(["-INT", &process.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(errors(&output).contains("--resume"), "{}", errors(&output));
    assert!(!broken.exists(), "a stopped run wrote a bundle");

    let output = fit(&broken, &[changes, &["seed=1"]].concat())
        .arg("--resume")
        .output()
        .unwrap();
    assert!(!output.status.success(), "other settings were resumed");

    assert!(
        errors(&output).contains("settings: seed is 1 now, and 0 there; resume"),
        "{}",
        errors(&output)
    );

    // How often checkpoints are written changes nothing that is learned.
    let output = fit(&broken, &[changes, &["run.checkpoint_every=7"]].concat())
        .arg("--resume")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    assert!(errors(&output).contains("resumed at iteration"));
    assert_eq!(weights(&broken), weights(&whole));

    let exported = folder.path().join("exported");
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("export")
        .arg(&checkpoint)
        .arg("--out")
        .arg(&exported)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(weights(&exported), weights(&whole));
}

#[test]
fn weights_take_half_the_bytes_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = |name: &str, changes: &[&str]| {
        let out = folder.path().join(name);
        let short = ["learning.iterations=20"];
        let output = fit(&out, &[&short, changes].concat()).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
        Bundle::open(&out).unwrap()
    };
    let half = bundle("half", &[]);
    let single = bundle("single", &["export.weights=float32"]);
    let [small, large] = [&half, &single].map(|bundle| weights(bundle.dir()).len());
    assert!(small * 3 < large * 2, "{small} bytes of {large}");
    for (bundle, expected) in [(&half, FloatType::Float16), (&single, FloatType::Float32)] {
        let record = TrainingRecord::read(bundle.manifest()).unwrap();
        assert_eq!(record.settings.unwrap().export.weights, expected);
    }
    // The calibration is of what is stored.
    let [half, single] =
        [&half, &single].map(|bundle| bundle.calibration().log_likelihood().to_vec());
    assert_ne!(half, single);
}

#[test]
fn a_run_that_diverges_says_where_and_writes_no_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let output = fit(&out, &["learning.generator_learning_rate=1e30"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(errors(&output).contains("iteration"), "{}", errors(&output));
    assert!(!out.exists());
}

#[test]
fn mistakes_are_named_before_anything_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    let output = fit(&out, &["learning.batch_size=100000"]).output().unwrap();
    assert!(errors(&output).contains("lower it, to --set learning.batch_size="));

    for name in ["a b", ".a", ""] {
        let output = fit(&out, &[]).args(["--name", name]).output().unwrap();
        assert!(
            errors(&output).contains("letters, digits"),
            "{name}: {}",
            errors(&output)
        );
    }
    let mask = [
        "learning.incomplete.mask=salt-and-pepper:0.0001",
        "model.contrast_norm=0",
    ];
    let output = fit(&out, &mask).output().unwrap();
    assert!(
        errors(&output).contains("hides no pixel"),
        "{}",
        errors(&output)
    );
    for flag in [
        ["--image-size", "64"],
        ["--channels", "3"],
        ["--crop", "9"],
        ["--fit", "pad"],
    ] {
        let output = fit(&out, &[]).args(flag).output().unwrap();
        let said = errors(&output);
        assert!(!output.status.success() && said.contains(flag[0]), "{said}");
        assert!(said.contains("for folders of images"), "{said}");
    }
    assert!(!out.exists());

    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let output = fit(&out, &[]).arg("--overwrite").output().unwrap();
    assert!(
        !output.status.success(),
        "a folder that is no bundle was replaced"
    );
    assert!(out.join("notes.txt").is_file());
}

#[test]
fn a_batch_may_be_of_one_image() {
    let folder = tempfile::tempdir().unwrap();
    for size in [1, 2, 3] {
        let size = format!("learning.batch_size={size}");
        let changes = [size.as_str(), "learning.iterations=20"];
        let output = fit(&folder.path().join(&size), &changes).output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    }
}

#[test]
fn without_files_and_network_one_sentence_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["fit", "--dataset", "mnist", "--holdout", "4", "--out"])
        .arg(folder.path().join("bundle"))
        .env("XDG_CACHE_HOME", folder.path())
        // Nothing listens on the port for discarding.
        .env("LFBM_MNIST_URL", "http://127.0.0.1:9/mnist")
        .env_remove("LFBM_DATA_DIR")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let message = errors(&output);
    assert!(
        message.contains("127.0.0.1:9") && message.contains("--data-dir"),
        "{message}"
    );
    assert!(
        !folder
            .path()
            .join("lfbm/mnist/train-images-idx3-ubyte")
            .exists()
    );
}
