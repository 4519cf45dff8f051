use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::error::SettingsError;
use crate::range::Group;

/// Where settings come from, the strongest last: defaults, a TOML file, the environment, flags.
pub struct Sources<'a> {
    matches: &'a ArgMatches,
    file: config::Config,
}

impl<'a> Sources<'a> {
    /// Reads the file, if there is one. `matches` holds the other three.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(matches: &'a ArgMatches, file: Option<&Path>) -> Result<Self, SettingsError> {
        let builder = config::Config::builder();
        let builder = match file {
            None => builder,
            // The library says of a folder that it is not found.
            Some(path) if path.is_dir() => {
                return Err(SettingsError::Folder(path.to_path_buf()));
            }
            Some(path) => {
                builder.add_source(config::File::from(path).format(config::FileFormat::Toml))
            }
        };
        let file = builder.build()?;
        Ok(Self { matches, file })
    }

    /// The settings of a group. Names in the file that are not the group's are left to others.
    ///
    /// # Errors
    /// When a setting of the file is of the wrong type.
    pub fn read<G: Group>(&self) -> Result<G, SettingsError> {
        let arguments = config::Config::try_from(&G::from_arg_matches(self.matches)?)?;
        let mut builder = config::Config::builder()
            .add_source(arguments.clone())
            .add_source(self.file.clone());
        for (name, value) in config::Source::collect(&arguments)? {
            let source = self.matches.value_source(&name);
            if source.is_some_and(|source| source != ValueSource::DefaultValue) {
                builder = builder.set_override(name, value)?;
            }
        }
        Ok(builder.build()?.try_deserialize()?)
    }

    /// Whether every name in the file is one of `command`'s, which has all groups. `config` names the
    /// file and is no setting of it.
    ///
    /// # Errors
    /// When one is not.
    pub fn check_names(&self, command: &Command) -> Result<(), SettingsError> {
        let mut names: Vec<_> = config::Source::collect(&self.file)?.into_keys().collect();
        names.sort();
        let mut known: Vec<_> = command.get_arguments().map(clap::Arg::get_id).collect();
        known.retain(|id| *id != "config");
        let is_known = |name: &String| known.iter().any(|id| *id == name);
        match names.into_iter().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(SettingsError::Unknown { name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use clap::{Args, CommandFactory};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        _group: Numbers,
    }

    #[derive(Args, Debug, PartialEq, Serialize, Deserialize)]
    struct Numbers {
        #[arg(long, default_value_t = 1)]
        one: u64,
        #[arg(long, default_value_t = 2)]
        two: u64,
        #[arg(long, default_value_t = 3)]
        three: u64,
        #[arg(long)]
        four: Option<u64>,
        #[arg(long, value_delimiter = ',')]
        #[serde(default)]
        list: Vec<u64>,
    }

    impl Group for Numbers {}

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(&file, "two = 20\nthree = 30\nfour = 40\nlist = [5, 6]\n").unwrap();
        // A flag wins also when it says what the default does.
        let flags = ["program", "--three", "3", "--list", "7"];
        let matches = Program::command().get_matches_from(flags);
        let sources = Sources::new(&matches, Some(&file)).unwrap();
        let numbers = Numbers {
            one: 1,
            two: 20,
            three: 3,
            four: Some(40),
            list: vec![7],
        };
        assert_eq!(sources.read::<Numbers>().unwrap(), numbers);
        sources.check_names(&Program::command()).unwrap();

        fs::write(&file, "fuor = 40\n").unwrap();
        let sources = Sources::new(&matches, Some(&file)).unwrap();
        let error = sources.check_names(&Program::command()).unwrap_err();
        assert!(error.to_string().contains("fuor"), "{error}");
    }
}
