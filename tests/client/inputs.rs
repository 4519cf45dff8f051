//! The images that a command line names.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

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
    let bytes = fs::read(&image).unwrap();
    fs::copy(&image, folder.join("a.png")).unwrap();
    fs::write(folder.join("b.png"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.join("c.jpg"), "a text").unwrap();
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
                ["b.png", "the PNG file ends too early"],
                [
                    "c.jpg",
                    "expected a PNG, JPEG, BMP, TIFF or WebP file, got a text",
                ],
            ][..],
        ),
        (
            listed,
            &[["no-such.png", "there is no such file or folder"]],
        ),
    ] {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for parts in expected {
            assert!(
                errors
                    .lines()
                    .any(|line| parts.iter().all(|part| line.contains(part))),
                "{errors}"
            );
        }
        let scores = String::from_utf8_lossy(&output.stdout);
        assert_eq!(scores.lines().count(), 1, "{errors}");
    }
}

#[test]
fn what_is_no_image_of_a_folder_is_counted() {
    let (server, scratch) = serve(&[]);
    let folder = scratch.path().join("parts");
    fs::create_dir_all(folder.join("__MACOSX")).unwrap();
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    let image = samples().join("model-1.png");
    // Content says what a file is.
    fs::copy(&image, folder.join("deep/er/a.jpg")).unwrap();
    fs::copy(&image, folder.join("b")).unwrap();
    for hidden in ["._a.png", "__MACOSX/a.png"] {
        fs::copy(&image, folder.join(hidden)).unwrap();
    }
    fs::write(folder.join("notes.txt"), "a text").unwrap();
    fs::write(folder.join("empty.png"), "").unwrap();
    symlink("nowhere", folder.join("c.png")).unwrap();
    symlink(".", folder.join("loop")).unwrap();
    let made = Command::new("mkfifo").arg(folder.join("pipe.png")).status();
    assert!(made.unwrap().success());
    let output = command(&server)
        .args(["score", "--json"])
        .arg(&folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    for part in [
        "lfbm: left out: 2 hidden, ",
        "1 not an image (",
        "1 empty file (",
        "1 dangling link (",
        "1 link to a folder that it is in (",
        "1 pipe, socket or device (",
    ] {
        assert!(errors.contains(part), "{part:?} in {errors}");
    }
    assert_eq!(json_lines(&output).len(), 2);

    let empty = folder.join("__MACOSX/empty");
    fs::create_dir(&empty).unwrap();
    let output = lfbm(&server, &["score", empty.to_str().unwrap()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("expected images in this folder, found none"),
        "{errors}"
    );
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
