use std::panic::{self, PanicHookInfo};

use super::Metrics;

/// Counts every panic of the process, and writes it to the log, in the span that it happens in,
/// if there is a log.
pub fn watch_panics(metrics: Metrics) {
    let without_log = panic::take_hook();
    panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        metrics.observe_panic();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(%panic, "a panic");
        } else {
            without_log(panic);
        }
    }));
}
