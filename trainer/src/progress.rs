//! The progress of learning: a bar on a terminal, plain lines in logs.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress of iterations on standard error.
pub struct IterationProgress {
    what: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    first: u64,
    total: u64,
    batch_size: usize,
    log_every: u64,
}

impl IterationProgress {
    /// Progress of `what` from iteration `first` to `total`, of `batch_size` images each; logs get a line
    /// every `log_every` iterations.
    pub fn new(
        what: &'static str,
        first: u64,
        total: u64,
        batch_size: usize,
        log_every: u64,
    ) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_position(first);
            let template = "{bar:24} {pos}/{len} {msg} {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            what,
            bar,
            started: Instant::now(),
            first,
            total,
            batch_size,
            log_every,
        }
    }

    /// Reports iteration `done`.
    pub fn iteration(&self, done: u64, losses: &impl Display) {
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
                    "{} {done}/{}  {message}  {left_s:.0} s left",
                    self.what, self.total
                );
            }
        }
    }
}

impl Drop for IterationProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
