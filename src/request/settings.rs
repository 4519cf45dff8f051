use std::time::Duration;

use clap::Args;
use lfbm_settings::{DAY_S, Group, Range, SettingsError};
use serde::{Deserialize, Serialize};

use super::Limits;

/// What requests hold, where the settings do not say.
/// A photograph of 12 megapixels is decoded in less.
const REQUEST_MEMORY_BYTES: usize = 512 << 20;
/// As many messages of the longest kind have room at least: one is held twice as it came and twice
/// decompressed, and an eighth is left to small ones.
const MESSAGES_IN_MEMORY: usize = 5;
/// The semaphore's own limit is far above any memory.
const MOST: u64 = u32::MAX as u64;

/// What requests may ask for, hold and wait for.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Requests")]
pub struct RequestSettings {
    /// Chains of a site that a request may ask for
    #[arg(long, env = "LFBM_MAX_CHAINS", default_value_t = 64)]
    pub max_chains: u32,
    /// Langevin steps that a request may ask for; all chains of all sites together take no more than
    /// --max-chains chains of --max-steps steps
    #[arg(long, env = "LFBM_MAX_STEPS", default_value_t = 2000)]
    pub max_steps: u32,
    /// Samples of the prior that a request may ask for
    #[arg(long, env = "LFBM_MAX_SAMPLES", default_value_t = 64)]
    pub max_samples: u32,
    /// How long an interactive request may wait for its steps; one that would wait longer is
    /// refused
    #[arg(long, env = "LFBM_MAX_QUEUE_MS", default_value_t = 5000)]
    pub max_queue_ms: u64,
    // The default is 64 images of 1024 sites, and more than one stream may have in flight of whole images.
    /// Chains that wait or run at most, of each version of a model and each priority, counted over all sites; at
    /// least --max-chains. Beyond them interactive requests are refused, and bulk requests wait
    #[arg(
        long,
        env = "LFBM_MAX_CHAINS_IN_FLIGHT",
        default_value_t = 65_536,
        hide_short_help = true
    )]
    pub max_chains_in_flight: usize,
    /// Images of one ScoreStream in flight at most
    #[arg(
        long,
        env = "LFBM_MAX_STREAM_IN_FLIGHT",
        default_value_t = 256,
        hide_short_help = true
    )]
    pub max_stream_in_flight: usize,
    /// Pixels of an image at most, as it comes; decoding takes up to 24 bytes of
    /// --max-request-memory-bytes for each
    #[arg(
        long,
        env = "LFBM_MAX_IMAGE_PIXELS",
        default_value_t = 1 << 26,
        hide_short_help = true
    )]
    pub max_image_pixels: u64,
    /// Size of a request at most
    #[arg(
        long,
        env = "LFBM_MAX_MESSAGE_BYTES",
        default_value_t = 16 << 20,
        hide_short_help = true
    )]
    pub max_message_bytes: usize,
    /// Memory that all requests together may hold, as received, decompressed and decoded; at least five times
    /// --max-message-bytes. A request that needs more is refused for the moment [default: 536870912, or five times
    /// --max-message-bytes if that is more]
    #[arg(long, env = "LFBM_MAX_REQUEST_MEMORY_BYTES", hide_short_help = true)]
    pub max_request_memory_bytes: Option<usize>,
    /// How long the server waits for the rest of a message; a stream may wait between messages
    #[arg(
        long,
        env = "LFBM_MESSAGE_TIMEOUT_S",
        default_value_t = 30,
        hide_short_help = true
    )]
    pub message_timeout_s: u64,
}

impl Group for RequestSettings {
    fn ranges(&self) -> Vec<Range> {
        let whole = |name, value: usize, bounds| Range::whole(name, value as u64, bounds);
        vec![
            Range::whole("max_chains", self.max_chains.into(), 1..=MOST),
            Range::whole("max_queue_ms", self.max_queue_ms, 0..=1000 * DAY_S),
            Range::whole("max_samples", self.max_samples.into(), 1..=4096),
            whole(
                "max_stream_in_flight",
                self.max_stream_in_flight,
                1..=65_536,
            ),
            Range::whole("max_image_pixels", self.max_image_pixels, 1..=MOST),
            whole("max_message_bytes", self.max_message_bytes, 1024..=MOST),
            Range::whole("message_timeout_s", self.message_timeout_s, 1..=DAY_S),
        ]
    }
}

impl RequestSettings {
    /// Whether settings that depend on others fit them.
    ///
    /// # Errors
    /// When one does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let chains = self.max_chains_in_flight as u64;
        let least = u64::from(self.max_chains);
        Range::whole("max_chains_in_flight", chains, least..=MOST).check()?;
        let memory = self.memory_bytes() as u64;
        let least = MESSAGES_IN_MEMORY.saturating_mul(self.max_message_bytes) as u64;
        Range::whole("max_request_memory_bytes", memory, least..=u64::MAX).check()
    }

    /// What one request may ask for.
    pub fn limits(&self) -> Limits {
        Limits {
            steps: self.max_steps,
            chains: self.max_chains,
            samples: self.max_samples,
            stream_in_flight: self.max_stream_in_flight,
            image_pixels: self.max_image_pixels,
        }
    }

    /// How long an interactive request may wait.
    pub fn max_queue(&self) -> Duration {
        Duration::from_millis(self.max_queue_ms)
    }

    /// Memory that all requests together may hold.
    pub fn memory_bytes(&self) -> usize {
        let of_messages = MESSAGES_IN_MEMORY.saturating_mul(self.max_message_bytes);
        self.max_request_memory_bytes
            .unwrap_or(of_messages.max(REQUEST_MEMORY_BYTES))
    }

    /// From the time when the server waits for a message until the message is complete.
    pub fn message_timeout(&self) -> Duration {
        Duration::from_secs(self.message_timeout_s)
    }
}
