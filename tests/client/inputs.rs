//! The images that a command line names.

use std::fs;
use std::os::unix::fs::symlink;

use crate::{command, json, json_lines, lfbm, samples, serve, with_input};

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
    for separator in ["\n", "\r\n", "\0"] {
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
fn what_cannot_be_read_keeps_no_image_from_its_score() {
    let (server, scratch) = serve(&[]);
    let folder = scratch.path().join("parts");
    fs::create_dir(&folder).unwrap();
    let image = samples().join("model-1.png");
    fs::copy(&image, folder.join("a.png")).unwrap();
    symlink("nowhere", folder.join("b.png")).unwrap();
    symlink(".", folder.join("loop")).unwrap();
    let walked = command(&server)
        .args(["score", "--json"])
        .arg(&folder)
        .output();
    let list = format!("no-such.png\n{}\n", image.display());
    let listed = with_input(
        command(&server).args(["score", "--json", "--files-from", "-"]),
        list.as_bytes(),
    );
    for (output, expected) in [
        (
            walked.unwrap(),
            &[
                "b.png: a link to a file or folder that is not there",
                "loop: a link to a folder that it is in",
            ][..],
        ),
        (
            listed,
            &["lfbm: no-such.png: there is no such file or folder"],
        ),
    ] {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for expected in expected {
            assert!(
                errors.lines().any(|line| line.ends_with(expected)),
                "{errors}"
            );
        }
        let scores = String::from_utf8_lossy(&output.stdout);
        assert_eq!(scores.lines().count(), 1, "{errors}");
    }
}

#[test]
fn a_list_without_images_is_an_error() {
    let (server, _scratch) = serve(&[]);
    let output = with_input(
        command(&server).args(["score", "--files-from", "-"]),
        b"\n\r\n",
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors, "lfbm: --files-from -: expected images, got none\n");
}
