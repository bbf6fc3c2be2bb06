//! Rows of a table.

use super::half::widen;
use super::unpack::unpack;
use super::{Weight, one, weights_attribute};
use crate::Storage;
use crate::dimensions::{LANE, TILE, TOKEN, VOCABULARY, WORD};
use stablemate_encodings::LANES;
use stablemate_graph::{Builder, ElementType, Kernel, Label, TensorType, Value};

/// Rows of `table [V, D]` at `tokens [T]` → `[T, D]` in f32.
pub fn embed<'b>(table: Weight<'b>, tokens: Value<'b>) -> Value<'b> {
    let kernel = Kernel::new("stablemate.embed").with("weights", weights_attribute(&[table]));
    let result = TensorType::new(ElementType::F32, [TOKEN.of(tokens.size(TOKEN)), table.columns]);
    let operands = [table.value, tokens];
    one(table.value.builder().composite_with_results(
        kernel,
        &operands,
        &[result],
        |builder, operands| {
            let [value, tokens] = *operands else { return Vec::new() };
            let rows = match table.storage {
                Storage::Dense(_) => widen(value.take(VOCABULARY, tokens)),
                Storage::Packed(packing) => {
                    unpack(packed_rows(builder, value, tokens), packing, table.columns)
                }
            };
            // For Vulkan, IREE 3.13 cannot compile a gather fused with the norm that follows.
            vec![rows.barrier()]
        },
    ))
}

/// The words `[T, Word]` of the rows `tokens` of a packed table `[Tile, Word, Lane]`: those of their tiles
/// first, of which only their own lanes are kept.
fn packed_rows<'b>(builder: &'b Builder<'b>, table: Value<'b>, tokens: Value<'b>) -> Value<'b> {
    const PLACE: Label = Label("Place");
    let tiles = table.take(TILE, tokens / LANES as f64);
    let lane = tokens.remainder(builder.integer(LANES as i32));
    let (count, words) = (TOKEN.of(tokens.size(TOKEN)), WORD.of(table.size(WORD)));
    let all = [count, words];
    let token = (builder.iota(count) * (words.size * LANES) as f64 + lane).broadcast(&all);
    let word = (builder.iota(words) * LANES as f64).broadcast(&all);
    tiles.merge(&[TOKEN, WORD, LANE], PLACE).take(PLACE, token + word)
}
