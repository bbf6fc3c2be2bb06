use proptest::prelude::*;

use super::*;

/// Every packing there is.
fn packings() -> Vec<Packing> {
    let mut all = Vec::new();
    for bits in Bits::ALL {
        for group in [16, 32, 64, 128] {
            for float in [Float::F32, Float::F16, Float::Bf16] {
                all.push(Packing::new(bits, group, Scales::Centred(float)).unwrap());
                all.push(Packing::new(bits, group, Scales::Affine(float)).unwrap());
            }
        }
        for nested in Nested::ALL {
            all.push(Packing::new(bits, nested.group(), Scales::Nested(nested)).unwrap());
        }
    }
    for codebook in Codebook::ALL {
        let new = |group| Packing::new(Bits::Four, group, Scales::Codebook(codebook)).ok();
        all.extend([16, 32, 64, 128].into_iter().filter_map(new));
    }
    assert_eq!(all.len(), 6 * (4 * 6 + 4) + 1 + 3 * 4);
    all
}

fn random(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed | 1;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn codes_and_scales_come_back(seed: u64, blocks in 1usize..4) {
        let mut next = random(seed);
        for packing in packings() {
            let columns = blocks * packing.granularity();
            let mask = ((1u32 << packing.bits().count()) - 1) as u8;
            let codes: Vec<u8> = (0..columns).map(|_| next() as u8 & mask).collect();
            let scales: Vec<u32> = (0..packing.scale_words(columns)).map(|_| next()).collect();
            let mut words = vec![u32::MAX; packing.row_words(columns)];
            packing.pack_row(&codes, &scales, &mut words);
            let mut back = vec![0xAA; columns];
            packing.unpack_codes(&words, &mut back);
            prop_assert_eq!(&back, &codes, "{}", packing);
            prop_assert_eq!(&words[packing.code_words(columns)..], &scales[..], "{}", packing);

            // Each value is its group's scale and bias on its code.
            let mut values = vec![f32::NAN; columns];
            packing.unpack_row(&words, &mut values);
            for (n, value) in values.iter().enumerate() {
                let (scale, bias) = packing.scale(&scales, columns, n / packing.group());
                let expected = match (bias, packing.codebook()) {
                    (None, Some(codebook)) => scale * codebook.values()[usize::from(codes[n])],
                    (Some(bias), _) => scale * f32::from(codes[n]) + bias,
                    (None, None) => scale * (i32::from(codes[n]) - packing.bits().centre()) as f32,
                };
                prop_assert!(value.to_bits() == expected.to_bits() || value.is_nan());
                prop_assert_eq!(bias.is_some(), packing.has_biases());
            }
        }
    }

    #[test]
    fn six_bits_come_back(values: [u8; 16]) {
        let back = unpack_six_bits(&pack_six_bits(&values));
        prop_assert_eq!(back, values.map(|value| value & 63));
    }

    #[test]
    fn rows_of_a_tile_come_back(seed: u64, count in 1usize..=16, row_words in 1usize..20) {
        let mut next = random(seed);
        let rows: Vec<u32> = (0..count * row_words).map(|_| next()).collect();
        let mut tile = vec![7; row_words * LANES];
        interleave(&rows, row_words, &mut tile);
        let mut row = vec![7; row_words];
        for lane in 0..LANES {
            gather(&tile, lane, &mut row);
            let expected = rows.chunks(row_words).nth(lane).map_or(vec![0; row_words], <[u32]>::to_vec);
            prop_assert_eq!(&row, &expected);
        }
    }

    /// Whatever the lengths are, nothing panics.
    #[test]
    fn any_lengths(codes in 0usize..600, scales in 0usize..40, words in 0usize..300, lane in 0usize..40) {
        for packing in packings() {
            let mut out = vec![0; words];
            packing.pack_row(&vec![0; codes], &vec![0; scales], &mut out);
            packing.unpack_row(&out, &mut vec![0.0; codes]);
            packing.unpack_codes(&out, &mut vec![0; codes]);
            interleave(&out, codes, &mut vec![0; scales]);
            gather(&out, lane, &mut vec![0; codes]);
        }
    }
}

/// The layout as the crate's documentation has it, by hand: 4 bits, and 5 as 4 + 1.
#[test]
fn the_layout() {
    let packing = Packing::new(Bits::Four, 32, Scales::Centred(Float::F16)).unwrap();
    let codes: Vec<u8> = (0..32).map(|n| n % 16).collect();
    let mut words = [0; 5];
    packing.pack_row(&codes, &[0x3C00], &mut words);
    assert_eq!(words, [0x7531_6420, 0xFDB9_ECA8, 0x7531_6420, 0xFDB9_ECA8, 0x3C00]);
    let mut values = [0.0; 32];
    packing.unpack_row(&words, &mut values);
    assert_eq!(values[..3], [-8.0, -7.0, -6.0]);

    let packing = Packing::new(Bits::Five, 32, Scales::Affine(Float::F16)).unwrap();
    let mut codes = [0; 32];
    (codes[0], codes[1], codes[31]) = (16, 1, 31);
    let mut words = [0; 6];
    packing.pack_row(&codes, &[0x4000_3C00], &mut words);
    assert_eq!(words, [0x0001_0000, 0, 0, 0xF000_0000, 0x8000_0001, 0x4000_3C00]);
    let mut values = [0.0; 32];
    packing.unpack_row(&words, &mut values);
    assert_eq!(values[..3], [18.0, 3.0, 2.0]);

    // Two groups of MXFP4: scales 2^-1 and 2^3.
    let packing = Packing::new(Bits::Four, 32, Scales::Codebook(Codebook::Mxfp4)).unwrap();
    let codes: Vec<u8> = (0..64).map(|n| n % 16).collect();
    let mut words = [0; 9];
    packing.pack_row(&codes, &[0x827E], &mut words);
    assert_eq!(words[..5], [0x7531_6420, 0xFDB9_ECA8, 0x7531_6420, 0xFDB9_ECA8, 0x7531_6420]);
    assert_eq!(words[8], 0x827E);
    let mut values = [0.0; 64];
    packing.unpack_row(&words, &mut values);
    assert_eq!(values[..8], [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0]);
    assert_eq!(values[40..48], [0.0, -4.0, -8.0, -12.0, -16.0, -24.0, -32.0, -48.0]);

    let packing =
        Packing::new(Bits::Four, 64, Scales::Codebook(Codebook::Nf4(Float::F16))).unwrap();
    let mut words = [0; 9];
    packing.pack_row(&codes, &[0x4000], &mut words);
    packing.unpack_row(&words, &mut values);
    assert_eq!(
        values[..8],
        [
            -2.0,
            -1.392_385_6,
            -1.050_146_1,
            -0.789_835,
            -0.568_882_76,
            -0.369_546_86,
            -0.182_100_07,
            0.0
        ]
    );
}

#[test]
fn codebooks_that_do_not_exist() {
    let new = |bits, group, codebook| {
        Packing::new(bits, group, Scales::Codebook(codebook)).unwrap_err().to_string()
    };
    assert!(new(Bits::Four, 64, Codebook::Mxfp4).contains("groups of 32, not 64"));
    assert!(new(Bits::Eight, 32, Codebook::Mxfp4).contains("4 bits, not 8"));
    assert!(new(Bits::Four, 48, Codebook::Nf4(Float::F16)).contains("groups of 48"));
}
