//! The device of tensors.

use std::ffi::CStr;
use std::fmt;
use std::str::FromStr;

use tch::Device;

const CUDA_LIBRARY: &CStr = c"libtorch_cuda.so";

/// The requested device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if there is one.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU by number.
    Cuda(usize),
}

/// Why a device is not available.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The name is unknown.
    #[error("the device {0:?} is not known; expected auto, cpu, cuda or cuda:N")]
    Unknown(String),
    /// There is no such GPU.
    #[error(
        "cuda:{wanted} was asked for and there are {available} GPUs that this libtorch can use; \
         put a libtorch with CUDA on LD_LIBRARY_PATH, or use --device cpu"
    )]
    Absent {
        /// The requested number.
        wanted: usize,
        /// The number of GPUs.
        available: usize,
    },
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let number = || name.strip_prefix("cuda:")?.parse().ok();
        match name {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => number()
                .map(Self::Cuda)
                .ok_or_else(|| DeviceError::Unknown(name.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl DeviceChoice {
    /// The device itself.
    ///
    /// # Errors
    /// When the requested GPU does not exist.
    pub fn resolve(self) -> Result<Device, DeviceError> {
        if self == Self::Cpu {
            return Ok(Device::Cpu);
        }
        load_cuda();
        let available = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
        match self {
            Self::Cuda(wanted) if wanted >= available => {
                Err(DeviceError::Absent { wanted, available })
            }
            Self::Cuda(number) => Ok(Device::Cuda(number)),
            _ => Ok(Device::cuda_if_available()),
        }
    }
}

/// The binary names no CUDA library, so that it runs without one. libtorch learns of CUDA when
/// its CUDA part is loaded, and asks only once: this must come before any question about GPUs.
#[expect(unsafe_code, reason = "it loads a library")]
fn load_cuda() {
    // SAFETY: the name is a C string, and libtorch's initialisers may run at any time.
    unsafe { libc::dlopen(CUDA_LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        assert!(
            "gpu"
                .parse::<DeviceChoice>()
                .unwrap_err()
                .to_string()
                .contains("cuda:N")
        );
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn an_absent_gpu_is_an_error() {
        let error = DeviceChoice::Cuda(99).resolve().unwrap_err();
        assert!(error.to_string().contains("--device cpu"), "{error}");
    }
}
