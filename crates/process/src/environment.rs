//! Variables of the environment.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable's value. One that is set to nothing is not set: who writes `LFBM_DATA_DIR=` into a
/// file, or leaves a value of a template empty, means that.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Executes this program anew, as the same process, with those of the variables that are not set: for
/// what libraries read when they are loaded, which may be before `main`. Returns when all are set, or
/// when the program cannot be executed.
pub fn execute_with(variables: &[(&str, &str)]) {
    let is_missing = |&&(name, _): &&(&str, &str)| variable(name).is_none();
    let missing: Vec<_> = variables.iter().filter(is_missing).copied().collect();
    let Ok(program) = env::current_exe() else {
        return;
    };
    if missing.is_empty() {
        return;
    }
    let mut command = Command::new(program);
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // It returns only where it fails.
    let _ = command.args(arguments).envs(missing).exec();
}
