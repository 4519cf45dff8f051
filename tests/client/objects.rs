//! Images in object storage.

use std::fs;
use std::process::Output;

use crate::store::{SECRET, Store};
use crate::{command, json_lines, lfbm, samples, serve, with_input};

use crate::common::Server;

fn score(server: &Server, store: &Store, args: &[&str]) -> Output {
    let mut command = command(server);
    command.envs(store.environment()).args(["score", "--json"]);
    command.args(args).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn objects_have_the_scores_of_the_files_that_they_are() {
    let (server, scratch) = serve(&[]);
    let store = Store::start();
    store.upload(&samples(), "parts");
    // Listings come in pages of a thousand; the samples are after the first one.
    for number in 0..1001 {
        store.put(&format!("parts/.cache/{number}"), b"hidden");
    }
    store.put("parts/notes.txt", b"a text");
    store.put("parts/empty.png", b"");
    store.put("partsother/a.png", b"of another prefix");

    let by_name = json_lines(&lfbm(
        &server,
        &["score", "--json", samples().to_str().unwrap()],
    ));
    let output = score(&server, &store, &["s3://bucket/parts/"]);
    let listed = json_lines(&output);
    let left_out = errors(&output);
    for part in [
        "1001 hidden",
        "1 not an image (s3://bucket/parts/notes.txt)",
        "1 empty file",
    ] {
        assert!(left_out.contains(part), "{part:?} in {left_out}");
    }
    assert_eq!(left_out.lines().count(), 1, "{left_out}");
    assert_eq!(listed.len(), by_name.len());
    for (object, file) in listed.iter().zip(&by_name) {
        let name = file["image"].as_str().unwrap().rsplit('/').next().unwrap();
        assert_eq!(object["image"], format!("s3://bucket/parts/{name}"));
        assert_eq!(object["log_joint"], file["log_joint"]);
    }

    // One by its name, one from a list, and one that is a file.
    let file = samples().join("model-1.png");
    let list = format!("s3://bucket/parts/model-1.png\n{}\n", file.display());
    let mut command = command(&server);
    command.envs(store.environment());
    let two = with_input(
        command.args(["score", "--json", "--files-from", "-"]),
        list.as_bytes(),
    );
    let two = json_lines(&two);
    assert_eq!(two.len(), 2);
    assert_eq!(two[0]["log_joint"], two[1]["log_joint"]);

    // What is made of an object has no place beside it.
    let explain = |flags: &[&str]| {
        let mut command = crate::command(&server);
        command
            .envs(store.environment())
            .args(["explain", "s3://bucket/parts/model-1.png"]);
        command.args(flags).output().unwrap()
    };
    let output = explain(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("expected --out"),
        "{}",
        errors(&output)
    );
    let out = scratch.path().join("out");
    let output = explain(&["--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(fs::read(out.join("model-1.heatmap.png")).is_ok());
}

#[test]
fn what_cannot_be_had_from_a_store_is_told_in_a_sentence() {
    let (server, _scratch) = serve(&[]);
    let mut store = Store::start();
    let image = fs::read(samples().join("model-1.png")).unwrap();
    store.put("a.png", &image);
    store.put("damaged.png", &image[..image.len() / 2]);

    // One object that is not there, or is damaged, keeps no other from its score.
    let output = score(
        &server,
        &store,
        &[
            "s3://bucket/a.png",
            "s3://bucket/no-such.png",
            "s3://bucket/damaged.png",
        ],
    );
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    for line in [
        "lfbm: s3://bucket/no-such.png: there is no such object; / at its end means all below",
        "lfbm: s3://bucket/damaged.png: ",
        "lfbm: 2 of 3 images have no answer",
    ] {
        assert!(told.lines().any(|told| told.starts_with(line)), "{told}");
    }
    for (url, expected) in [
        (
            "s3://bucket/nothing/",
            "lfbm: s3://bucket/nothing/: expected images below this prefix, found none\n",
        ),
        (
            "s3://another/",
            "lfbm: s3://another: there is no such object or bucket\n",
        ),
        (
            "https://bucket/a.png",
            "lfbm: https://bucket/a.png: expected s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY\n",
        ),
    ] {
        let output = score(&server, &store, &[url]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(errors(&output), expected);
    }

    let mut command = command(&server);
    command
        .envs(store.environment())
        .env_remove("AWS_ALLOW_HTTP");
    let output = command.args(["score", "s3://bucket/"]).output().unwrap();
    let expected = format!(
        "lfbm: s3://bucket: expected an address with https, got http://{}; ",
        store.address()
    );
    assert!(
        errors(&output).starts_with(&expected),
        "{}",
        errors(&output)
    );

    store.stop();
    let output = score(&server, &store, &["s3://bucket/"]);
    let told = errors(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.starts_with("lfbm: s3://bucket: no connection to http://127.0.0.1:"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!told.contains(SECRET));
}

/// The requests for listings and objects that Google Cloud Storage takes are those of S3, signed in another way.
#[test]
fn objects_of_google_cloud_storage_are_read_by_a_bearer_token() {
    let (server, _scratch) = serve(&[]);
    let store = Store::start();
    store.upload(&samples(), "parts");
    let mut command = command(&server);
    command
        .args(["score", "--json", "gs://bucket/parts/"])
        .env("GOOGLE_BASE_URL", format!("http://{}", store.address()))
        .env("GOOGLE_BEARER_TOKEN", SECRET);
    let scores = json_lines(&command.output().unwrap());
    assert_eq!(scores.len(), 12);
    assert_eq!(scores[0]["image"], "gs://bucket/parts/model-1.png");
}
