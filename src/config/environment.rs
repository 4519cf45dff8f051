//! The command line, and the environment behind it.

use std::env;

use clap::{Command, Parser};

/// The arguments of this process. A variable of the environment that is set to nothing is not set:
/// who writes `LFBM_TLS_CERT=` into a file, or leaves a value of a template empty, means that.
pub fn parse<T: Parser>() -> T {
    let matches = without_empty(T::command()).get_matches();
    T::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The arguments that the environment alone gives.
///
/// # Errors
/// When a variable is not what it must be.
pub fn environment<T: Parser>() -> Result<T, clap::Error> {
    let command = without_empty(T::command());
    let name = command.get_name().to_owned();
    T::from_arg_matches(&command.try_get_matches_from([name])?)
}

fn without_empty(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let value = arg.get_env().and_then(env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                arg.env(None::<&'static str>)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty)
}
