//! Exit codes, and errors that say what to do.

use std::fs;

use crate::{lfbm, repository, samples, serve};

#[test]
fn exit_codes_say_what_happened() {
    let (server, _scratch) = serve(&[]);
    let normal = samples().join("model-1.png");
    let anomalous = samples().join("strokes-4-2.png");
    let (normal, anomalous) = (normal.to_str().unwrap(), anomalous.to_str().unwrap());
    let manifest = repository().join("Cargo.toml");
    let manifest = manifest.to_str().unwrap();
    for (args, code) in [
        (&["score", anomalous][..], 0),
        (&["score", "--fail-on-anomaly", normal], 0),
        (&["score", "--fail-on-anomaly", normal, anomalous], 3),
        (&["score", "--fail-on-anomaly", anomalous, manifest], 1),
        (&["score", "--chains", "2", anomalous], 0),
        (&["score", "no-such.png"], 1),
        (&["score"], 2),
        (&["score", "--json", "--format", "csv", normal], 2),
        (&["health"], 0),
        (&["health", "--model", "mnist-not4"], 0),
        (&["health", "--model", "other"], 1),
        (&["inpaint", normal], 2),
        (&["score", "--hide", "0,0,29,1", normal], 1),
        (&["bench", "--concurrency", "0"], 2),
        (&["bench", "--duration-s", "0"], 2),
        (&["bench", "--model", "other", "--duration-s", "1"], 1),
    ] {
        let output = lfbm(&server, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    }
}

#[test]
fn errors_are_one_line_that_says_what_to_do() {
    let (server, scratch) = serve(&[]);
    let image = samples().join("model-1.png");
    let image = image.to_str().unwrap();
    let token = scratch.path().join("token");
    fs::write(&token, "two words").unwrap();
    for (args, expected) in [
        (
            &["score", "--chains", "0", "--steps", "100000", image][..],
            "INVALID_ARGUMENT: inference.steps: expected at most 2000, got 100000; \
             inference.chains: expected 1 to 64, got 0",
        ),
        (
            &["score", "--model", "other", image],
            "NOT_FOUND: there is no model other; there are mnist-not4",
        ),
        (
            &["score", "--timeout-s", "0.000001", image],
            "DEADLINE_EXCEEDED: ",
        ),
        (
            &["score", "no-such.png"],
            "no-such.png: there is no such file or folder",
        ),
        (
            &["score", "--fail-on-anomaly", "--chains", "2", image],
            "lfbm: there is no verdict for --fail-on-anomaly, because the inference parameters",
        ),
        (
            &[
                "score",
                "--fail-on-anomaly",
                "--hide",
                "0,0,1,1",
                image,
                image,
            ],
            "lfbm: there is no verdict for --fail-on-anomaly, because the inference parameters",
        ),
        (
            &["health", "--model", "other"],
            "NOT_FOUND: there is no model other; `lfbm models` lists those that there are (request ",
        ),
        (
            &["health", "--server", "127.0.0.1:1"],
            "no connection to 127.0.0.1:1 (--server): Connection refused",
        ),
        (
            &["health", "--server", "ftp://127.0.0.1:1"],
            "--server: expected HOST:PORT, or http:// or https:// before it, got \"ftp://",
        ),
        (
            &["health", "--tls-ca", "ca.pem"],
            "--tls-ca and --tls-cert need https:// in --server",
        ),
        (
            &[
                "health",
                "--server",
                "https://localhost:1",
                "--tls-ca",
                token.to_str().unwrap(),
            ],
            "expected certificates, PEM",
        ),
        (
            &["health", "--token-file", token.to_str().unwrap()],
            "expected one token",
        ),
        (
            &["bench", "--rate", "0"],
            "--rate: expected requests per second, above 0, got 0",
        ),
    ] {
        let output = lfbm(&server, args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        let line = errors.lines().next().unwrap();
        assert!(line.starts_with("lfbm: "), "{args:?}: {errors}");
        assert!(line.contains(expected), "{args:?}: {errors}");
    }
}
