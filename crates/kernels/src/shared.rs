//! Packed weights, once for all layers and sessions: every worker has the same.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};

type Key = [u8; 32];
type Packed = Weak<dyn Any + Send + Sync>;

static PACKED: LazyLock<Mutex<HashMap<Key, Packed>>> = LazyLock::new(Mutex::default);

/// What `pack` makes of `weights`, or made before and somebody still has. `layout` says how: weights
/// that are packed in another way have another.
pub(super) fn shared<T: Send + Sync + 'static>(
    layout: &str,
    weights: &[f32],
    pack: impl FnOnce() -> Vec<T>,
) -> Arc<Vec<T>> {
    let mut hash = Sha256::new();
    hash.update(layout.as_bytes());
    for values in weights.chunks(1 << 10) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        hash.update(&bytes);
    }
    let key: Key = hash.finalize().into();
    // A panic while they were locked left them as they were.
    let mut all = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    let found = all.get(&key).and_then(Weak::upgrade);
    if let Some(Ok(found)) = found.map(|packed| packed.downcast()) {
        return found;
    }
    let packed = Arc::new(pack());
    let weak: Weak<Vec<T>> = Arc::downgrade(&packed);
    all.retain(|_, packed| packed.strong_count() > 0);
    all.insert(key, weak);
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_packed_once_as_long_as_somebody_has_them() {
        let weights = [1.0, 2.0];
        let first = shared("a test", &weights, || vec![1]);
        let second = shared("a test", &weights, || vec![2]);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*shared("another layout", &weights, || vec![3]), [3]);
        assert_eq!(*shared("a test", &weights[..1], || vec![4]), [4]);
        drop((first, second));
        assert_eq!(*shared("a test", &weights, || vec![5]), [5]);
    }
}
