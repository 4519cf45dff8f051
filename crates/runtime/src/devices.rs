//! The devices that share a model's chains.

use std::fmt;
use std::mem::discriminant;
use std::str::FromStr;

use crate::device::{Device, NamedDevice};

/// Why a text names no devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevicesError {
    /// A name is that of no device.
    #[error(
        "unknown device {0:?}, expected cpu, cuda[:N] or tensorrt[:N], or with commas several GPUs, or \
         NUMA nodes as cpu:N"
    )]
    Unknown(String),
    /// Devices are of several kinds.
    #[error("expected devices of one kind, got {first} with {other}; start a server for each kind")]
    Mixed {
        /// The first device.
        first: String,
        /// One of another kind.
        other: String,
    },
    /// All CPUs are named twice.
    #[error("cpu is named twice and is all CPUs already; name it once, or NUMA nodes as cpu:N")]
    CpuTwice,
    /// A GPU is named twice.
    #[error(
        "{0} is named twice, which does not make a GPU faster and doubles the memory that a model \
         takes there; name it once"
    )]
    GpuTwice(Device),
}

/// The devices that share a model's chains, at least one and all of a kind: the CPU, NUMA nodes, or GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(Vec<NamedDevice>);

impl Default for Devices {
    /// The CPU.
    fn default() -> Self {
        Self(vec![NamedDevice::default()])
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, device) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{device}")?;
        }
        Ok(())
    }
}

impl FromStr for Devices {
    type Err = DevicesError;

    /// Reads names with commas between them. A NUMA node that is named twice counts as two devices.
    fn from_str(text: &str) -> Result<Self, DevicesError> {
        let read = |name: &str| {
            let name = name.trim();
            NamedDevice::read(name).ok_or_else(|| DevicesError::Unknown(name.to_owned()))
        };
        let devices: Vec<_> = text.split(',').map(read).collect::<Result<_, _>>()?;
        for (index, other) in devices.iter().enumerate() {
            let before = &devices[..index];
            let differs = |first: &&NamedDevice| {
                discriminant(&first.device) != discriminant(&other.device)
                    || first.node.is_some() != other.node.is_some()
            };
            if let Some(first) = before.iter().find(differs) {
                let (first, other) = (first.to_string(), other.to_string());
                return Err(DevicesError::Mixed { first, other });
            }
            if other.node.is_none() && before.contains(other) {
                return Err(match other.device {
                    Device::Cpu => DevicesError::CpuTwice,
                    gpu => DevicesError::GpuTwice(gpu),
                });
            }
        }
        Ok(Self(devices))
    }
}

impl Devices {
    /// The first of them, of whose kind all are.
    pub fn first(&self) -> Device {
        self.0.first().copied().unwrap_or_default().device
    }

    /// The numbers of the GPUs; none on the CPU.
    pub fn gpus(&self) -> Vec<i32> {
        let numbers = self.0.iter().filter_map(|named| match named.device {
            Device::Cpu => None,
            Device::Cuda { id } | Device::TensorRt { id } => Some(id),
        });
        numbers.collect()
    }

    pub(crate) fn named(&self) -> &[NamedDevice] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Devices, DevicesError> {
        text.parse()
    }

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in [
            "cpu",
            "cpu:0",
            "cpu:0,cpu:0",
            "cpu:1,cpu:0",
            "cuda:0",
            "cuda:1,cuda:0",
            "tensorrt:0,tensorrt:3",
        ] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        assert_eq!(read("cuda").unwrap(), read("cuda:0").unwrap());
        assert_eq!(
            read("cuda, cuda:1").unwrap(),
            read("cuda:0,cuda:1").unwrap()
        );
        assert_eq!(read("cuda:2,cuda:1").unwrap().gpus(), [2, 1]);
        assert!(read("cpu:2,cpu:1").unwrap().gpus().is_empty());
    }

    #[test]
    fn what_is_no_list_of_devices_is_refused_in_one_sentence() {
        for (text, part) in [
            ("", "unknown device \"\""),
            ("tpu", "unknown device \"tpu\""),
            ("cuda:", "\"cuda:\""),
            ("cuda:-1", "\"cuda:-1\""),
            ("cuda:2147483648", "\"cuda:2147483648\""),
            ("cpu:x", "\"cpu:x\""),
            ("cpu,", "unknown device \"\""),
            ("cuda:0,gpu:1", "\"gpu:1\""),
            ("cpu,cuda", "got cpu with cuda:0"),
            ("cuda:0,cuda:1,tensorrt:2", "got cuda:0 with tensorrt:2"),
            ("cpu,cpu:0", "got cpu with cpu:0"),
            ("cpu:0,cpu", "got cpu:0 with cpu"),
            ("cpu,cpu", "cpu is named twice"),
            ("cuda,cuda:1,cuda:0", "cuda:0 is named twice"),
            ("tensorrt:1,tensorrt:1", "doubles the memory"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains(". "), "{text}: {error}");
        }
    }
}
