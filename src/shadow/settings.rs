use clap::Args;
use lfbm_settings::{Group, Range, SettingsError};
use serde::{Deserialize, Serialize};

use super::ShadowVersion;

const MOST_QUEUED: u64 = 1 << 16;
const LEAST_QUEUE_BYTES: u64 = 1 << 20;

/// Versions of models that are compared with those that answer.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Shadow versions")]
pub struct ShadowSettings {
    /// MODEL:VERSION=SHARE: a version that answers no request unless it is asked for by its number, and scores
    /// a share of the images that the model's other versions score, for comparison; may be given several
    /// times [default: none]
    #[arg(
        long,
        env = "LFBM_SHADOW",
        value_name = "MODEL:VERSION=SHARE",
        value_delimiter = ','
    )]
    #[serde(default)]
    pub shadow: Vec<ShadowVersion>,
    /// Images that may wait for their score by each shadow version; others are dropped and counted
    #[arg(
        long,
        env = "LFBM_SHADOW_QUEUE",
        default_value_t = 256,
        hide_short_help = true
    )]
    pub shadow_queue: usize,
    /// Bytes of the images that wait for a score by shadow versions, of all versions together
    #[arg(
        long,
        env = "LFBM_SHADOW_QUEUE_BYTES",
        default_value_t = 16 << 20,
        hide_short_help = true
    )]
    pub shadow_queue_bytes: usize,
}

impl Group for ShadowSettings {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::whole("shadow_queue", self.shadow_queue as u64, 1..=MOST_QUEUED),
            Range::whole(
                "shadow_queue_bytes",
                self.shadow_queue_bytes as u64,
                LEAST_QUEUE_BYTES..=u64::MAX,
            ),
        ]
    }
}

impl ShadowSettings {
    /// Whether each version is there once.
    ///
    /// # Errors
    /// When one is there twice.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (index, shadow) in self.shadow.iter().enumerate() {
            let before = &self.shadow[..index];
            if before
                .iter()
                .any(|other| other.is(&shadow.model, shadow.version))
            {
                return Err(SettingsError::Range {
                    name: "shadow",
                    value: format!("{}:{} twice", shadow.model, shadow.version),
                    expected: "each version of a model once".to_owned(),
                });
            }
        }
        Ok(())
    }
}
