//! Who may use a GPU while a CUDA graph is recorded.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// CUDA refuses much of what threads do with it while one of them records, and the recording fails.
static RECORDING: RwLock<()> = RwLock::new(());

/// Keeps other threads from recording as long as it lives. A thread may have one of these.
pub(super) fn no_recording() -> RwLockReadGuard<'static, ()> {
    RECORDING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps all other threads from the GPU as long as it lives.
pub(super) fn recording() -> RwLockWriteGuard<'static, ()> {
    RECORDING.write().unwrap_or_else(PoisonError::into_inner)
}
