//! Places for what commands make are made, or refused before any work; work that is done is not lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use lfbm_bundle::Bundle;
use lfbm_trainer::record::TrainingRecord;
use process::{done, draw, fit_folder, fit_strokes, names, refused, start, trainer, wait_until};

#[test]
fn folders_that_are_missing_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("not/there/yet");
    let checkpoint = folder.path().join("nor/this/one.checkpoint");
    done(fit_strokes(&out, &[]).arg("--checkpoint").arg(&checkpoint));
    assert!(checkpoint.is_file());
    Bundle::open(&out).unwrap();
    let report = folder.path().join("a/b/report");
    done(trainer(["evaluate"]).arg(&out).arg("--out").arg(&report));
    assert!(report.join("scores.csv").is_file());
}

#[test]
fn a_place_of_no_use_is_refused_before_the_first_iteration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let link = folder.path().join("link");
    symlink(folder.path().join("nowhere"), &link).unwrap();
    symlink(folder.path(), folder.path().join("here")).unwrap();
    fs::write(folder.path().join("old.checkpoint"), "a fit").unwrap();
    let fit = |out: &str, checkpoint: Option<&str>| {
        let mut command = fit_strokes(out.as_ref(), &[]);
        command.current_dir(folder.path());
        if let Some(checkpoint) = checkpoint {
            command.args(["--checkpoint", checkpoint]);
        }
        command
    };
    for (out, checkpoint, awaited) in [
        ("file", None, "file"),
        ("file/below", None, "file cannot be written to"),
        (".", None, "./NAME"),
        ("..", None, "./NAME"),
        ("link", None, "is a link"),
        ("new", Some("file/below"), "file cannot be written to"),
        ("new", Some("."), "no name for a file"),
        ("new", Some("new"), "would be where the bundle comes to"),
        (
            "new",
            Some("here/new/a"),
            "would be where the bundle comes to",
        ),
        (
            "new",
            Some("no/../new/a"),
            "would be where the bundle comes to",
        ),
        (
            "new",
            Some("./new/checkpoint"),
            "would be where the bundle comes to",
        ),
        ("old", None, "--resume"),
    ] {
        let said = refused(&mut fit(out, checkpoint));
        assert!(said.contains(awaited), "{out} {checkpoint:?}: {said}");
        assert!(!said.contains("fitting"), "{out} {checkpoint:?}: {said}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert_eq!(
        names(folder.path()),
        ["file", "here", "link", "old.checkpoint"]
    );
}

#[test]
fn a_bundle_does_not_come_among_the_images_of_its_fit() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    draw("8", "2", "1", &images.join("good"));
    symlink(&images, folder.path().join("link")).unwrap();
    for out in ["images/bundle", "link/bundle", "images"] {
        let said = refused(&mut fit_folder(&images, &folder.path().join(out), &[]));
        assert!(!said.contains("fitting"), "{said}");
        assert!(said.contains("--out") || out == "images", "{said}");
    }
    assert_eq!(names(&images), ["good"]);
}

#[test]
fn only_a_checkpoint_is_replaced_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let photograph = folder.path().join("photograph.png");
    fs::write(&photograph, "mine").unwrap();
    let out = folder.path().join("bundle");
    let mut fit = fit_strokes(&out, &[]);
    fit.arg("--overwrite").arg("--checkpoint").arg(&photograph);
    let said = refused(&mut fit);
    assert!(said.contains("cannot be read as a checkpoint"), "{said}");
    assert_eq!(fs::read(&photograph).unwrap(), b"mine");
    for overwrite in [&[][..], &["--overwrite"]] {
        done(fit_strokes(&out, &[]).args(overwrite));
    }
}

#[test]
fn a_data_set_is_not_drawn_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let [digits, cloth] = ["digits", "cloth"].map(|name| folder.path().join(name));
    fs::create_dir(&digits).unwrap();
    fs::write(digits.join("t10k-images-idx3-ubyte.gz"), "mine").unwrap();
    let said = refused(trainer(["draw", "--idx", "--out"]).arg(&digits));
    assert!(
        said.contains("t10k-images-idx3-ubyte.gz is there"),
        "{said}"
    );
    assert_eq!(names(&digits), ["t10k-images-idx3-ubyte.gz"]);

    let draw = ["draw", "--cloth", "--cloth-size", "32x32", "--out"];
    fs::create_dir_all(cloth.join("test")).unwrap();
    let said = refused(trainer(draw).arg(&cloth));
    assert!(said.contains("test is there"), "{said}");
    assert_eq!(names(&cloth), ["test"]);
}

#[test]
fn numbers_that_no_memory_has_room_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["draw", "--digit", "8", "--count", "100000000000"][..],
        &["synthesize", "bundle", "--columns", "1000000"],
        &["synthesize", "bundle", "--count", "4000000000"],
        &["inpaint", "bundle", "--chains", "4000000000"],
        &["fid", "bundle", "--count", "4000000000"],
    ] {
        let mut command = trainer([]);
        command.args(arguments).current_dir(folder.path());
        if arguments[0] != "fid" {
            command.args(["--out", "out"]);
        }
        let output = command.output().unwrap();
        let said = process::text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("is not in"), "{arguments:?}: {said}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn names_that_are_too_long_are_refused_before_the_first_iteration() {
    let folder = tempfile::tempdir().unwrap();
    // The second one is short enough itself; its temporary files are not.
    for length in [300, 250] {
        let said = refused(&mut fit_strokes(
            &folder.path().join("a".repeat(length)),
            &[],
        ));
        assert!(said.contains("ame too long"), "{said}");
        assert!(!said.contains("fitting"), "{said}");
    }
    assert!(names(folder.path()).is_empty());
}

/// The command, in a shell where no file grows beyond so many blocks of 512 bytes.
fn with_small_files(command: &Command, blocks: u32) -> Command {
    let mut shell = Command::new("sh");
    let limit = format!("ulimit -f {blocks}; exec \"$@\"");
    shell.args(["-c", &limit, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn a_disk_without_room_is_found_before_the_first_iteration() {
    let folder = tempfile::tempdir().unwrap();
    let fit = fit_strokes(&folder.path().join("bundle"), &[]);
    let said = refused(&mut with_small_files(&fit, 100));
    assert!(said.contains("does not fit at"), "{said}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn pictures_that_do_not_fit_on_the_disk_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = trainer(["draw", "--digit", "3", "--count", "3"]);
    draw.arg("--out").arg(folder.path().join("digits"));
    let said = refused(&mut with_small_files(&draw, 0));
    assert!(said.contains("too large"), "{said}");
}

#[test]
fn every_command_refuses_a_place_of_no_use_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    done(&mut fit_strokes(&bundle, &[]));
    fs::write(folder.path().join("file"), "mine").unwrap();
    let plan = "dataset = \"strokes\"\nholdouts = [\"1\"]\nseeds = [1]\n[settings]\nsmall = []\n";
    fs::write(folder.path().join("plan.toml"), plan).unwrap();
    let before = names(folder.path());
    for arguments in [
        &["evaluate", "bundle"][..],
        &["reconstruct", "bundle"],
        &["inpaint", "bundle"],
        &["synthesize", "bundle"],
        &["calibrate", "bundle"],
        &["export", "bundle.checkpoint"],
        &["draw", "--digit", "3"],
        &["sweep", "plan.toml"],
    ] {
        for out in ["file", "file/below"] {
            let mut command = trainer([]);
            command
                .args(arguments)
                .args(["--out", out])
                .current_dir(folder.path());
            let said = refused(&mut command);
            assert!(said.contains("file"), "{arguments:?}: {said}");
        }
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_bundle_goes_where_a_link_points_to() {
    let folder = tempfile::tempdir().unwrap();
    let [target, link] = ["target", "link"].map(|name| folder.path().join(name));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    done(&mut fit_strokes(&link, &[]));
    Bundle::open(&target).unwrap();
    assert!(link.is_symlink());
}

/// A fit that is slow enough to be met while it learns.
fn long(folder: &std::path::Path) -> Command {
    let changes = ["learning.iterations=300", "run.checkpoint_every=5"];
    fit_strokes(&folder.join("bundle"), &changes)
}

#[test]
fn what_was_learned_is_kept_elsewhere_when_its_place_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let mut fit = long(&place);
    let process = start(fit.env("TMPDIR", elsewhere.path()));
    wait_until("a checkpoint", || place.join("bundle.checkpoint").is_file());
    // As a disk is that is full or gone: nothing can be written there any more.
    while fs::remove_dir_all(&place).is_err() {}
    fs::write(&place, "").unwrap();
    let output = process.wait_with_output().unwrap();
    let said = process::text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let mut kept = names(elsewhere.path());
    kept.retain(|name| name.ends_with(".checkpoint"));
    let [kept] = &kept[..] else {
        panic!("{kept:?}: {said}");
    };
    let kept = elsewhere.path().join(kept);
    let command = format!("trainer export {}", kept.display());
    assert!(said.contains(&command), "{said}");
    let out = elsewhere.path().join("bundle");
    done(trainer(["export"]).arg(&kept).arg("--out").arg(&out));
    let record = TrainingRecord::read(Bundle::open(&out).unwrap().manifest()).unwrap();
    assert_eq!(record.iterations, Some(300));
}

#[test]
fn a_name_that_is_taken_while_learning_stays_who_took_it() {
    let folder = tempfile::tempdir().unwrap();
    let process = start(&mut long(folder.path()));
    let checkpoint = folder.path().join("bundle.checkpoint");
    wait_until("a checkpoint", || checkpoint.is_file());
    let taken = folder.path().join("bundle");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("notes.txt"), "mine").unwrap();
    let output = process.wait_with_output().unwrap();
    let said = process::text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("trainer export"), "{said}");
    assert_eq!(fs::read(taken.join("notes.txt")).unwrap(), b"mine");
    let out = folder.path().join("elsewhere");
    done(trainer(["export"]).arg(&checkpoint).arg("--out").arg(&out));
    assert_eq!(
        names(folder.path()),
        ["bundle", "bundle.checkpoint", "elsewhere"]
    );
}
