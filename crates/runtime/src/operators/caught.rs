//! Panics in operators.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic as an error: ONNX Runtime calls, and a panic that reached it would end the process.
pub(super) fn caught<T>(work: impl FnOnce() -> ort::Result<T>) -> ort::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ort::Error::new("a layer panicked")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_becomes_an_error() {
        let error = super::caught::<()>(|| panic!("a test")).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
