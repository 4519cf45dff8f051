//! Variables of the environment.

use std::env;
use std::ffi::OsString;

/// The variable's value. One that is set to nothing is not set: who writes `LFBM_DATA_DIR=` into a
/// file, or leaves a value of a template empty, means that.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
