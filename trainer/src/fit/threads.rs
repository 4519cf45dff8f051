//! Work that is independent, on several threads of the CPU, each with libtorch.
//!
//! libtorch splits single operations among its threads; those of a fit take less time than synchronising threads does.

use rayon::prelude::*;

/// Maps all items, on as many threads as libtorch may use; results are in the order of the items.
pub(super) fn map<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = tch::get_num_threads();
    let workers = (threads.max(1) as usize).min(items.len());
    if workers < 2 {
        return items.into_iter().map(work).collect();
    }
    let parts = shares(items, workers).into_par_iter().enumerate();
    let mapped: Vec<Vec<R>> = parts
        .map(|(worker, part)| {
            let rest = worker < threads as usize % workers;
            // Of this thread, and the default of threads that have not used libtorch yet.
            tch::set_num_threads(threads / workers as i32 + i32::from(rest));
            part.into_iter().map(&work).collect()
        })
        .collect();
    tch::set_num_threads(threads);
    mapped.into_iter().flatten().collect()
}

/// Neighbours together, as evenly as that is possible.
fn shares<T>(items: Vec<T>, workers: usize) -> Vec<Vec<T>> {
    let count = items.len();
    let start = |worker: usize| (worker * count).div_ceil(workers);
    let mut items = items.into_iter();
    (0..workers)
        .map(|worker| start(worker + 1) - start(worker))
        .map(|length| items.by_ref().take(length).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_and_no_thread_is_added() {
        let before = tch::get_num_threads();
        for threads in [1, 2, 3, 5] {
            tch::set_num_threads(threads);
            let used = map((0..4).collect(), |item| (item, tch::get_num_threads()));
            assert!(used.iter().map(|(item, _)| *item).eq(0..4));
            let workers = threads.min(4) as usize;
            let of_each = used.iter().map(|(_, own)| *own);
            assert!(of_each.clone().all(|own| own >= 1));
            if workers == 4 {
                assert_eq!(of_each.sum::<i32>(), threads);
            }
            assert_eq!(tch::get_num_threads(), threads, "of the caller");
        }
        tch::set_num_threads(before);
        assert_eq!(shares(vec![1, 2, 3], 2), [vec![1, 2], vec![3]]);
    }
}
