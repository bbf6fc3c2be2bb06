//! Which inner product it is.

use stablemate_encodings::{Codebook, Packing};

use super::codebook::TableProduct;
use super::decode::{Codes, WithCodes, with_codes};
use super::micro::{BYTES, Micro, Operands, PAIRS, SPLIT};
use crate::isa::Isa;
use crate::simd::dispatch;

/// A block of rows by a block of `width` tokens, whose words are in the form `words`.
///
/// # Safety
/// As [`Micro`] with this width.
pub(super) unsafe fn multiply(
    isa: Isa,
    packing: Packing,
    words: u8,
    width: usize,
    operands: Operands,
) {
    // SAFETY: passed on.
    unsafe {
        match packing.codebook() {
            Some(codebook @ Codebook::Nf4(_)) => multiply_table(isa, codebook, width, operands),
            _ => with_codes(packing, Multiply { isa, words, width, operands }),
        }
    }
}

struct Multiply {
    isa: Isa,
    words: u8,
    width: usize,
    operands: Operands,
}

impl WithCodes for Multiply {
    type Output = ();

    /// As [`multiply_codes`].
    unsafe fn run<K: Codes>(self) {
        // SAFETY: passed on.
        unsafe { multiply_codes::<K>(self.isa, self.words, self.width, self.operands) };
    }
}

/// # Safety
/// As [`Micro`] with this width.
unsafe fn multiply_codes<K: Codes>(isa: Isa, words: u8, width: usize, o: Operands) {
    // SAFETY: passed on.
    unsafe {
        match (words, width) {
            (PAIRS, 1) => dispatch(isa, Micro::<K, PAIRS, 1>::new(o)),
            (PAIRS, 2) => dispatch(isa, Micro::<K, PAIRS, 2>::new(o)),
            (PAIRS, 4) => dispatch(isa, Micro::<K, PAIRS, 4>::new(o)),
            (PAIRS, _) => dispatch(isa, Micro::<K, PAIRS, 8>::new(o)),
            (SPLIT, 1) => dispatch(isa, Micro::<K, SPLIT, 1>::new(o)),
            (SPLIT, _) => dispatch(isa, Micro::<K, SPLIT, 2>::new(o)),
            (BYTES, 1) => dispatch(isa, Micro::<K, BYTES, 1>::new(o)),
            (BYTES, 2) => dispatch(isa, Micro::<K, BYTES, 2>::new(o)),
            (BYTES, 4) => dispatch(isa, Micro::<K, BYTES, 4>::new(o)),
            (_, _) => dispatch(isa, Micro::<K, BYTES, 8>::new(o)),
        }
    }
}

/// # Safety
/// As [`TableProduct`] with this width.
unsafe fn multiply_table(isa: Isa, codebook: Codebook, width: usize, operands: Operands) {
    let table = codebook.values();
    // SAFETY: passed on.
    unsafe {
        match width {
            1 => dispatch(isa, TableProduct::<1> { operands, table }),
            2 => dispatch(isa, TableProduct::<2> { operands, table }),
            4 => dispatch(isa, TableProduct::<4> { operands, table }),
            _ => dispatch(isa, TableProduct::<8> { operands, table }),
        }
    }
}
