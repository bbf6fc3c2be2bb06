//! Codes to packed words, eight codes at a time in a 64-bit word: the same as
//! [`stablemate_encodings::Packing::pack_row`], which is the definition, and fast enough for loading.

use stablemate_encodings::{Bits, UNIT};

/// Packs codes and lays word `n` at place `n · stride` of `out`. Higher bits of a code than it has must be zero.
pub(super) fn pack(bits: Bits, codes: &[u8], stride: usize, out: &mut [u32]) {
    match bits {
        Bits::Two => units(codes, stride, out, |unit| two(unit, 0)),
        Bits::Three => units(codes, stride, out, |unit| {
            let ([first, second], [third]) = (two(unit, 0), one(unit, 2));
            [first, second, third]
        }),
        Bits::Four => units(codes, stride, out, four),
        Bits::Five => units(codes, stride, out, |unit| {
            let ([a, b, c, d], [e]) = (four(unit), one(unit, 4));
            [a, b, c, d, e]
        }),
        Bits::Six => units(codes, stride, out, |unit| {
            let ([a, b, c, d], [e, f]) = (four(unit), two(unit, 4));
            [a, b, c, d, e, f]
        }),
        Bits::Eight => units(codes, stride, out, eight),
    }
}

/// A unit of codes.
type Unit = [u64; UNIT / 8];

fn units<const WORDS: usize>(
    codes: &[u8],
    stride: usize,
    out: &mut [u32],
    pack: impl Fn(Unit) -> [u32; WORDS],
) {
    let (whole, rest) = codes.as_chunks::<UNIT>();
    let mut last = [0; UNIT];
    last.iter_mut().zip(rest).for_each(|(last, code)| *last = *code);
    let last = (!rest.is_empty()).then_some(&last);
    let mut places = out.iter_mut().step_by(stride.max(1));
    for codes in whole.iter().chain(last) {
        let (eights, _) = codes.as_chunks::<8>();
        let unit = std::array::from_fn(|n| u64::from_le_bytes(eights[n]));
        for (word, place) in pack(unit).into_iter().zip(&mut places) {
            *place = word;
        }
    }
}

/// Moves the lowest `width` bits of four 16-bit lanes together, into the lowest bits.
///
/// Lane `k` comes to bit `48 + width · k` by a shift of `48 − (16 − width) · k`, and all four shifts together are
/// one product: what the other shifts bring to bits below 48 stays apart, and the rest leaves the word.
fn gather(lanes: u64, width: usize) -> u32 {
    let step = 16 - width;
    let factor = 1 << 48 | 1 << (48 - step) | 1 << (48 - 2 * step) | 1u64 << (48 - 3 * step);
    (lanes.wrapping_mul(factor) >> 48) as u32
}

/// The pairs of eight codes, `width` bits from bit `shift` on: even codes from bit 0, odd ones from bit 16.
fn pairs(codes: u64, width: usize, shift: usize) -> u32 {
    let mask = 0x0001_0001_0001_0001 * ((1 << width) - 1);
    gather(codes >> shift & mask, width) | gather(codes >> (8 + shift) & mask, width) << 16
}

fn one(unit: Unit, shift: usize) -> [u32; 1] {
    let [a, b, c, d] = unit.map(|codes| pairs(codes, 1, shift));
    [a | b << 4 | c << 8 | d << 12]
}

fn two(unit: Unit, shift: usize) -> [u32; 2] {
    let [a, b, c, d] = unit.map(|codes| pairs(codes, 2, shift));
    [a | b << 8, c | d << 8]
}

fn four(unit: Unit) -> [u32; 4] {
    unit.map(|codes| pairs(codes, 4, 0))
}

/// Four codes a word: the inner two change places.
fn eight(unit: Unit) -> [u32; 8] {
    std::array::from_fn(|n| {
        let codes = (unit[n / 2] >> (32 * (n % 2))) as u32;
        codes & 0xff00_00ff | codes >> 8 & 0xff00 | (codes & 0xff00) << 8
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stablemate_encodings::{Float, Packing, Scales};

    use super::*;

    proptest! {
        #[test]
        fn equal_to_the_definition(
            codes in prop::collection::vec(0u8.., 0..200),
            which in 0usize..6,
            stride in 1usize..20,
        ) {
            let bits = Bits::ALL[which];
            let codes: Vec<u8> =
                codes.iter().map(|code| code & (0xff >> (8 - bits.count()))).collect();
            let packing = Packing::new(bits, 16, Scales::Centred(Float::F32)).unwrap();
            let mut expected = vec![0; packing.code_words(codes.len())];
            packing.pack_row(&codes, &[], &mut expected);
            let mut words = vec![0xAAAA_AAAA; expected.len() * stride];
            pack(bits, &codes, stride, &mut words);
            for (place, word) in words.iter().enumerate() {
                let expected =
                    if place % stride == 0 { expected[place / stride] } else { 0xAAAA_AAAA };
                prop_assert_eq!(*word, expected);
            }
        }
    }
}
