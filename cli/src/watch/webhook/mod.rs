//! Sends the lines of the output to somebody else, in their order and at least once.

mod delivered;
mod post;
mod signature;

use std::convert::Infallible;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, value_parser};
use rand::RngExt;

use self::delivered::Delivered;
use self::post::{Post, Poster};
use super::backlog::Backlog;
use super::journal::id_in;
use super::trouble::Trouble;
use crate::connection::seconds;

const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// A receiver may ask for a longer time than the back-off, up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// What was delivered is recorded this often; the lines since are sent again after a kill.
const RECORD_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(next_help_heading = "Webhook")]
pub(crate) struct WebhookArgs {
    /// http:// or https:// URL to which every line is sent by POST, in order, until a reply of 2xx
    #[arg(
        long,
        value_name = "URL",
        env = "LFBM_WEBHOOK",
        hide_env_values = true,
        requires = "webhook_secret_file"
    )]
    webhook: Option<String>,
    /// The secret that signs what is sent: base64 after whsec_, or a text; of 16 bytes or more
    #[arg(
        long,
        value_name = "FILE",
        env = "LFBM_WEBHOOK_SECRET_FILE",
        hide_env_values = true
    )]
    webhook_secret_file: Option<PathBuf>,
    /// Authorities to trust for https://, PEM; the system's when absent
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_ca: Option<PathBuf>,
    /// Seconds that one attempt may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    webhook_timeout_s: f64,
    /// Lines that may wait to be sent; while there are more, no further image is read
    #[arg(
        long,
        value_name = "LINES",
        default_value_t = 10_000,
        value_parser = value_parser!(u64).range(1..)
    )]
    webhook_backlog: u64,
}

/// A receiver of lines.
pub(super) struct Webhook {
    poster: Poster,
    delivered: Delivered,
    output: PathBuf,
    pub(super) max_backlog: u64,
}

impl WebhookArgs {
    /// The webhook of an output, if there is one. Connects to nothing yet.
    ///
    /// # Errors
    /// When URL, secret or certificates are none, or what was delivered cannot be read.
    pub(super) fn open(&self, output: &Path) -> anyhow::Result<Option<Webhook>> {
        let (Some(url), Some(secret)) = (&self.webhook, &self.webhook_secret_file) else {
            return Ok(None);
        };
        let timeout = seconds("--webhook-timeout-s", self.webhook_timeout_s)?;
        Ok(Some(Webhook {
            poster: Poster::start(url, secret, self.webhook_ca.as_deref(), timeout)?,
            delivered: Delivered::beside(output)?,
            output: output.to_path_buf(),
            max_backlog: self.webhook_backlog,
        }))
    }
}

impl Webhook {
    /// How many bytes of the output were delivered.
    pub(super) fn offset(&self) -> u64 {
        self.delivered.bytes()
    }

    /// Delivers what is written, for ever.
    ///
    /// # Errors
    /// When the output cannot be read, or what was delivered cannot be recorded.
    pub(super) async fn deliver(mut self, backlog: &Backlog) -> anyhow::Result<Infallible> {
        let name = self.output.display().to_string();
        let mut output = BufReader::new(File::open(&self.output).with_context(|| name.clone())?);
        output
            .seek(SeekFrom::Start(self.offset()))
            .with_context(|| name.clone())?;
        let trouble = Trouble::of("the receiver of --webhook");
        let mut recorded = Instant::now();
        loop {
            backlog.longer_than(self.offset()).await;
            let mut line = Vec::new();
            // Lines are written whole, and of a bounded length.
            output
                .read_until(b'\n', &mut line)
                .with_context(|| name.clone())?;
            let length = line.len() as u64;
            line.pop();
            let id = id_in(&line).with_context(|| format!("{name}: a line was changed"))?;
            let post = Post {
                id: id.to_string(),
                body: line,
            };
            self.send(post, &trouble).await?;
            self.delivered.add(length);
            backlog.deliver();
            let is_last = tokio::time::timeout(
                RECORD_EVERY.saturating_sub(recorded.elapsed()),
                backlog.longer_than(self.offset()),
            );
            if recorded.elapsed() >= RECORD_EVERY || is_last.await.is_err() {
                self.delivered =
                    tokio::task::spawn_blocking(move || self.delivered.record()).await??;
                recorded = Instant::now();
            }
        }
    }

    /// Sends a line until it is taken.
    async fn send(&self, post: Post, trouble: &Trouble) -> anyhow::Result<()> {
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let Err(refusal) = self.poster.post(post.clone()).await? else {
                trouble.end();
                return Ok(());
            };
            trouble.tell(&format!("--webhook: {}", refusal.reason));
            let jitter = back_off.mul_f64(rand::rng().random_range(0.5..1.0));
            let asked = refusal.retry_after.unwrap_or_default().min(LONGEST_WAIT);
            tokio::time::sleep(jitter.max(asked)).await;
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }
}
