//! How threads of libtorch wait for each other.

use std::env;

/// The variables that set how threads of OpenMP and of libgomp wait.
const POLICY: &str = "OMP_WAIT_POLICY";
const SPIN_COUNT: &str = "GOMP_SPINCOUNT";

/// The variable that lets threads sleep while they wait, unless the user has said how to wait. By
/// default they spin, and on a machine that has other work they take the time of those that they wait
/// for. The library reads it when it is loaded, before `main`.
pub fn passively() -> Option<(&'static str, &'static str)> {
    let chosen = [POLICY, SPIN_COUNT];
    let is_chosen = chosen.iter().any(|name| env::var_os(name).is_some());
    (!is_chosen).then_some((POLICY, "PASSIVE"))
}
