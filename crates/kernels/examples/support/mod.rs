//! Weights that are filled with arbitrary numbers, and reading them.

use std::hint::black_box;

use stablemate_encodings::{Bits, Codebook, Float, Nested, Packing, Scales};
use stablemate_kernels::{Kernels, Weight};

/// Words at addresses that are multiples of 64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u32; 16]);

#[derive(Clone, Copy)]
pub enum Encoding {
    Dense(Float),
    Packed(Packing),
}

/// Matrices of one shape.
pub struct Stored {
    encoding: Encoding,
    pub rows: usize,
    pub columns: usize,
    pub lines: Vec<Line>,
}

impl Stored {
    pub fn new(encoding: Encoding, count: usize, rows: usize, columns: usize) -> Self {
        let words = match encoding {
            Encoding::Dense(float) => count * rows * columns * float.bytes() / 4,
            Encoding::Packed(packing) => count * packing.words(rows, columns),
        };
        // Neither large numbers nor subnormal ones in any encoding.
        let mut state = rows as u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 3) & 0x0FFF_0FFF | 0x2000_2000
        };
        let lines =
            (0..words.div_ceil(16)).map(|_| Line(std::array::from_fn(|_| word()))).collect();
        Self { encoding, rows, columns, lines }
    }

    fn words(&self) -> &[u32] {
        // SAFETY: lines are arrays of words without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 16) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as above; words are bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 64) }
    }

    pub fn weight(&self) -> Weight<'_> {
        match self.encoding {
            Encoding::Dense(float) => Weight::Dense { float, bytes: self.bytes() },
            Encoding::Packed(packing) => Weight::Packed { packing, words: self.words() },
        }
    }
}

/// The encoding of this name.
pub fn encoding(name: &str) -> Option<Encoding> {
    let packed = |bits, group, scales| Packing::new(bits, group, scales).ok().map(Encoding::Packed);
    match name {
        "q4_0" => packed(Bits::Four, 32, Scales::Centred(Float::F16)),
        "q8_0" => packed(Bits::Eight, 32, Scales::Centred(Float::F16)),
        "q4_1" => packed(Bits::Four, 32, Scales::Affine(Float::F16)),
        "q4_k" => packed(Bits::Four, 32, Scales::Nested(Nested::MinimumsSix)),
        "q6_k" => packed(Bits::Six, 16, Scales::Nested(Nested::CentredEight)),
        "mlx4" => packed(Bits::Four, 64, Scales::Affine(Float::Bf16)),
        "mxfp4" => packed(Bits::Four, 32, Scales::Codebook(Codebook::Mxfp4)),
        "nf4" => packed(Bits::Four, 64, Scales::Codebook(Codebook::Nf4(Float::F16))),
        "f16" => Some(Encoding::Dense(Float::F16)),
        "bf16" => Some(Encoding::Dense(Float::Bf16)),
        "f32" => Some(Encoding::Dense(Float::F32)),
        _ => None,
    }
}

/// Reads lines, in the same pool.
pub fn read(kernels: &Kernels, stretches: &[&[Line]]) {
    const PIECE: usize = 1 << 11;
    let pieces: Vec<&[Line]> = stretches.iter().flat_map(|stretch| stretch.chunks(PIECE)).collect();
    kernels.pool().run(pieces.len(), &|piece| {
        let lines = pieces[piece];
        let mut sums = [[0u32; 16]; 4];
        for four in lines.chunks_exact(4) {
            for (sums, line) in sums.iter_mut().zip(four) {
                for (sum, word) in sums.iter_mut().zip(&line.0) {
                    *sum |= *word;
                }
            }
        }
        black_box(sums);
    });
}
