//! Packed rows have the values of the stored ones.

mod support;

use proptest::prelude::*;
use stablemate_checkpoint::{BlockType, Tensor};
use stablemate_encodings::{LANES, Packing, gather};
use stablemate_fixtures::gguf::{Kind, random_blocks};

/// Packs a tensor row by row and tile by tile; compares with the decoded values.
fn check(tensor: &Tensor<'_>) {
    let packing = tensor.packing().unwrap_or_else(|| panic!("{tensor:?}"));
    let (rows, columns) = (tensor.rows(), tensor.row_len());
    let words = packing.row_words(columns);
    let mut expected = vec![f32::NAN; rows * columns];
    tensor.decode(&mut expected).unwrap();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let mut row_words = vec![0xAAAA_AAAA; words];
    let mut values = vec![f32::NAN; columns];
    for (row, expected) in expected.chunks_exact(columns).enumerate() {
        tensor.pack_row(row, &mut row_words).unwrap();
        packing.unpack_row(&row_words, &mut values);
        assert_eq!(bits(&values), bits(expected), "{tensor:?} row {row}");
    }
    let mut tile_words = vec![0xAAAA_AAAA; words * LANES];
    for tile in 0..Packing::tiles(rows) {
        tensor.pack_tile(tile, &mut tile_words).unwrap();
        tensor.release_rows(tile * LANES..(tile + 1) * LANES);
        for lane in 0..LANES {
            gather(&tile_words, lane, &mut row_words);
            let row = tile * LANES + lane;
            if row < rows {
                packing.unpack_row(&row_words, &mut values);
                let expected = &expected[row * columns..(row + 1) * columns];
                assert_eq!(bits(&values), bits(expected), "{tensor:?} row {row} of a tile");
            } else {
                assert!(row_words.iter().all(|word| *word == 0), "{tensor:?} row {row}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn every_block_type(seed: u64, rows in 1usize..40, blocks in 1usize..4) {
        for (block, kind) in BlockType::ALL.into_iter().zip(Kind::BLOCKS) {
            let columns = blocks * block.values();
            let mut writer = support::good();
            let (name, head) = ("blk.0.ffn_up.weight", "blk.0.attn_q.weight");
            writer.tensor(name, &[rows, columns], kind, random_blocks(kind, rows * blocks, seed));
            // Rows that a converter has reordered: two heads.
            writer.tensors.retain(|tensor| tensor.name != head);
            let head_rows = 4 * rows;
            let bytes = random_blocks(kind, head_rows * blocks, seed ^ 1);
            writer.tensor(head, &[head_rows, columns], kind, bytes);
            let checkpoint = support::open_bytes(&writer.to_bytes()).unwrap();
            for name in ["mlp.up_proj", "self_attn.q_proj"] {
                let name = format!("model.layers.0.{name}.weight");
                let tensor = checkpoint.tensor(&name).unwrap().unwrap();
                prop_assert_eq!(tensor.packing(), tensor.encoding().packing());
                check(&tensor);
            }
        }
    }
}

#[test]
fn what_has_no_packing() {
    let checkpoint = support::open_bytes(&support::good().to_bytes()).unwrap();
    let norm = checkpoint.tensor("model.norm.weight").unwrap().unwrap();
    assert_eq!(norm.packing(), None);
    let error = norm.pack_row(0, &mut []).unwrap_err().to_string();
    assert!(error.contains("`model.norm.weight`: F32 of shape [32] has no packed form"), "{error}");
}

#[test]
fn requests_that_do_not_fit() {
    let checkpoint = support::open_bytes(&support::good().to_bytes()).unwrap();
    let name = "model.layers.0.self_attn.k_proj.weight";
    let tensor = checkpoint.tensor(name).unwrap().unwrap();
    let words = tensor.packing().unwrap().row_words(32);
    assert_eq!((tensor.rows(), words), (16, 5));
    let mut out = vec![0; 16 * words + 1];
    for error in [
        tensor.pack_row(0, &mut out[..words + 1]).unwrap_err(),
        tensor.pack_row(16, &mut out[..words]).unwrap_err(),
        tensor.pack_row(usize::MAX, &mut out[..words]).unwrap_err(),
        tensor.pack_tile(0, &mut out).unwrap_err(),
        tensor.pack_tile(1, &mut out[..16 * words]).unwrap_err(),
        tensor.pack_tile(usize::MAX, &mut out[..16 * words]).unwrap_err(),
    ] {
        assert!(error.to_string().contains("k_proj"), "{error}");
    }
    tensor.release_rows(0..usize::MAX);
    #[expect(clippy::reversed_empty_ranges, reason = "a mistake to be survived")]
    tensor.release_rows(9..3);
    check(&tensor);
}
