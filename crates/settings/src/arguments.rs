//! The command line, and the environment behind it.

use std::env;
use std::ffi::OsStr;

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use strsim::damerau_levenshtein;

use crate::error::SettingsError;

/// Variables of settings begin so.
const PREFIX: &str = "LFBM_";
/// Letters that may be wrong, missing, too many or changed over in a name that is taken for another.
const MOST_SLIPS: usize = 2;

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

/// Of `names`, variables of the environment, those that are none of `command`'s and begin like them: other
/// programs', or made by whatever starts the process (Kubernetes makes `LFBM_SERVER_PORT` of a service
/// lfbm-server).
///
/// # Errors
/// When one is nearly the name of one of `command`'s: it was meant, and would be ignored.
pub fn foreign_variables(
    command: &Command,
    names: impl Iterator<Item = String>,
) -> Result<Vec<String>, SettingsError> {
    let known = command.get_arguments().filter_map(Arg::get_env);
    let known: Vec<_> = known.filter_map(OsStr::to_str).collect();
    let names = names.filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()));
    let mut foreign: Vec<_> = names.collect();
    foreign.sort();
    let meant = |name: &str| {
        let is_near = |known: &str| {
            let rest = known.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with('_'))
                || damerau_levenshtein(name, known) <= MOST_SLIPS
        };
        known.iter().find(|known| is_near(known))
    };
    let slip = foreign.iter().find_map(|name| Some((name, meant(name)?)));
    match slip {
        None => Ok(foreign),
        Some((name, meant)) => Err(SettingsError::Variable {
            name: name.clone(),
            meant: (*meant).to_owned(),
        }),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_nearly_a_settings_is_a_slip_and_others_are_not() {
        let arg = |name, variable| Arg::new(name).long(name).env(variable);
        let command = Command::new("program")
            .arg(arg("auth_tokens_file", "LFBM_AUTH_TOKENS_FILE"))
            .arg(arg("tls_key", "LFBM_TLS_KEY"))
            .arg(arg("log", "LFBM_LOG"));
        let foreign = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned());
            foreign_variables(&command, names)
        };
        for (name, meant) in [
            ("LFBM_AUTH_TOKEN_FILE", "LFBM_AUTH_TOKENS_FILE"),
            ("LFBM_AUTH_TOKENS", "LFBM_AUTH_TOKENS_FILE"),
            ("LFBM_TSL_KEY", "LFBM_TLS_KEY"),
            ("LFBM_LOGS", "LFBM_LOG"),
        ] {
            let error = foreign(&["PATH", name, "LFBM_LOG"])
                .unwrap_err()
                .to_string();
            let expected = format!("there is no variable {name}, did you mean {meant}?");
            assert!(error.ends_with(&expected), "{error}");
        }
        let others = [
            "LFBM_PORT",
            "LFBM_SERVER",
            "LFBM_SERVER_PORT",
            "LFBM_TLS_CA",
        ];
        assert_eq!(foreign(&others).unwrap(), others);
        assert!(
            foreign(&["PATH", "LFBM_LOG", "lfbm_log"])
                .unwrap()
                .is_empty()
        );
    }
}
