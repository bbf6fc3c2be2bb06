use std::collections::BTreeMap;

use half::{bf16, f16};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// fixtures/mlx/quantize.json: see oracle/mlx_quantize.py.
#[derive(Deserialize)]
struct Reference {
    inputs: BTreeMap<String, BTreeMap<String, String>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    dtype: String,
    bits: usize,
    group: usize,
    kind: String,
    weight: String,
    scales: String,
    biases: String,
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn float(name: &str) -> Float {
    [Float::F32, Float::F16, Float::Bf16].into_iter().find(|float| float.name() == name).unwrap()
}

/// Little-endian floats, widened.
fn widened(float: Float, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    match float {
        Float::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Float::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Float::Bf16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
    }
}

/// Words of an affine packing as the stored scales and biases.
fn stored(float: Float, words: &[u32]) -> (Vec<u8>, Vec<u8>) {
    if float == Float::F32 {
        let part = |place: usize| {
            words.iter().skip(place).step_by(2).flat_map(|word| word.to_le_bytes()).collect()
        };
        return (part(0), part(1));
    }
    let part = |place: usize| {
        let bytes = words.iter().map(|word| word.to_le_bytes());
        bytes.flat_map(|bytes| [bytes[place], bytes[place + 1]]).collect()
    };
    (part(0), part(2))
}

#[test]
fn equal_to_mlx_bit_for_bit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/mlx/quantize.json");
    let reference: Reference =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in &reference.cases {
        let label = format!("{} {} bits group {} {}", case.dtype, case.bits, case.group, case.kind);
        let (float, bits) = (float(&case.dtype), Bits::new(case.bits).unwrap());
        let packing = Packing::new(bits, case.group, Scales::Affine(float)).unwrap();
        let values = widened(float, &unhex(&reference.inputs[&case.dtype][&case.kind]));
        let mut codes = vec![0xAA; values.len()];
        let mut words = vec![0xAAAA_AAAA; packing.scale_words(values.len())];
        quantize_row(packing, &values, &mut codes, &mut words).unwrap();
        let mut stream = vec![0xAA; values.len() * case.bits / 8];
        write_codes(bits, &codes, &mut stream);
        let expected = (unhex(&case.scales), unhex(&case.biases));
        assert_eq!(stored(float, &words), expected, "{label}");
        assert_eq!(stream, unhex(&case.weight), "{label}");
        let mut read = vec![0xAA; codes.len()];
        read_codes(bits, &stream, &mut read);
        assert_eq!(read, codes, "{label}");
    }
    assert!(reference.cases.len() > 300, "{}", reference.cases.len());
}

#[test]
fn only_finite_values() {
    let packing = Packing::new(Bits::Four, 32, Scales::Affine(Float::F32)).unwrap();
    for (first, second) in [
        (f32::NAN, 0.0),
        (f32::INFINITY, 0.0),
        (f32::INFINITY, f32::NEG_INFINITY),
        (f32::MAX, f32::MIN),
    ] {
        for place in [32, 40, 63] {
            let mut values = vec![0.5; 96];
            (values[place], values[35]) = (first, second);
            let result = quantize_row(packing, &values, &mut [0; 96], &mut [0; 6]);
            assert_eq!(result, Err(QuantizeError::NotFinite { column: 32 }), "{first} {place}");
        }
        let values = [f32::NAN; 96];
        let result = quantize_row(packing, &values, &mut [0; 96], &mut [0; 6]);
        assert_eq!(result, Err(QuantizeError::NotFinite { column: 0 }));
    }
}

#[test]
fn lengths_that_do_not_fit() {
    let packing = Packing::new(Bits::Four, 32, Scales::Affine(Float::F16)).unwrap();
    for (values, codes, words) in [(33, 33, 1), (32, 31, 1), (32, 32, 2)] {
        let result =
            quantize_row(packing, &vec![0.0; values], &mut vec![0; codes], &mut vec![0; words]);
        assert!(matches!(result, Err(QuantizeError::Form(_))), "{values} {codes} {words}");
    }
    let centred = Packing::new(Bits::Four, 32, Scales::Centred(Float::F16)).unwrap();
    let error = quantize_row(centred, &[0.0; 32], &mut [0; 32], &mut [0; 1]).unwrap_err();
    assert!(error.to_string().contains("q4 group 32 centred F16"), "{error}");
}

proptest! {
    /// No value is farther from its code's value than half a step, but for rounding and for a code that would
    /// lie beyond the last.
    #[test]
    fn values_come_back(
        values in prop::collection::vec(-1000.0f32..1000.0, 32),
        which in 0usize..6,
    ) {
        let bits = Bits::ALL[which];
        let mut codes = [0; 32];
        let (scale, bias) = quantize_group(bits, &values, &mut codes).unwrap();
        let last = (1u32 << bits.count()) - 1;
        for (value, code) in values.iter().zip(codes) {
            prop_assert!(u32::from(code) <= last);
            let distance = (scale * f32::from(code) + bias - value).abs();
            let cut = u32::from(code) == last;
            prop_assert!(cut || distance <= scale.abs() * 0.5001 + 1e-3, "{value} {code} {scale} {bias}");
            prop_assert!(distance <= scale.abs() * 1.5 + 1e-3);
        }
    }

    /// Streams of any length, cut anywhere.
    #[test]
    fn streams(codes in prop::collection::vec(0u8.., 0..70), cut in 0usize..80, which in 0usize..6) {
        let bits = Bits::ALL[which];
        let codes: Vec<u8> = codes.iter().map(|code| code & (0xff >> (8 - bits.count()))).collect();
        let mut bytes = vec![0; (codes.len() * bits.count()).div_ceil(8)];
        write_codes(bits, &codes, &mut bytes);
        let mut read = vec![0xAA; codes.len()];
        read_codes(bits, &bytes, &mut read);
        prop_assert_eq!(&read, &codes);
        let kept = cut.min(bytes.len());
        read_codes(bits, &bytes[..kept], &mut read);
        let whole = kept * 8 / bits.count();
        prop_assert_eq!(&read[..whole.min(codes.len())], &codes[..whole.min(codes.len())]);
    }
}
