//! The progress of a fit: a bar on a terminal, plain lines in logs.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::fit::Losses;

/// Progress of a fit on standard error.
pub(super) struct FitProgress {
    bar: Option<ProgressBar>,
    started: Instant,
    first: u64,
    total: u64,
    batch_size: usize,
    log_every: u64,
}

impl FitProgress {
    /// Progress of a fit that starts at iteration `first` of `total`.
    pub(super) fn new(first: u64, total: u64, batch_size: usize, log_every: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(first);
            let template = "{bar:24} {pos}/{len} {msg} {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            started: Instant::now(),
            first,
            total,
            batch_size,
            log_every,
        }
    }

    /// Reports iteration `done`.
    pub(super) fn iteration(&self, done: u64, losses: &Losses) {
        let shown = if self.bar.is_some() {
            10
        } else {
            self.log_every
        };
        if !done.is_multiple_of(shown) && done != self.total {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let iterations = (done - self.first) as f64;
        let images_per_s = iterations * self.batch_size as f64 / seconds;
        let message = format!("{losses}  {images_per_s:.0} images/s");
        match &self.bar {
            Some(bar) => {
                bar.set_message(message);
                bar.set_position(done);
            }
            None => {
                let left_s = seconds / iterations * (self.total - done) as f64;
                eprintln!(
                    "iteration {done}/{}  {message}  {left_s:.0} s left",
                    self.total
                );
            }
        }
    }
}

impl Drop for FitProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
