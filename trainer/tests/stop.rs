//! SIGINT and SIGTERM, whatever a command is doing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use process::{done, fit_strokes, names, signal, start, text, trainer, wait_for_line, wait_until};

const SIGNALS: [(&str, i32); 3] = [("INT", 130), ("TERM", 143), ("HUP", 129)];
/// Nothing ends by itself with so many iterations or steps.
const FOR_EVER: &str = "1000000000";
/// Langevin steps that take as long; no fit takes more.
const ENDLESS_STEPS: &str = "100000";

/// The process ends with the code, and says something.
fn ends(process: Child, code: i32) -> String {
    let output = process.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// A set of signals of a process, as bits: `SigCgt` are those with handlers, `SigIgn` those ignored.
fn signal_set(process: &str, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(set.unwrap().trim_start_matches(':').trim(), 16).unwrap()
}

/// The signals that end a command. Under nohup the tests ignore SIGHUP, and what they start does, too.
fn signals() -> impl Iterator<Item = (&'static str, i32)> {
    let is_ignored = signal_set("self", "SigIgn") & 1 == 1;
    let signals = SIGNALS.into_iter();
    signals.filter(move |(name, _)| *name != "HUP" || !is_ignored)
}

/// Whether the process has handlers for the signals that it does not ignore.
fn catches_signals(process: &Child) -> bool {
    let set = |name| signal_set(&process.id().to_string(), name);
    let handled = set("SigCgt") | set("SigIgn");
    [1, 2, 15]
        .iter()
        .all(|signal| handled >> (signal - 1) & 1 == 1)
}

fn endless(out: &Path) -> Command {
    let iterations = format!("learning.iterations={FOR_EVER}");
    fit_strokes(out, &[&iterations, "run.checkpoint_every=5"])
}

#[test]
fn learning_ends_with_a_checkpoint_and_goes_on() {
    for (name, code) in signals() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("bundle");
        let process = start(&mut endless(&out));
        let checkpoint = folder.path().join("bundle.checkpoint");
        wait_until("a checkpoint", || checkpoint.is_file());
        signal(&process, name);
        let said = ends(process, code);
        assert!(said.contains("--resume") && said.contains("SIG"), "{said}");
        assert_eq!(names(folder.path()), ["bundle.checkpoint"]);

        let mut process = start(endless(&out).arg("--resume"));
        wait_for_line(&mut process, "resumed at iteration");
        signal(&process, name);
        ends(process, code);
    }
}

#[test]
fn a_fit_that_ignores_a_closed_terminal_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let fit = fit_strokes(&folder.path().join("bundle"), &["learning.iterations=300"]);
    shell.arg(fit.get_program()).args(fit.get_args());
    let mut process = start(&mut shell);
    wait_for_line(&mut process, "fitting");
    signal(&process, "HUP");
    assert!(process.wait().unwrap().success());
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let steps = format!("learning.langevin.steps={ENDLESS_STEPS}");
    let mut fit = fit_strokes(&folder.path().join("bundle"), &[&steps]);
    let mut process = start(&mut fit);
    wait_for_line(&mut process, "fitting");
    // It is in its first iteration, or soon will be; what comes before ends at the first signal.
    signal(&process, "INT");
    while process.try_wait().unwrap().is_none() {
        signal(&process, "INT");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    ends(process, 130);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_takes_long_ends_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    done(&mut fit_strokes(&bundle, &[]));
    let slow = format!("inference.steps={ENDLESS_STEPS}");
    // A bundle whose scores take for ever.
    let slow_bundle = folder.path().join("slow");
    done(Command::new("cp").arg("-r").args([&bundle, &slow_bundle]));
    let manifest = slow_bundle.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["langevin"]["steps"] = FOR_EVER.parse::<u64>().unwrap().into();
    fs::write(&manifest, json.to_string()).unwrap();

    let new = folder.path().join("new");
    let report = folder.path().join("report");
    let before = names(folder.path());
    let with_out = |mut command: Command, out: &Path| {
        command.arg("--out").arg(out);
        command
    };
    for (name, code) in signals() {
        let mut export = trainer(["export", "--set", &slow]);
        export.arg(folder.path().join("bundle.checkpoint"));
        let mut calibrate = trainer(["calibrate"]);
        calibrate.arg(&slow_bundle);
        // Both have their folder before they score.
        for command in [export, calibrate] {
            let process = start(&mut with_out(command, &new));
            wait_until("a temporary folder with graphs", || {
                let all = names(folder.path()).into_iter();
                let mut temporary = all.filter(|name| name.starts_with(".lfbm-bundle-"));
                temporary.any(|name| folder.path().join(name).join("weights.bin").is_file())
            });
            signal(&process, name);
            ends(process, code);
            assert_eq!(names(folder.path()), before);
        }
        let mut evaluate = trainer(["evaluate"]);
        evaluate.arg(&slow_bundle);
        let mut process = start(&mut with_out(evaluate, &report));
        wait_for_line(&mut process, "scoring");
        signal(&process, name);
        ends(process, code);
        assert!(names(&report).is_empty(), "{:?}", names(&report));
        fs::remove_dir(&report).unwrap();
        // And while a data set is made.
        let mut drawing = trainer(["baselines", "--dataset", "strokes", "--holdout", "1"]);
        let process = start(drawing.args(["--strokes-count", "10000000"]));
        wait_until("that signals are caught", || catches_signals(&process));
        signal(&process, name);
        ends(process, code);
    }
}

#[test]
fn a_sweep_ends_its_steps_and_goes_on() {
    for (name, code) in signals() {
        let folder = tempfile::tempdir().unwrap();
        let iterations = format!("learning.iterations={FOR_EVER}");
        let settings = [
            "model.latent_dim=4",
            &iterations,
            "learning.batch_size=16",
            "learning.langevin.steps=2",
            "run.checkpoint_every=5",
        ];
        let plan = format!(
            "dataset = \"strokes\"\nholdouts = [\"1\", \"8\"]\nseeds = [3]\n[settings]\nsmall = {settings:?}\n"
        );
        fs::write(folder.path().join("plan.toml"), plan).unwrap();
        let out = folder.path().join("out");
        let mut sweep = trainer(["sweep"]);
        sweep.arg(folder.path().join("plan.toml"));
        let process = start(sweep.args(["--device", "cpu"]).arg("--out").arg(&out));
        let checkpoint = out.join("small-not1-seed3.checkpoint");
        wait_until("a checkpoint", || checkpoint.is_file());
        signal(&process, name);
        ends(process, code);
        let log = fs::read_to_string(out.join("small-not1-seed3.log")).unwrap();
        assert!(log.contains("--resume"), "{log}");
        let expected = ["small-not1-seed3.checkpoint", "small-not1-seed3.log"];
        assert_eq!(
            names(&out),
            expected,
            "the next step was begun, or something is left"
        );
    }
}
