//! The command line, and the environment behind it.

use std::env;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

/// What the command line and the environment of this process say. A variable that is set to nothing
/// is not set: who writes `LFBM_TLS_CERT=` into a file, or leaves a value of a template empty, means
/// that. Ends the process at a mistake, and after `--help`.
pub fn arguments<T: CommandFactory>() -> ArgMatches {
    without_empty(T::command()).get_matches()
}

/// The same as a value.
pub fn from_arguments<T: Parser>() -> T {
    T::from_arg_matches(&arguments::<T>()).unwrap_or_else(|error| error.exit())
}

/// What the environment alone says.
///
/// # Errors
/// When a variable is not what it must be.
pub fn environment<T: CommandFactory + FromArgMatches>() -> Result<ArgMatches, clap::Error> {
    let command = without_empty(T::command());
    let name = command.get_name().to_owned();
    command.try_get_matches_from([name])
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
