//! The machine's memory.

use std::fs;

/// Bytes that programs can still have; `None` where the system does not say.
pub fn free_bytes() -> Option<u64> {
    let report = fs::read_to_string("/proc/meminfo").ok()?;
    let mut lines = report.lines();
    let free = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = free.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}
