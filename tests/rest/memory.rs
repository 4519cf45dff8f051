//! What bodies may make the server hold, whatever is in them.

use crate::common::{Server, bundle, peak_bytes, pixels, png};
use crate::{path, post};

const BODY_BYTES: usize = 16 << 20;
const MOST: usize = 100_000_000;

/// A body of the greatest length: `start`, then `piece` as often as it fits.
fn filled(start: &str, piece: &str) -> Vec<u8> {
    let pieces = (BODY_BYTES - start.len()) / piece.len();
    [start.as_bytes(), piece.repeat(pieces).as_bytes()].concat()
}

#[tokio::test]
async fn no_body_takes_much_memory() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--max-request-memory-bytes", "83886080"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let file = png(pixels(&bundle.manifest().image, 0));
    assert_eq!(post(&server, &path("score"), &[], &file).status, 200);
    let idle = peak_bytes(&server);
    let infer = "/v2/models/random-mlp/infer".to_owned();
    let json = [("content-type", "application/json")];
    for (path, start, piece) in [
        (path("score"), "", "x"),
        (path("score"), "", "["),
        (path("score"), r#"{"image": "#, "["),
        (path("score"), r#"{"image": ""#, "A"),
        (path("score"), r#"{"image": ""#, "\\u0041"),
        (path("score"), r#"{"parameters": {"#, r#""a":1,"#),
        (path("score"), r#"{"parameters": {"steps": ""#, "\\n"),
        (path("score"), r#"{"image": {"shape": ["#, "1,"),
        (path("score"), r#"{"image": {"data_type": ""#, "x"),
        (path("score"), r#"{""#, "x"),
        (infer.clone(), r#"{"inputs": [{"data": ["#, "0,"),
        (infer.clone(), r#"{"inputs": [{"data": ["#, "[],"),
        (infer.clone(), r#"{"inputs": [{"shape": ["#, "1,"),
        (infer.clone(), r#"{"inputs": ["#, "{},"),
        (infer.clone(), r#"{"id": ""#, "\\n"),
        (infer, r#"{"a": ["#, "{},"),
    ] {
        let answer = post(&server, &path, &json, &filled(start, piece));
        answer.problem(400);
        let grown = peak_bytes(&server) - idle;
        eprintln!("{grown} bytes after {start}{piece}...");
        assert!(grown < MOST, "{start}{piece}: {grown} bytes");
    }
    assert_eq!(post(&server, &path("score"), &[], &file).status, 200);
}
