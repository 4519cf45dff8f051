use clap::Args;
use lfbm_runtime::Device;
use lfbm_settings::{Group, Range};
use serde::{Deserialize, Serialize};

use super::Policy;

/// A worker reads all weights for its batch, however small, so each has room for this many.
const CHAINS_PER_WORKER: usize = 64;
pub(crate) const MAX_BATCH_CHAINS: u64 = 65_536;

/// How chains share batches.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Batches")]
pub struct BatchSettings {
    /// Threads that run chains on cpu, each in a batch of its own; 0 for one per core; NUMA nodes share them
    #[arg(long, env = "LFBM_THREADS", default_value_t = 0)]
    pub threads: usize,
    /// Rows of all batches together, which the threads or GPUs share evenly; 2 to 65536 [default: 64 a
    /// thread on cpu, 64 a GPU elsewhere]
    #[arg(long, env = "LFBM_MAX_BATCH_CHAINS", hide_short_help = true)]
    pub max_batch_chains: Option<usize>,
    /// Batch sizes that a thread or GPU runs, as a list with commas; smaller batches are padded to the next
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
    /// How chains share the batches of so many workers on a kind of device.
    pub fn policy(&self, device: Device, workers: usize) -> Policy {
        let default = CHAINS_PER_WORKER.saturating_mul(workers);
        let capacity = self.max_batch_chains.unwrap_or(default);
        let mut buckets = match (&self.batch_buckets, device) {
            (Some(buckets), _) => buckets.clone(),
            // A CPU runs every size as well as the next.
            (None, Device::Cpu) => Vec::new(),
            (None, _) => {
                let of_worker = capacity.div_ceil(workers.max(1));
                let powers = (0..usize::BITS).map(|power| 1 << power);
                let below = powers.take_while(|size| *size < of_worker);
                below.chain([of_worker]).collect()
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

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn policy(flags: &[&str], device: Device, workers: usize) -> (usize, Vec<usize>) {
        let command = BatchSettings::augment_args(clap::Command::new("test"));
        let matches = command.get_matches_from([&["test"], flags].concat());
        let settings = BatchSettings::from_arg_matches(&matches).unwrap();
        let policy = settings.policy(device, workers);
        (policy.capacity, policy.buckets)
    }

    #[test]
    fn a_default_capacity_is_of_each_worker_and_one_that_is_asked_for_is_of_all() {
        let gpu = Device::Cuda { id: 0 };
        let powers = vec![1, 2, 4, 8, 16, 32, 64];
        assert_eq!(policy(&[], Device::Cpu, 3), (192, Vec::new()));
        assert_eq!(policy(&[], gpu, 1), (64, powers.clone()));
        assert_eq!(policy(&[], gpu, 4), (256, powers.clone()));
        let all = ["--max-batch-chains", "128"];
        assert_eq!(policy(&all, Device::Cpu, 4), (128, Vec::new()));
        assert_eq!(policy(&all, gpu, 2), (128, powers));
        let odd = ["--max-batch-chains", "7"];
        assert_eq!(policy(&odd, gpu, 2), (7, vec![1, 2, 4]));
        assert_eq!(policy(&odd, gpu, 3), (7, vec![1, 2, 3]));
        let buckets = ["--batch-buckets", "8,4"];
        assert_eq!(policy(&buckets, gpu, 2), (128, vec![4, 8]));
        assert_eq!(policy(&[], Device::Cpu, usize::MAX).0, usize::MAX);
    }
}
