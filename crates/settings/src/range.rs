use std::ops::RangeInclusive;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SettingsError;

/// Seconds of a day, the most that a server is told to wait for something.
pub const DAY_S: u64 = 86_400;
/// Seconds of a year, the most that a connection may be told to stay.
pub const YEAR_S: u64 = 365 * DAY_S;

/// Settings that one part of a program owns.
pub trait Group: Args + Serialize + DeserializeOwned {
    /// What its numbers may be, whatever other settings say.
    fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }
}

/// The value of a number, and what it may be.
#[derive(Clone, Debug)]
pub struct Range {
    /// The setting.
    pub name: &'static str,
    value: String,
    holds: bool,
    /// The values that it may have, in words.
    pub expected: String,
}

impl Range {
    /// A whole number from the first of `bounds` to the last.
    pub fn whole(name: &'static str, value: u64, bounds: RangeInclusive<u64>) -> Self {
        let (least, most) = bounds.clone().into_inner();
        Self {
            name,
            value: value.to_string(),
            holds: bounds.contains(&value),
            expected: match most {
                u64::MAX => format!("at least {least}"),
                _ => format!("{least} to {most}"),
            },
        }
    }

    /// A share, from 0 to 1; NaN is none.
    pub fn share(name: &'static str, value: f64) -> Self {
        Self {
            name,
            value: value.to_string(),
            holds: (0.0..=1.0).contains(&value),
            expected: "0 to 1".to_owned(),
        }
    }

    /// Whether the value is in its range.
    ///
    /// # Errors
    /// When it is not, with the name, the value and the range.
    pub fn check(self) -> Result<(), SettingsError> {
        if self.holds {
            return Ok(());
        }
        Err(SettingsError::Range {
            name: self.name,
            value: self.value,
            expected: self.expected,
        })
    }
}
