//! What a user is told of somebody who does not answer.

use std::cell::Cell;
use std::time::{Duration, Instant};

const TELL_EVERY: Duration = Duration::from_secs(60);

/// Tells the beginning and the end of a time without answers, and once a minute that it lasts.
pub(super) struct Trouble {
    /// Who does not answer.
    whose: &'static str,
    told: Cell<Option<Instant>>,
}

impl Trouble {
    pub(super) fn of(whose: &'static str) -> Self {
        Self {
            whose,
            told: Cell::new(None),
        }
    }

    /// An attempt failed, and another follows.
    pub(super) fn tell(&self, what: &str) {
        let told = self.told.get();
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            eprintln!("lfbm: {what}; trying again, nothing is lost");
            self.told.set(Some(Instant::now()));
        }
    }

    /// An attempt did not fail.
    pub(super) fn end(&self) {
        if self.told.take().is_some() {
            eprintln!("lfbm: {} answers again", self.whose);
        }
    }
}
