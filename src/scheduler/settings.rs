use clap::Args;
use lfbm_runtime::Device;
use lfbm_settings::{Group, Range};
use serde::{Deserialize, Serialize};

use super::Policy;

/// A thread reads all weights for its batch, however small, so each has room for this many.
const CHAINS_PER_THREAD: usize = 64;
pub(crate) const MAX_BATCH_CHAINS: u64 = 65_536;

/// How chains share batches.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Batches")]
pub struct BatchSettings {
    /// Threads that run chains, each in a batch of its own; 0 for one per core
    #[arg(long, env = "LFBM_THREADS", default_value_t = 0)]
    pub threads: usize,
    /// Rows of all batches together, which the threads share evenly; at least 2 [default: 64 a thread
    /// on cpu, 64 elsewhere]
    #[arg(long, env = "LFBM_MAX_BATCH_CHAINS", hide_short_help = true)]
    pub max_batch_chains: Option<usize>,
    /// Batch sizes that a thread runs, as a list with commas; smaller batches are padded to the next
    /// [default: none on cpu, powers of two elsewhere]
    #[arg(
        long,
        env = "LFBM_BATCH_BUCKETS",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub batch_buckets: Option<Vec<usize>>,
    /// Share of the rows that bulk requests get while interactive ones wait
    #[arg(
        long,
        env = "LFBM_BULK_SHARE",
        default_value_t = 0.25,
        hide_short_help = true
    )]
    pub bulk_share: f64,
}

impl Group for BatchSettings {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::share("bulk_share", self.bulk_share)]
    }
}

impl BatchSettings {
    /// Rows of all batches together on a device that `threads` threads run.
    pub fn capacity(&self, device: Device, threads: usize) -> usize {
        let threads = match device {
            Device::Cpu => threads,
            Device::Cuda { .. } | Device::TensorRt { .. } => 1,
        };
        self.max_batch_chains.unwrap_or(CHAINS_PER_THREAD * threads)
    }

    /// How chains share batches on a device that `threads` threads run.
    pub fn policy(&self, device: Device, threads: usize) -> Policy {
        let capacity = self.capacity(device, threads);
        let mut buckets = match (&self.batch_buckets, device) {
            (Some(buckets), _) => buckets.clone(),
            // A CPU runs every size as well as the next.
            (None, Device::Cpu) => Vec::new(),
            (None, _) => {
                let powers = (0..usize::BITS).map(|power| 1 << power);
                let below = powers.take_while(|size| *size < capacity);
                below.chain([capacity]).collect()
            }
        };
        buckets.sort_unstable();
        Policy {
            capacity,
            bulk_share: self.bulk_share,
            buckets,
            background: false,
        }
    }
}
