//! In: how a weight is quantised (bits, groups, scales), and its codes.
//! Out: the packed layout that kernels and graphs read, one for all encodings; quantisation itself.
//! Never: knows a file, a graph or an instruction set.
//!
//! # The packed layout
//!
//! A weight `[O, I]` is quantised along `I`, row by row. A packed row is a run of 32-bit words: first
//! the codes, then the scales. Sixteen rows make a *tile*, in which word `n` of all sixteen rows lies
//! together (lane `r` is row `16 · tile + r`), so that one vector register of sixteen 32-bit lanes
//! holds the same place of sixteen rows: `[ceil(O / 16), words, 16]` words in all. Rows that are missing
//! in the last tile are zero words.
//!
//! ## Codes
//!
//! A row's codes stand in units of 32. A unit is split by bits into planes of 8, 4, 2 or 1 bits (see
//! [`Bits::planes`]); it takes as many words as a code has bits, the plane of the lowest bits first. In a
//! plane of `w` bits, word `z` holds `16 / w` *pairs* of neighbouring codes: pair `j = z · 16/w + f`
//! has code `2j` of the unit at bit `w · f` and code `2j + 1` at bit `16 + w · f`. So a shift and a mask
//! leave a pair of codes as two 16-bit integers. An incomplete last unit is filled with zero codes.
//!
//! ## Scales
//!
//! See [`Scales`]: each form says what its words hold.
//!
//! # Codebooks
//!
//! Codes are integers, or numbers of the values in a table: see [`Codebook`]. Such codes have four bits and lie as all
//! others do.

mod codebook;
mod packing;
pub mod quantize;
mod row;

pub use codebook::Codebook;
pub use packing::{Bits, Float, LANES, Nested, Packing, PackingError, Scales, UNIT};
pub use row::{gather, interleave, pack_six_bits, unpack_six_bits};
