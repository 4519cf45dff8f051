//! Folders of images that `trainer fit` cannot take as they are: what is wrong is said, and what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;
use std::process::Command;

use process::{done, draw, fit_folder, names, refused, trainer};

/// A fit of what a folder says itself.
fn fit(data: &[&str], folder: &Path) -> Command {
    let mut command = trainer(["fit", "--device", "cpu", "--out", "bundle"]);
    command.args(data).current_dir(folder);
    command
}

#[test]
fn a_folder_that_does_not_say_what_is_normal_is_told_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    draw("8", "2", "1", &root.join("plain"));
    for name in [
        "classes/good",
        "set/train/good",
        "set/test/good",
        "half/train/good",
    ] {
        draw("8", "2", "1", &root.join(name));
    }
    draw("4", "2", "1", &root.join("classes/broken"));
    for name in ["empty", "model"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    fs::write(root.join("model/manifest.json"), "{}").unwrap();
    for (data, awaited) in [
        (&[][..], "name the folder"),
        (&["--data-dir", "nope"], "nope: no such folder"),
        (
            &["--data-dir", "nope", "--normal-classes", "good"],
            "nope: no such folder",
        ),
        (&["--data-dir", "plain/strokes-8-0.png"], "it is a file"),
        (&["--data-dir", "empty"], "found none"),
        (&["--data-dir", "model"], "it is a bundle"),
        (
            &["--data-dir", "set/train"],
            "a part of the inspection data set set",
        ),
        (&["--data-dir", "half"], "it has train/good and no test"),
        (&["--data-dir", "plain"], "--normal-classes images"),
        (
            &["--data-dir", "plain", "--normal-classes", "plain"],
            "classes here: \"images\" (the folder has no class folders)",
        ),
        (
            &["--data-dir", "classes"],
            "--normal-classes or --holdout; classes here: \"broken\", \"good\"",
        ),
        (
            &["--data-dir", "classes", "--holdout", "bent"],
            "\"bent\" is no class; classes here: \"broken\", \"good\"",
        ),
    ] {
        let said = refused(&mut fit(data, root));
        assert!(said.contains(awaited), "{data:?}: {said}");
        assert!(!said.contains("fitting"), "{data:?}: {said}");
    }
    assert!(!names(root).contains(&"bundle".to_owned()));
}

#[test]
fn what_images_become_is_told_and_sites_need_large_ones() {
    let folder = tempfile::tempdir().unwrap();
    draw("8", "5", "1", &folder.path().join("classes/good"));
    let fit = |more: &[&str]| {
        let data = ["--data-dir", "classes", "--normal-classes", "good"];
        // Too few images to fit.
        refused(&mut fit(&[&data[..], more].concat(), folder.path()))
    };
    for (more, awaited) in [
        (
            &[][..],
            "images become 28 x 28, grey (0 of 5 looked at have colour)",
        ),
        (&["--channels", "3"], "images become 28 x 28, RGB (0 of 5"),
        (
            &["--representation", "orientations"],
            "images become 256 x 256, grey",
        ),
        (
            &["--representation", "tiles"],
            "images become 256 x 256, grey",
        ),
        (
            &["--representation", "tiles", "--image-size", "64"],
            "images become 64 x 64, grey",
        ),
    ] {
        let said = fit(more);
        assert!(said.contains(awaited), "{more:?}: {said}");
    }
}

#[test]
fn a_fit_that_goes_on_keeps_its_list_of_test_images() {
    let folder = tempfile::tempdir().unwrap();
    let (set, out) = (folder.path().join("set"), folder.path().join("bundle"));
    draw("8", "90", "1", &set.join("train/good"));
    draw("8", "10", "500", &set.join("test/good"));
    draw("4", "3", "1", &set.join("test/broken"));
    let list = |name: &str, part: &str| {
        let path = folder.path().join(name);
        let files = names(&set.join(part)).into_iter().take(10);
        let lines: Vec<_> = files.map(|file| format!("{part}/{file}")).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    let (one, other) = (list("one", "train/good"), list("other", "test/good"));
    let fit = |list: &Path, more: &[&str]| {
        let mut command = fit_folder(&set, &out, &[]);
        command
            .args(["--image-size", "28", "--test-list"])
            .arg(list)
            .args(more);
        command
    };
    done(&mut fit(&one, &[]));
    let again = ["--resume", "--overwrite"];
    let said = refused(&mut fit(&other, &again));
    assert!(
        said.contains("is another one than that of the fit"),
        "{said}"
    );
    done(&mut fit(&one, &again));
}
