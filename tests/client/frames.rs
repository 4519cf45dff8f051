//! Frames that come through a pipe, as ffmpeg sends them.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::process::{Output, Stdio};

use image::ImageFormat;
use serde_json::Value;

use crate::common::Server;
use crate::{command, json_lines, lfbm, samples, serve, with_input};

/// The samples as PNG files, by name.
fn pictures() -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(samples())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "png"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn as_jpeg(picture: &[u8]) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let image = image::load_from_memory(picture).unwrap();
    image.write_to(&mut file, ImageFormat::Jpeg).unwrap();
    file.into_inner()
}

fn score_frames(server: &Server, flags: &[&str], stream: &[u8]) -> Output {
    let mut command = command(server);
    command.args(["score", "--frames", "-"]).args(flags);
    with_input(&mut command, stream)
}

fn column(lines: &[Value], name: &str) -> Vec<Value> {
    lines.iter().map(|line| line[name].clone()).collect()
}

#[test]
fn frames_have_the_scores_of_the_same_files_in_their_order() {
    let (server, scratch) = serve(&[]);
    let pictures = pictures();
    let jpegs: Vec<_> = pictures.iter().map(|picture| as_jpeg(picture)).collect();
    for frames in [pictures, jpegs] {
        let folder = scratch.path().join("frames");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (index, frame) in frames.iter().enumerate() {
            fs::write(folder.join(format!("{index:02}")), frame).unwrap();
        }
        let files = json_lines(&lfbm(
            &server,
            &["score", "--json", folder.to_str().unwrap()],
        ));
        let scored = json_lines(&score_frames(&server, &[], &frames.concat()));
        assert_eq!(scored.len(), 12);
        assert_eq!(column(&scored, "log_joint"), column(&files, "log_joint"));
        let names: Vec<_> = (1..=12).map(|number| format!("frame {number}")).collect();
        assert_eq!(column(&scored, "image"), names);

        let few = json_lines(&score_frames(&server, &["--every", "5"], &frames.concat()));
        assert_eq!(column(&few, "image"), ["frame 1", "frame 6", "frame 11"]);
        assert_eq!(few[1]["log_joint"], files[5]["log_joint"]);
    }
}

#[test]
fn a_frame_is_scored_while_the_stream_goes_on() {
    let (server, _scratch) = serve(&[]);
    let mut command = command(&server);
    let mut child = command
        .args(["score", "--frames=-", "--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    for (index, picture) in pictures().iter().enumerate() {
        input.write_all(picture).unwrap();
        if index == 0 {
            let header = output.next().unwrap().unwrap();
            assert!(header.starts_with("image,"), "{header}");
        }
        let row = output.next().unwrap().unwrap();
        let expected = format!("frame {},", index + 1);
        assert!(row.starts_with(&expected), "{row}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_stream_that_breaks_off_has_its_scores_so_far_and_a_reason() {
    let (server, _scratch) = serve(&[]);
    let pictures = pictures();
    let [first, second] = [&pictures[0][..], &pictures[1][..]];
    let large = (first.len() + second.len()).to_string();
    let larger = fs::read(samples().join("../../docs/console.png")).unwrap();
    for (stream, flags, scores, reason) in [
        (
            [first, &second[..second.len() - 3]].concat(),
            &[][..],
            1,
            "lfbm: frame 2: the input ends within this PNG image",
        ),
        (
            [first, second, b"--boundary\r\n", first].concat(),
            &[],
            2,
            "lfbm: frame 3: expected a PNG or JPEG image at byte",
        ),
        (
            [first, &larger, second].concat(),
            &["--max-frame-bytes", &large],
            1,
            "lfbm: frame 2: expected a PNG image of at most",
        ),
        (
            Vec::new(),
            &[],
            0,
            "lfbm: --frames -: expected images, got none",
        ),
    ] {
        let output = score_frames(&server, flags, &stream);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(reason), "{reason:?} in {errors}");
        let scored = String::from_utf8_lossy(&output.stdout);
        assert_eq!(scored.lines().count(), scores, "{errors}");
    }
}

#[test]
fn a_damaged_frame_keeps_no_other_from_its_score() {
    let (server, _scratch) = serve(&[]);
    let pictures = pictures();
    let mut damaged = pictures[1].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    let stream = [&pictures[0][..], &damaged, &pictures[2]].concat();
    let output = score_frames(&server, &[], &stream);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("lfbm: frame 2: INVALID_ARGUMENT: "),
        "{errors}"
    );
    assert!(errors.contains("1 of 3 frames have no answer"), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
}

#[test]
fn frames_go_with_no_files_and_no_table() {
    let (server, _scratch) = serve(&[]);
    for (flags, code, reason) in [
        (
            &["score", "--frames", "-", "a.png"][..],
            2,
            "cannot be used with",
        ),
        (
            &["score", "--every", "2", "a.png"],
            2,
            "cannot be used with",
        ),
        (&["score"], 2, "required"),
        (
            &["score", "--frames", "-", "--format", "table"],
            1,
            "expected json or csv with --frames",
        ),
        (
            &["score", "--frames", "no-such-pipe"],
            1,
            "--frames no-such-pipe: ",
        ),
    ] {
        let output = lfbm(&server, flags);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {errors}");
        assert!(errors.contains(reason), "{flags:?}: {errors}");
    }
}
