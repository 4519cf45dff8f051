//! How threads of libtorch wait for each other.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variables that set how threads of OpenMP and of libgomp wait.
const POLICY: &str = "OMP_WAIT_POLICY";
const SPIN_COUNT: &str = "GOMP_SPINCOUNT";

/// Lets threads sleep while they wait. By default they spin, and on a busy machine they take CPU time
/// from the threads that they wait for. The library reads the policy when it is loaded, before `main`,
/// so the program executes itself again with the policy set, as the same process. If the user has set
/// a policy, nothing changes.
pub fn wait_passively() {
    if [POLICY, SPIN_COUNT]
        .iter()
        .any(|name| env::var_os(name).is_some())
    {
        return;
    }
    let Ok(program) = env::current_exe() else {
        return;
    };
    let mut command = Command::new(program);
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // It returns only on failure; threads then wait as they do by default.
    let _ = command.args(arguments).env(POLICY, "PASSIVE").exec();
}
