//! Scripts of `tests/`, with the Python packages of `scripts/requirements.txt`.

use std::path::Path;
use std::process::Command;

/// Runs a script; what it prints.
pub fn python(script: &str, arguments: &[&str]) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("third_party/python");
    assert!(
        packages.join("tritonclient").is_dir(),
        "the Python packages are missing: run `make python`"
    );
    let output = Command::new("python3")
        .arg(root.join("tests").join(script))
        .args(arguments)
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output.stdout
}
