//! Checkpoints of PyTorch: their pickles, and the tensors that they claim to hold.

#![no_main]

use lfbm_model::{efficientnet_lite0, read_checkpoint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = read_checkpoint(bytes) else {
        return;
    };
    for (name, shape) in checkpoint.shapes() {
        let tensor = checkpoint.tensor(name).unwrap();
        assert_eq!(tensor.shape, shape);
        assert!(4 * tensor.data.len() <= bytes.len());
    }
    let _ = efficientnet_lite0(&checkpoint, 8, 8);
});
