//! The matrix registers, and what the operating system wants before they are used.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::LazyLock;

use crate::pairs::Right;

/// Rows of a tile.
pub(super) const ROWS: usize = 16;
/// Numbers in a row of a tile of factors: summands of the left factor; pairs of summands of the right
/// factor's 16 columns.
pub(super) const PAIRED: usize = 32;
/// Pairs in a row of a tile.
pub(super) const PAIRS: usize = PAIRED / 2;
/// Rows and columns of what is multiplied at once: two tiles of either factor.
pub(super) const BLOCK: usize = 2 * ROWS;

/// A tile of bfloat16 numbers, row after row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(super) [u16; ROWS * PAIRED]);

impl Tile {
    pub(super) const ZERO: Self = Self([0; ROWS * PAIRED]);
}

/// Sums of a block, row after row.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[f32; BLOCK]; BLOCK]);

/// Whether this CPU and the operating system let this process multiply bfloat16 tiles.
pub(crate) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| in_cpu() && permitted());
    *AVAILABLE
}

/// Whether this CPU has AMX-TILE and AMX-BF16: bits 24 and 22 of EDX of leaf 7 (Intel's Software Developer's
/// Manual, volume 2A, CPUID).
pub(crate) fn in_cpu() -> bool {
    const BITS: u32 = 1 << 24 | 1 << 22;
    is_x86_feature_detected!("avx512f") && __cpuid_count(7, 0).edx & BITS == BITS
}

/// Asks Linux for the registers' state, which a process does not have unasked
/// (`Documentation/arch/x86/xstate.rst`).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call reads no memory of ours; it only allows this process to use the registers.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight whole tiles.
static CONFIGURATION: Configuration = {
    let mut configuration = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    let mut register = 0;
    while register < 8 {
        configuration.row_bytes[register] = 64;
        configuration.rows[register] = ROWS as u8;
        register += 1;
    }
    configuration
};

/// The registers of this thread, ready for use until they are dropped; a thread has one at a time. Until then
/// they are part of what the operating system saves when it switches threads.
pub(crate) struct Registers(PhantomData<*const ()>);

impl Registers {
    /// # Panics
    /// Where AMX is not [`available`].
    pub(super) fn configure() -> Self {
        assert!(available(), "AMX is not available");
        // SAFETY: the CPU has the instruction, and the process may use the registers.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly))
        };
        Self(PhantomData)
    }

    /// The products of up to 32 rows of the left factor and 32 columns of the right one. `right` has the
    /// tiles of the first 16 columns, summand after summand, then as many of the others; so has `left` of its
    /// rows, or those of the first 16 alone, and then both halves of the sums are the same.
    ///
    /// # Panics
    /// When the factors have different numbers of summands, or none.
    pub(super) fn multiply(&self, left: &[Tile], right: &[Tile], sums: &mut Sums) {
        let tiles = right.len() / 2;
        let both = left.len() == 2 * tiles;
        assert!(tiles > 0 && right.len() == 2 * tiles && (both || left.len() == tiles));
        // SAFETY: the registers are configured as `self` exists; the loop reads `tiles` tiles from where either
        // half of the factors begins, which they have; `sums` has two times two tiles.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{left} + {stride}*1]",
                "tileloadd tmm5, [{right} + {stride}*1]",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "tileloadd tmm6, [{right_half} + {stride}*1]",
                "tdpbf16ps tmm1, tmm4, tmm6",
                "tileloadd tmm7, [{left_half} + {stride}*1]",
                "tdpbf16ps tmm2, tmm7, tmm5",
                "tdpbf16ps tmm3, tmm7, tmm6",
                "add {left}, 1024",
                "add {right}, 1024",
                "add {left_half}, 1024",
                "add {right_half}, 1024",
                "dec {tiles}",
                "jnz 2b",
                "mov {stride:e}, 128",
                "tilestored [{sums} + {stride}*1], tmm0",
                "tilestored [{sums} + {stride}*1 + 64], tmm1",
                "tilestored [{sums} + {stride}*1 + 2048], tmm2",
                "tilestored [{sums} + {stride}*1 + 2112], tmm3",
                left = inout(reg) left.as_ptr() => _,
                left_half = inout(reg) left[left.len() - tiles..].as_ptr() => _,
                right = inout(reg) right.as_ptr() => _,
                right_half = inout(reg) right[tiles..].as_ptr() => _,
                tiles = inout(reg) tiles => _,
                stride = inout(reg) 64_usize => _,
                sums = in(reg) sums,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Registers {
    /// The products of `left`, the tiles of up to 32 rows as [`multiply`](Self::multiply) takes them, and 32 columns of
    /// `right`, whose starts, in each group of 16 summands, are equally far apart: 32 rows of 32 sums, `sums_stride`
    /// apart.
    ///
    /// # Panics
    /// When the factors have different numbers of summands, or none, or `right` lacks columns.
    pub(super) fn multiply_shifted(
        &self,
        left: &[Tile],
        right: Right<'_>,
        sums: &mut [f32],
        sums_stride: usize,
    ) {
        let starts = &right.starts.all;
        let tiles = starts.len() / PAIRS;
        let both = left.len() == 2 * tiles;
        assert!(tiles > 0 && starts.len() == tiles * PAIRS && (both || left.len() == tiles));
        assert!(starts[0] <= starts[1]);
        let distance = starts[1] - starts[0];
        let last = starts.iter().step_by(PAIRS).max().copied();
        let end = last.unwrap_or_default() + (PAIRS - 1) * distance + BLOCK;
        debug_assert!(starts.chunks(PAIRS).all(|group| {
            let distances = group.windows(2).map(|two| two[1].wrapping_sub(two[0]));
            distances.eq([distance; PAIRS - 1])
        }));
        assert!(end <= right.pairs.len() && sums_stride >= BLOCK);
        assert!(sums.len() >= (BLOCK - 1) * sums_stride + BLOCK);
        let base = sums.as_mut_ptr();
        // SAFETY: the registers are configured as `self` exists; the loop reads `tiles` tiles from where either half of
        // `left` begins, which it has, and 32 columns of the 16 summands from every 16th start on, the last of which
        // `right` has; `sums` has two times two tiles.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {column}, [{starts}]",
                "lea {column}, [{right} + {column}*4]",
                "tileloadd tmm4, [{left} + {stride}*1]",
                "tileloadd tmm5, [{column} + {distance}*1]",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "tileloadd tmm6, [{column} + {distance}*1 + 64]",
                "tdpbf16ps tmm1, tmm4, tmm6",
                "tileloadd tmm7, [{left_half} + {stride}*1]",
                "tdpbf16ps tmm2, tmm7, tmm5",
                "tdpbf16ps tmm3, tmm7, tmm6",
                "add {left}, 1024",
                "add {left_half}, 1024",
                "add {starts}, {group}",
                "dec {tiles}",
                "jnz 2b",
                "tilestored [{sums} + {sums_stride}*1], tmm0",
                "tilestored [{sums} + {sums_stride}*1 + 64], tmm1",
                "tilestored [{sums_half} + {sums_stride}*1], tmm2",
                "tilestored [{sums_half} + {sums_stride}*1 + 64], tmm3",
                left = inout(reg) left.as_ptr() => _,
                left_half = inout(reg) left[left.len() - tiles..].as_ptr() => _,
                starts = inout(reg) starts.as_ptr() => _,
                right = in(reg) right.pairs.as_ptr(),
                column = out(reg) _,
                distance = in(reg) distance * size_of::<u32>(),
                group = const PAIRS * size_of::<usize>(),
                tiles = inout(reg) tiles => _,
                stride = in(reg) 64_usize,
                sums = in(reg) base,
                sums_half = in(reg) base.add(ROWS * sums_stride),
                sums_stride = in(reg) sums_stride * size_of::<f32>(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the CPU has the instruction, since the registers were configured.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn registers_are_used_where_linux_names_them() {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        assert_eq!(in_cpu(), cpu.contains("amx_bf16"));
        assert_eq!(available(), in_cpu());
    }
}
