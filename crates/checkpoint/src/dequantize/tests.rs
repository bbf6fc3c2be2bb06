use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use stablemate_fixtures::gguf::{Kind, random_blocks};

use super::Row;
use crate::encoding::{BlockType, Encoding, Float};

/// fixtures/gguf_blocks.json: blocks and what gguf-py makes of them, in hexadecimal.
#[derive(Deserialize)]
struct Reference {
    encodings: BTreeMap<String, Blocks>,
}

#[derive(Deserialize)]
struct Blocks {
    elements: usize,
    bytes: usize,
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    kind: String,
    bytes: String,
    values: String,
}

fn decode(encoding: Encoding, bytes: &[u8], out: &mut [f32]) {
    super::decode(encoding, Row::alone(bytes), out);
}

fn encodings() -> impl Iterator<Item = Encoding> {
    let floats = [Float::F32, Float::F16, Float::Bf16].map(Encoding::Dense);
    floats.into_iter().chain(BlockType::ALL.map(Encoding::Block))
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn equal_to_gguf_py_bit_for_bit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/gguf_blocks.json");
    let reference: Reference =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut checked = 0;
    for encoding in encodings() {
        let expected = &reference.encodings[&encoding.to_string()];
        if let Encoding::Block(block) = encoding {
            assert_eq!(
                (block.values(), block.bytes()),
                (expected.elements, expected.bytes),
                "{encoding}"
            );
        }
        for block in &expected.blocks {
            let mut values = vec![f32::NAN; expected.elements];
            decode(encoding, &unhex(&block.bytes), &mut values);
            let wanted: Vec<u32> = unhex(&block.values)
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .collect();
            assert_eq!(bits(&values), wanted, "{encoding}, {}", block.kind);
            checked += 1;
        }
    }
    assert_eq!(reference.encodings.len(), encodings().count());
    assert!(checked > 80, "{checked}");
}

/// The kind of the fixtures' writer for an encoding.
fn kind(encoding: Encoding) -> Kind {
    match encoding {
        Encoding::Dense(Float::F32) => Kind::F32,
        Encoding::Dense(Float::F16) => Kind::F16,
        Encoding::Dense(Float::Bf16) => Kind::BF16,
        Encoding::Affine { .. } | Encoding::Mxfp4 => unreachable!("not an encoding of GGUF"),
        Encoding::Block(block) => {
            let place = BlockType::ALL.iter().position(|other| *other == block).unwrap();
            Kind::BLOCKS[place]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Blocks do not depend on their neighbours, and arbitrary bytes are decoded without a panic.
    #[test]
    fn each_block_stands_alone(seed: u64, count in 1usize..6, which in 0usize..14) {
        let encoding = encodings().nth(which).unwrap();
        let bytes = random_blocks(kind(encoding), count, seed);
        prop_assert_eq!(bytes.len(), count * encoding.block_bytes());
        let mut whole = vec![0.0; count * encoding.block_values()];
        decode(encoding, &bytes, &mut whole);
        prop_assert!(whole.iter().all(|value| value.is_finite()));
        let blocks = bytes.chunks_exact(encoding.block_bytes());
        for (bytes, expected) in blocks.zip(whole.chunks_exact(encoding.block_values())) {
            let mut alone = vec![0.0; encoding.block_values()];
            decode(encoding, bytes, &mut alone);
            prop_assert_eq!(bits(&alone), bits(expected));
        }
    }
}
