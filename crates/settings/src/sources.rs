use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use config::{Value, ValueKind};

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
            if self.is_given(&name) {
                builder = builder.set_override(name, value)?;
            }
        }
        let group: G = builder.build()?.try_deserialize()?;
        self.check_types(&config::Config::try_from(&group)?)?;
        Ok(group)
    }

    /// Whether a flag or the environment has a setting.
    fn is_given(&self, name: &str) -> bool {
        let source = self.matches.value_source(name);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    }

    /// Whether values of the file are of the types that they were read as: the library makes 5 of 4.7, and
    /// true of 1.
    fn check_types(&self, read: &config::Config) -> Result<(), SettingsError> {
        let mut read = config::Source::collect(read)?;
        for (name, value) in config::Source::collect(&self.file)? {
            let expected = read.remove(&name).and_then(|read| differs(&value, &read));
            if let Some(expected) = expected
                && !self.is_given(&name)
            {
                let value = written(&value);
                return Err(SettingsError::Type {
                    name,
                    value,
                    expected,
                });
            }
        }
        Ok(())
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

/// What was expected in place of a value, if it was read as one of another type.
fn differs(value: &Value, read: &Value) -> Option<&'static str> {
    match (&value.kind, &read.kind) {
        (ValueKind::Boolean(_), ValueKind::Boolean(_))
        | (ValueKind::String(_), ValueKind::String(_))
        | (ValueKind::Float(_) | ValueKind::I64(_), ValueKind::Float(_))
        // A list of texts may be read as one text.
        | (ValueKind::Array(_), ValueKind::String(_)) => None,
        (ValueKind::Array(values), ValueKind::Array(read)) => {
            (values.iter().zip(read)).find_map(|(value, read)| differs(value, read))
        }
        (_, ValueKind::Boolean(_)) => Some("true or false"),
        (_, ValueKind::String(_)) => Some("a text"),
        (_, ValueKind::Float(_)) => Some("a number"),
        (ValueKind::I64(_), _) => None,
        _ => Some("a whole number"),
    }
}

/// A value as a file has it.
fn written(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Array(values) => {
            let values: Vec<_> = values.iter().map(written).collect();
            format!("[{}]", values.join(", "))
        }
        _ => value.to_string(),
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
        #[arg(long, default_value_t = 0.5)]
        share: f64,
        #[arg(long)]
        switch: Option<bool>,
        #[arg(long)]
        text: Option<String>,
        #[arg(long, value_delimiter = ',')]
        #[serde(default)]
        list: Vec<u64>,
    }

    impl Group for Numbers {}

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        fs::write(
            &file,
            "two = 20\nthree = 30\nfour = 40\nlist = [5, 6]\nshare = 1\n",
        )
        .unwrap();
        // A flag wins also when it says what the default does.
        let flags = ["program", "--three", "3", "--list", "7"];
        let matches = Program::command().get_matches_from(flags);
        let sources = Sources::new(&matches, Some(&file)).unwrap();
        let numbers = Numbers {
            one: 1,
            two: 20,
            three: 3,
            four: Some(40),
            share: 1.0,
            switch: None,
            text: None,
            list: vec![7],
        };
        assert_eq!(sources.read::<Numbers>().unwrap(), numbers);
        sources.check_names(&Program::command()).unwrap();

        fs::write(&file, "fuor = 40\n").unwrap();
        let sources = Sources::new(&matches, Some(&file)).unwrap();
        let error = sources.check_names(&Program::command()).unwrap_err();
        assert!(error.to_string().contains("fuor"), "{error}");
    }

    #[test]
    fn values_of_another_type_are_not_converted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        let matches = Program::command().get_matches_from(["program"]);
        for (text, expected) in [
            ("two = 4.7", "two is 4.7, expected a whole number"),
            ("two = 4.0", "two is 4.0, expected a whole number"),
            ("two = '4'", "two is \"4\", expected a whole number"),
            ("two = true", "two is true, expected a whole number"),
            ("four = 4.7", "four is 4.7, expected a whole number"),
            ("share = '1'", "share is \"1\", expected a number"),
            ("switch = 1", "switch is 1, expected true or false"),
            (
                "switch = 'yes'",
                "switch is \"yes\", expected true or false",
            ),
            ("text = 5", "text is 5, expected a text"),
            (
                "list = [1, 2.5]",
                "list is [1, 2.5], expected a whole number",
            ),
        ] {
            fs::write(&file, text).unwrap();
            let sources = Sources::new(&matches, Some(&file)).unwrap();
            let error = sources.read::<Numbers>().unwrap_err().to_string();
            assert!(error.ends_with(expected), "{text}: {error}");
        }
    }
}
