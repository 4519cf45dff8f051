//! Settings: each stands once, as a field of a group, with its name, default, help, variable and
//! range.
//!
//! A group is a struct that derives [`clap::Args`]; the part of the program that uses it owns it.
//! [`Sources`] reads a group from, the strongest last: the defaults, a TOML file, the environment,
//! flags. The program's own settings are the sum of its groups. [`EndpointSettings`] is here
//! because server and client share it.

#![forbid(unsafe_code)]

mod address;
mod arguments;
mod endpoint;
mod error;
mod range;
mod sources;
pub mod text;

pub use address::{Address, Host};
pub use arguments::{arguments, environment, foreign_variables, from_arguments};
pub use endpoint::EndpointSettings;
pub use error::SettingsError;
pub use range::{DAY_S, Group, Range, YEAR_S};
pub use sources::Sources;
