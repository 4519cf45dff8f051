//! Work that several threads of the CPU do beside each other, each by libtorch.
//!
//! libtorch shares single operations among its threads; those of a fit end sooner than threads meet.

use rayon::prelude::*;

/// Does the work on all items at once, on as many threads as libtorch may use; in the order of the items.
pub(super) fn beside<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = tch::get_num_threads();
    if threads < 2 || items.len() < 2 {
        return items.into_iter().map(work).collect();
    }
    let each = (threads as usize / items.len()).max(1) as i32;
    let shared = items.into_par_iter().map(|item| {
        // Of the thread that does it; the one that waits here keeps its number.
        tch::set_num_threads(each);
        work(item)
    });
    shared.collect()
}
