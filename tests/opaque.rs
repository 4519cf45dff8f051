//! A graph that lfbm cannot read is served as it is, and the log says so once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Server, bundle, client, command, encoded, pixels, png};
use sha2::{Digest, Sha256};

/// A field of a protobuf message that holds bytes of fewer than 128.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 128);
    [&[tag << 3 | 2, length], bytes].concat()
}

/// A node that computes nothing anybody wants, at the end of a model: messages are joined by
/// appending one to the other.
fn with_another_node(model: &[u8], input: &str, op: &str) -> Vec<u8> {
    let node = [
        field(1, input.as_bytes()),
        field(2, b"nobody-wants-it"),
        field(3, b"another-node"),
        field(4, op.as_bytes()),
    ];
    let graph = field(1, &node.concat());
    [model, &field(7, &graph)].concat()
}

#[tokio::test]
async fn a_graph_that_cannot_be_read_is_served_and_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let path = bundle.dir().join("posterior.onnx");
    let before = fs::read(&path).unwrap();
    let after = with_another_node(&before, "z", "Hardmax");
    fs::write(&path, &after).unwrap();
    let manifest = bundle.dir().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = &mut value["files"]["posterior.onnx"];
    let digest: String = Sha256::digest(&after)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    entry["sha256"] = digest.into();
    entry["size_bytes"] = after.len().into();
    fs::write(&manifest, value.to_string()).unwrap();

    let log = folder.path().join("log");
    let mut command = command(bundle.dir());
    command.stderr(Stdio::from(fs::File::create(&log).unwrap()));
    command.stdout(Stdio::null());
    let server = Server::spawn(command, folder.path());
    let image = png(pixels(&bundle.manifest().image, 0));
    let reply = client(&server).await.score(encoded(image)).await;
    assert!(reply.is_ok(), "{reply:?}");
    let text = fs::read_to_string(&log).unwrap();
    let said: Vec<_> = text
        .lines()
        .filter(|line| line.contains("Hardmax"))
        .collect();
    assert_eq!(said.len(), 1, "{text}");
    for part in ["posterior", "another-node", "WARN"] {
        assert!(said[0].contains(part), "{}", said[0]);
    }
}
