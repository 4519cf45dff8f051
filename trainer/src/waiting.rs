//! How threads of libtorch wait for each other.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable by which OpenMP is told how to wait, and the one by which libgomp is.
const POLICY: &str = "OMP_WAIT_POLICY";
const SPIN_COUNT: &str = "GOMP_SPINCOUNT";

/// Lets threads sleep while they wait. By default they spin, and on a machine that has other work they
/// take the time of those that they wait for. The library reads the policy when it is loaded, before
/// `main`: so the program is executed anew with it, as the same process. Where the user has said how
/// to wait, nothing is done.
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
    // It returns only where it fails; threads wait as they do by default then.
    let _ = command.args(arguments).env(POLICY, "PASSIVE").exec();
}
