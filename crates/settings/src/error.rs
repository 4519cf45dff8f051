use std::path::PathBuf;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read, or a setting in it is of the wrong type.
    #[error("settings: {0}")]
    Source(#[from] config::ConfigError),
    /// A folder was given as the file.
    #[error("--config {}: expected a file, got a folder", .0.display())]
    Folder(PathBuf),
    /// The file has a setting that there is not.
    #[error("settings: there is no setting {name} (--help lists them, with - for _)")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A value of the file is of another type than its setting.
    #[error("settings: {name} is {value}, expected {expected}")]
    Type {
        /// The setting.
        name: String,
        /// Its value, as the file has it.
        value: String,
        /// Values of the setting's type.
        expected: &'static str,
    },
    /// A variable is nearly that of a setting.
    #[error("settings: there is no variable {name}, did you mean {meant}?")]
    Variable {
        /// Its name.
        name: String,
        /// The variable that there is.
        meant: String,
    },
    /// Arguments do not make a group.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// A setting needs another one.
    #[error("{name} is set and {other} is not; set both or neither")]
    Alone {
        /// The setting that is there.
        name: &'static str,
        /// The one that is missing.
        other: &'static str,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}, expected {expected}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: String,
    },
}
