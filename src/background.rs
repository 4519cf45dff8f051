//! Threads for work that nobody waits for.

use rustix::process::setpriority_process;

/// The greatest niceness: against a thread of the usual one, such a thread gets about 1.5 % of a core, and
/// all of a core that is idle.
const NICENESS: i32 = 19;

/// Lets other threads of the machine go before this one, and before those that it starts from now on.
///
/// On Linux niceness belongs to a thread, and threads inherit it (setpriority(2)). Where the system refuses,
/// that is logged, and the thread goes on as it was.
pub fn yield_to_others() {
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "a thread in the background has the priority of the others");
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn a_thread_yields_with_those_that_it_starts_and_alone() {
        let niceness = || getpriority_process(None).unwrap();
        let before = niceness();
        let yielding = thread::spawn(move || {
            yield_to_others();
            [niceness(), thread::spawn(niceness).join().unwrap()]
        });
        assert_eq!(yielding.join().unwrap(), [NICENESS; 2]);
        assert_eq!(niceness(), before);
    }
}
