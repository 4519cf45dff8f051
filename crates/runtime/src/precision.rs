//! How exactly large products are computed.

use std::fmt;
use std::str::FromStr;

use crate::device::Device;

/// How exactly the products of large layers are computed. Everything else is in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Factors with 10 bits after the point, on a GPU.
    Tf32,
    /// Factors with 7 bits after the point, on a CPU with AVX512-BF16, in the layers that this makes
    /// faster.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    /// Reads `f32`, `tf32` or `bf16`.
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Precision::F32, Precision::Tf32, Precision::Bf16];
        let found = all
            .into_iter()
            .find(|precision| precision.to_string() == text);
        found.ok_or_else(|| format!("unknown precision {text:?}, expected f32, tf32 or bf16"))
    }
}

impl Precision {
    /// The precisions that a kind of device may have, the most exact first.
    pub fn of(device: Device) -> &'static [Precision] {
        match device {
            Device::Cpu => &[Precision::F32, Precision::Bf16],
            Device::Cuda { .. } => &[Precision::F32, Precision::Tf32],
            // ONNX Runtime has no way to forbid it there.
            Device::TensorRt { .. } => &[Precision::Tf32],
        }
    }

    /// The most exact that a kind of device has.
    pub fn exact(device: Device) -> Precision {
        Self::of(device).first().copied().unwrap_or_default()
    }

    /// Whether `device` has it, here.
    ///
    /// # Errors
    /// Why it has not.
    pub fn check(self, device: Device) -> Result<(), String> {
        if !Self::of(device).contains(&self) {
            Err(format!("ask for {} on {device}", Self::exact(device)))
        } else if self == Precision::Bf16 && !lfbm_kernels::bf16_available() {
            Err(
                "this CPU has no AVX512-BF16 (Zen 4, Cooper Lake, Sapphire Rapids and later \
                 have it)"
                    .to_owned(),
            )
        } else {
            Ok(())
        }
    }
}
