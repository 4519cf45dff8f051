//! Images that the server makes.

use std::fs;

use crate::{command, json, json_lines, lfbm, samples, serve, stdout, with_input};

#[test]
fn images_that_are_made_lie_next_to_the_originals_and_are_not_taken_for_originals() {
    let (server, scratch) = serve(&[]);
    let folder = scratch.path().join("parts");
    fs::create_dir(&folder).unwrap();
    fs::copy(samples().join("strokes-4-2.png"), folder.join("part.png")).unwrap();
    let parts = folder.to_str().unwrap();
    let original = image::open(folder.join("part.png")).unwrap().to_luma8();

    let explain = [
        "explain",
        "--json",
        "--reconstruction",
        "--chains",
        "2",
        parts,
    ];
    let explained = json(&lfbm(&server, &explain));
    let heatmap = folder.join("part.heatmap.png");
    assert_eq!(explained["heatmap"], heatmap.to_str().unwrap());
    assert_eq!(explained["chains"].as_array().unwrap().len(), 2);
    for made in ["part.heatmap.png", "part.reconstruction.png"] {
        let made = image::open(folder.join(made)).unwrap();
        assert_eq!((made.width(), made.height()), original.dimensions());
    }

    let hidden = ["--hide", "0,20,28,8", "--hide", "0,0,4,28"];
    let inpaint = [&["inpaint", "--json", "--chains", "3", parts], &hidden[..]].concat();
    let completed = json(&lfbm(&server, &inpaint));
    let completions = completed["completions"].as_array().unwrap();
    let scores: Vec<_> = completions
        .iter()
        .map(|completion| completion["log_joint"].as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.iter().rev().is_sorted(), "{completed}");
    for rank in 1..=3 {
        let made = image::open(folder.join(format!("part.inpainted-{rank}.png")));
        let made = made.unwrap().to_luma8();
        let visible = |x: u32, y: u32| x >= 4 && y < 20;
        for (x, y, pixel) in original.enumerate_pixels() {
            assert!(!visible(x, y) || made.get_pixel(x, y) == pixel, "{x}, {y}");
        }
    }

    let elsewhere = scratch.path().join("new/out");
    let out = ["explain", "--out", elsewhere.to_str().unwrap(), parts];
    let table = stdout(&lfbm(&server, &out));
    // The score, and the chain.
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(table.contains("verdict"), "{table}");
    assert!(elsewhere.join("part.heatmap.png").is_file());
    let below = folder.join("below");
    fs::create_dir(&below).unwrap();
    fs::copy(folder.join("part.png"), below.join("part.png")).unwrap();
    stdout(&lfbm(&server, &out));
    assert!(elsewhere.join("below/part.heatmap.png").is_file());
    original.save(below.join("part.bmp")).unwrap();
    let clash = lfbm(&server, &out);
    let errors = String::from_utf8_lossy(&clash.stderr);
    assert!(!clash.status.success());
    assert!(errors.contains("would have one name"), "{errors}");
    fs::remove_dir_all(below).unwrap();
    assert_eq!(
        json_lines(&lfbm(&server, &["score", "--json", parts])).len(),
        1
    );
}

#[test]
fn samples_are_files_that_a_seed_decides() {
    let (server, scratch) = serve(&[]);
    let sample = |folder: &str, count: &str| {
        let folder = scratch.path().join(folder);
        let flags = ["sample", "--seed", "7", "--count", count, "--out"];
        let output = command(&server).args(flags).arg(folder).output().unwrap();
        let names = stdout(&output);
        names
            .lines()
            .map(|name| fs::read(name).unwrap())
            .collect::<Vec<_>>()
    };
    let three = sample("three", "3");
    assert_eq!(three.len(), 3);
    assert_eq!(sample("two", "2"), three[..2]);
}

#[test]
fn what_is_made_of_standard_input_has_a_name_that_is_no_flag() {
    let (server, scratch) = serve(&[]);
    let image = fs::read(samples().join("model-1.png")).unwrap();
    let mut explain = command(&server);
    explain
        .args(["explain", "--json", "-"])
        .current_dir(scratch.path());
    let explained = json(&with_input(&mut explain, &image));
    assert_eq!(explained["heatmap"], "stdin.heatmap.png");
    assert!(scratch.path().join("stdin.heatmap.png").is_file());
}
