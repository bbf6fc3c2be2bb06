//! The instructions.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::{Planes, Step, TILE_BYTES};

/// Whether this machine has tiles with products of bytes and of bf16, and Linux lets this process use them.
pub(crate) fn available() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| has_instructions() && permitted())
}

fn has_instructions() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    if __cpuid(0).eax < 7 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    features & (BF16 | TILE | INT8) == BF16 | TILE | INT8
}

/// Asks for the state of tiles, for all threads of the process.
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: takes two numbers and touches no memory. An old kernel answers with an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Palette {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Shapes of the tiles: 0 to 3 are sums `[tokens, 16]` of i32 or f32, 4 and 5 are activations, `[tokens, depth]` in bytes, 6 and 7
/// are weights, `[depth / 4, 16, 4]` in bytes. As long as it lives this thread's tiles are in use.
pub(crate) struct Configured {
    /// Tiles belong to a thread.
    thread: PhantomData<*mut ()>,
}

impl Configured {
    /// # Safety
    /// [`available`]; `tokens` are 1 to [`TILE_ROWS`], `depth` is a multiple of four up to [`TILE_BYTES`].
    pub(crate) unsafe fn new(tokens: usize, depth: usize) -> Self {
        let mut palette = Palette {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        for tile in 0..8 {
            let (rows, bytes) = match tile {
                0..4 => (tokens, TILE_BYTES),
                4 | 5 => (tokens, depth),
                _ => (depth / 4, TILE_BYTES),
            };
            (palette.rows[tile], palette.row_bytes[tile]) = (rows as u8, bytes as u16);
        }
        // SAFETY: a palette of the size that the instruction reads; its numbers are in range.
        unsafe {
            asm!("ldtilecfg [{palette}]", palette = in(reg) &raw const palette,
                options(nostack, preserves_flags, readonly));
        }
        Self { thread: PhantomData }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: there is a configuration. Without tiles in use the system has less to save.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
    }
}

/// Begins new sums.
///
/// # Safety
/// Tiles are configured.
#[inline(always)]
pub(crate) unsafe fn begin(planes: Planes) {
    // SAFETY: there is a configuration. No compiled code uses tiles, so that none need be declared as overwritten.
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", options(nostack, preserves_flags));
        if planes == Planes::Split {
            asm!("tilezero tmm2", "tilezero tmm3", options(nostack, preserves_flags));
        }
    }
}

/// Loads a tile.
macro_rules! load {
    ($tile:literal, $at:expr, $stride:expr) => {
        asm!(concat!("tileloadd ", $tile, ", [{at} + {stride}*1]"), at = in(reg) $at, stride = in(reg) $stride,
            options(nostack, preserves_flags, readonly))
    };
}

/// Adds a product to a sum: `$sum += $a · $b`.
macro_rules! add {
    ($operation:literal, $sum:literal, $a:literal, $b:literal) => {
        asm!(
            concat!($operation, " ", $sum, ", ", $a, ", ", $b),
            options(nostack, preserves_flags, nomem)
        )
    };
}

/// A quarter of a step, 0 to 3: so that other work can stand between them. `signed`: the weights' bytes are, if they are bytes.
///
/// # Safety
/// Tiles are configured for the step's tokens and depth; `a` and `b` are valid for them. Quarters follow each other.
#[inline(always)]
pub(crate) unsafe fn quarter(step: &Step, planes: Planes, signed: bool, quarter: usize) {
    // SAFETY: passed on. See `begin`.
    unsafe {
        match quarter {
            0 => {
                load!("tmm4", step.a, step.depth);
                load!("tmm6", step.b, TILE_BYTES);
                match (planes, signed) {
                    (Planes::Floats, _) => add!("tdpbf16ps", "tmm0", "tmm4", "tmm6"),
                    (_, true) => add!("tdpbssd", "tmm0", "tmm4", "tmm6"),
                    (_, false) => add!("tdpbsud", "tmm0", "tmm4", "tmm6"),
                }
            }
            1 => {
                load!("tmm7", step.b.add(16 * step.depth), TILE_BYTES);
                match (planes, signed) {
                    (Planes::Floats, _) => add!("tdpbf16ps", "tmm1", "tmm4", "tmm7"),
                    (_, true) => add!("tdpbssd", "tmm1", "tmm4", "tmm7"),
                    (_, false) => add!("tdpbsud", "tmm1", "tmm4", "tmm7"),
                }
            }
            2 if planes != Planes::Bytes => {
                load!("tmm5", step.a.add(step.plane), step.depth);
                match (planes, signed) {
                    (Planes::Floats, _) => add!("tdpbf16ps", "tmm0", "tmm5", "tmm6"),
                    (_, true) => add!("tdpbusd", "tmm2", "tmm5", "tmm6"),
                    (_, false) => add!("tdpbuud", "tmm2", "tmm5", "tmm6"),
                }
            }
            3 if planes != Planes::Bytes => match (planes, signed) {
                (Planes::Floats, _) => add!("tdpbf16ps", "tmm1", "tmm5", "tmm7"),
                (_, true) => add!("tdpbusd", "tmm3", "tmm5", "tmm7"),
                (_, false) => add!("tdpbuud", "tmm3", "tmm5", "tmm7"),
            },
            _ => {}
        }
    }
}

/// Stores the sums: `[sums, 2, 16, 16]`, of which the first `tokens` of each sixteen rows are written.
///
/// # Safety
/// Tiles are configured; there is room.
#[inline(always)]
pub(crate) unsafe fn store(sums: *mut i32, planes: Planes) {
    // SAFETY: passed on.
    unsafe {
        asm!(
            "tilestored [{sums} + {line}*1], tmm0",
            "tilestored [{sums} + {line}*1 + 1024], tmm1",
            sums = in(reg) sums,
            line = in(reg) TILE_BYTES,
            options(nostack, preserves_flags),
        );
        if planes == Planes::Split {
            asm!(
                "tilestored [{sums} + {line}*1 + 2048], tmm2",
                "tilestored [{sums} + {line}*1 + 3072], tmm3",
                sums = in(reg) sums,
                line = in(reg) TILE_BYTES,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Aligned<T>(T);

    /// All values of bytes, in all four meanings.
    #[test]
    fn products_are_those_of_integers() {
        if !available() {
            return;
        }
        let (tokens, depth, steps) = (5, 32, 3);
        let byte = |n: usize| (n * 151 + n / 7 * 31) as u8;
        let a: Vec<u8> = (0..steps * 2 * tokens * depth).map(byte).collect();
        let b: Vec<u8> = (0..steps * 2 * depth * 16).map(|n| byte(3 * n + 1)).collect();
        for (planes, count) in [(Planes::Bytes, 1), (Planes::Split, 2)] {
            for signed in [true, false] {
                let mut sums = Aligned([0x5555_5555; 1024]);
                let plane = tokens * depth;
                // SAFETY: it is available, and operands have these shapes.
                unsafe {
                    let configured = Configured::new(tokens, depth);
                    begin(planes);
                    for n in 0..steps {
                        let a = a[n * count * plane..].as_ptr();
                        let b = b[n * 2 * 16 * depth..].as_ptr();
                        let step = Step { a, depth, plane, b };
                        (0..4).for_each(|n| quarter(&step, planes, signed, n));
                    }
                    store(sums.0.as_mut_ptr(), planes);
                    drop(configured);
                }
                for (n, sum) in sums.0.iter().enumerate() {
                    let (plane, half, token, row) = (n / 512, n / 256 % 2, n / 16 % 16, n % 16);
                    if plane >= count || token >= tokens {
                        assert_eq!(*sum, 0x5555_5555);
                        continue;
                    }
                    let mut expected = 0;
                    for (step, k) in (0..steps).flat_map(|step| (0..depth).map(move |k| (step, k)))
                    {
                        let x = a[((step * count + plane) * tokens + token) * depth + k];
                        let w = b[((step * 2 + half) * depth / 4 + k / 4) * 64 + row * 4 + k % 4];
                        let x = if plane == 0 { i32::from(x as i8) } else { i32::from(x) };
                        let w = if signed { i32::from(w as i8) } else { i32::from(w) };
                        expected += x * w;
                    }
                    assert_eq!(*sum, expected, "{planes:?} {signed} {plane} {half} {token} {row}");
                }
            }
        }
    }
}
