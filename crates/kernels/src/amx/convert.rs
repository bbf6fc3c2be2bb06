//! Activations as tiles have them.

use std::arch::x86_64::*;

/// Bytes of `values`, in the order of these places: byte `n` is byte `order[n]`. Four bytes are a word.
///
/// # Safety
/// The machine has AVX-512 VBMI, as all that have tiles.
#[target_feature(enable = "avx512f,avx512vbmi")]
pub(crate) unsafe fn permute(values: &[i16; 32], order: &[u8; 64]) -> [[i32; 4]; 4] {
    // SAFETY: they are as long as a register.
    let (values, order) = unsafe {
        (_mm512_loadu_si512(values.as_ptr().cast()), _mm512_loadu_si512(order.as_ptr().cast()))
    };
    let mut permuted = [[0; 4]; 4];
    // SAFETY: as above.
    unsafe {
        _mm512_storeu_si512(permuted.as_mut_ptr().cast(), _mm512_permutexvar_epi8(order, values));
    }
    permuted
}

/// Sixteen integers as sums of two that bf16 holds exactly: multiples of 256, and −128 to 127. The results are bits of bf16.
///
/// # Safety
/// The machine has AVX-512 BW, as all that have tiles.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn split(values: &[i16; 16]) -> [[[i32; 4]; 2]; 2] {
    // SAFETY: they are half as long as a register.
    let values = unsafe { _mm512_cvtepi16_epi32(_mm256_loadu_si256(values.as_ptr().cast())) };
    let moved = _mm512_add_epi32(values, _mm512_set1_epi32(128));
    let upper = _mm512_slli_epi32::<8>(_mm512_srai_epi32::<8>(moved));
    let lower = _mm512_sub_epi32(values, upper);
    [upper, lower].map(|part| {
        let bits = _mm512_castps_si512(_mm512_cvtepi32_ps(part));
        let half = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(bits));
        let mut bits = [[0; 4]; 2];
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(bits.as_mut_ptr().cast(), half) };
        bits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn all_integers_are_the_sum_of_their_parts() {
        if !Isa::Amx.available() {
            return;
        }
        for first in (-32768..32768).step_by(16) {
            let values: [i16; 16] = std::array::from_fn(|n| (first + n as i32) as i16);
            // SAFETY: it is available.
            let [upper, lower] = unsafe { split(&values) };
            for (n, value) in values.into_iter().enumerate() {
                let part = |words: [[i32; 4]; 2]| {
                    let word = words.as_flattened()[n / 2];
                    f32::from_bits((word as u32 >> (16 * (n % 2))) << 16)
                };
                let (upper, lower) = (part(upper), part(lower));
                assert_eq!(upper + lower, f32::from(value));
                assert_eq!(upper % 256.0, 0.0);
                assert!((-128.0..=127.0).contains(&lower));
            }
        }
    }

    #[test]
    fn bytes_in_any_order() {
        if !Isa::Amx.available() {
            return;
        }
        let values: [i16; 32] = std::array::from_fn(|n| (n as i16 - 9) * 517);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let order: [u8; 64] = std::array::from_fn(|n| (n * 37 % 64) as u8);
        // SAFETY: it is available.
        let permuted = unsafe { permute(&values, &order) };
        let permuted = permuted.as_flattened().iter().flat_map(|word| word.to_le_bytes());
        assert!(permuted.eq(order.iter().map(|place| bytes[usize::from(*place)])));
    }
}
