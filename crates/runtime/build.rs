//! Tells the crate where `scripts/native-libs.py` puts ONNX Runtime, so that what is run from the
//! build tree finds it without `LD_LIBRARY_PATH`.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let library = root.join("third_party/onnxruntime/lib/libonnxruntime.so");
    println!(
        "cargo:rustc-env=LFBM_BUILD_TREE_ONNXRUNTIME={}",
        library.display()
    );
}
