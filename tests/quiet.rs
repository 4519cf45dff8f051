//! What a server leaves on a machine: nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{Server, bundle, client, command, encoded, png};

#[tokio::test]
async fn nothing_is_left_in_the_temporary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = command(bundle(folder.path()).dir());
    // Telemetry of ONNX Runtime begins with files there.
    command
        .env_remove("ORT_DISABLE_TELEMETRY")
        .env("TMPDIR", temporary.path());
    let server = Server::spawn(command, folder.path());
    let mut client = client(&server).await;
    client.score(encoded(png(vec![0; 28 * 28]))).await.unwrap();
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
