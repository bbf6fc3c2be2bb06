//! How the processor treats floats that are too small to be normal.

/// While this lives, the thread computes with subnormal floats as IEEE 754 (and Rust) has it. IREE lets
/// the processor take them for zero while compiled code runs, and kernels are called in between.
pub(crate) struct StandardFloats {
    found: Control,
}

impl StandardFloats {
    pub(crate) fn enter() -> Self {
        let found = control();
        if found & FLUSH != 0 {
            set_control(found & !FLUSH);
        }
        Self { found }
    }
}

impl Drop for StandardFloats {
    fn drop(&mut self) {
        if self.found & FLUSH != 0 {
            set_control(self.found);
        }
    }
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
/// "Flush to zero" and "denormals are zeros" of MXCSR.
#[cfg(target_arch = "x86_64")]
const FLUSH: Control = 1 << 15 | 1 << 6;

#[cfg(target_arch = "x86_64")]
fn control() -> Control {
    let mut value: Control = 0;
    // SAFETY: stores four bytes at the address of a variable of four.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags));
    }
    value
}

#[cfg(target_arch = "x86_64")]
fn set_control(value: Control) {
    // SAFETY: the value is one that the register had, with or without the two bits above.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
type Control = u64;
/// FZ and FZ16 of FPCR.
#[cfg(target_arch = "aarch64")]
const FLUSH: Control = 1 << 24 | 1 << 19;

#[cfg(target_arch = "aarch64")]
fn control() -> Control {
    let value: Control;
    // SAFETY: reads a register.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}

#[cfg(target_arch = "aarch64")]
fn set_control(value: Control) {
    // SAFETY: the value is one that the register had, with or without the two bits above.
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack, preserves_flags));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Control = u32;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const FLUSH: Control = 0;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn control() -> Control {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set_control(_: Control) {}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn doubled() -> f32 {
        black_box(black_box(f32::from_bits(3)) * black_box(2.0))
    }

    #[test]
    fn subnormal_floats_are_floats_inside() {
        let before = control();
        set_control(before | FLUSH);
        let flushed = doubled();
        let standard = {
            let _standard = StandardFloats::enter();
            doubled()
        };
        let again = doubled();
        set_control(before);
        assert_eq!((flushed, standard, again), (0.0, f32::from_bits(6), 0.0));
        assert_eq!(doubled(), f32::from_bits(6));
    }
}
