//! The heavy operations. Each is a composite whose decomposition is its specification; the native
//! kernels of the CPU text replace the decomposition and nothing else.

use crate::dimensions::{BLOCK, CONTEXT, HEAD_DIM, PAGE, SEQUENCE, SLOT, TOKEN, VOCABULARY};
use crate::parts::Span;
use stablemate_graph::{Builder, Direction, ElementType, Kernel, Label, Value};

/// `x [T, I] · weight [O, I] → [T, O]`, in f32 whatever the weight is stored in.
pub fn linear<'b>(x: Value<'b>, weight: Value<'b>) -> Value<'b> {
    one(x.builder().composite(Kernel::new("stablemate.linear"), &[x, weight], |_, operands| {
        let [x, weight] = *operands else { return Vec::new() };
        let inner = weight.ty().dimensions.last().map_or(Label("Inner"), |d| d.label);
        vec![x.contract(widen(weight), &[inner])]
    }))
}

/// Rows of `table [V, D]` at `tokens [T]` → `[T, D]` in f32.
pub fn embed<'b>(table: Value<'b>, tokens: Value<'b>) -> Value<'b> {
    let kernel = Kernel::new("stablemate.embed");
    one(table.builder().composite(kernel, &[table, tokens], |_, operands| {
        let [table, tokens] = *operands else { return Vec::new() };
        // For Vulkan, IREE 3.13 cannot compile a gather fused with the norm that follows.
        vec![widen(table.take(VOCABULARY, tokens)).barrier()]
    }))
}

/// The same values in f32. Half precision is spelled in integer operations, and bf16 comes as its bits
/// in i16: a plain `convert` of a weight compiles neither from bf16 for Vulkan (beside a product of
/// several rows) nor from f16 for VMVX in IREE 3.13.
fn widen(value: Value<'_>) -> Value<'_> {
    let builder = value.builder();
    let bits = || value.bitcast(ElementType::I16).convert(ElementType::I32);
    match value.ty().element {
        ElementType::I16 => {
            value.convert(ElementType::I32).shift_left(16).bitcast(ElementType::F32)
        }
        ElementType::F16 => {
            let bits = bits();
            let magnitude = bits & builder.integer(0x7FFF);
            // Exponents are biased by 15 in f16 and by 127 in f32; below 2^-14 there is none.
            let normal =
                (magnitude.shift_left(13) + f64::from((127 - 15) << 23)).bitcast(ElementType::F32);
            let subnormal = magnitude.convert(ElementType::F32) * 2f64.powi(-24);
            let special = magnitude.shift_left(13) | builder.integer(0x7F80_0000);
            let small = magnitude.compare(Direction::Lt, builder.integer(0x0400));
            let large = magnitude.compare(Direction::Ge, builder.integer(0x7C00));
            let finite = small.select(subnormal, normal).bitcast(ElementType::I32);
            let sign = bits.shift_left(16) & builder.integer(i32::MIN);
            (large.select(special, finite) | sign).bitcast(ElementType::F32)
        }
        _ => value.convert(ElementType::F32),
    }
}

/// `pool [B, L, K, W]` with `update [T, K, W]` written to the slots `[T, 2]` (block, position in it).
/// Padding tokens all write to block 0, which no sequence owns.
pub fn write<'b>(pool: Value<'b>, slots: Value<'b>, update: Value<'b>) -> Value<'b> {
    let kernel = Kernel::new("stablemate.write_cache");
    one(pool.builder().composite(kernel, &[pool, slots, update], |_, operands| {
        let [pool, slots, update] = *operands else { return Vec::new() };
        vec![pool.put(slots, update.convert(pool.ty().element))]
    }))
}

/// Where the tokens of a step are and what they may see.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'b> {
    /// `[T]` i32: position in the sequence; -1 for padding.
    pub positions: Value<'b>,
    /// `[T]` i32: row of the block table.
    pub sequences: Value<'b>,
    /// `[S, M]` i32: blocks of each sequence in order; unused entries are 0.
    pub block_tables: Value<'b>,
}

/// Static parameters of [`attention`].
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Scores are multiplied by this.
    pub scale: f32,
    /// What is visible.
    pub span: Span,
    /// Bound of the scores.
    pub softcap: Option<f32>,
}

/// Softmax attention of `query [T, K, G, H]` over the cached `keys [B, L, K, H]` and
/// `values [B, L, K, E]` of each token's own sequence, at positions up to its own → `[T, K, G, E]`.
pub fn attention<'b>(
    parameters: Attention,
    query: Value<'b>,
    keys: Value<'b>,
    values: Value<'b>,
    addresses: Addresses<'b>,
) -> Value<'b> {
    let window = match parameters.span {
        Span::Full => 0,
        Span::Window(n) => n,
    };
    let kernel = Kernel::new("stablemate.attention")
        .with("scale", parameters.scale)
        .with("window", window)
        .with("softcap", parameters.softcap.unwrap_or(0.0));
    let Addresses { positions, sequences, block_tables } = addresses;
    let operands = [query, keys, values, positions, sequences, block_tables];
    one(query.builder().composite(kernel, &operands, |builder, operands| {
        let [query, keys, values, positions, sequences, block_tables] = *operands else {
            return Vec::new();
        };
        let addresses = Addresses { positions, sequences, block_tables };
        vec![attend(builder, parameters, query, keys, values, addresses)]
    }))
}

/// The specification of [`attention`]: every token against every slot that the tables name, masked.
fn attend<'b>(
    builder: &'b Builder<'b>,
    parameters: Attention,
    query: Value<'b>,
    keys: Value<'b>,
    values: Value<'b>,
    addresses: Addresses<'b>,
) -> Value<'b> {
    let gather = |pool: Value<'b>| {
        let blocks = pool.take(BLOCK, addresses.block_tables);
        blocks.merge(&[SEQUENCE, PAGE, SLOT], CONTEXT).convert(ElementType::F32)
    };
    let (keys, length) = (gather(keys), keys.size(SLOT));
    let visible = visible(builder, parameters.span, length, addresses);
    let scores = query.contract(keys, &[HEAD_DIM]) * f64::from(parameters.scale);
    let scores = match parameters.softcap {
        Some(cap) => (scores / f64::from(cap)).tanh() * f64::from(cap),
        None => scores,
    };
    // [K, T, G, C]. A finite stand-in for -∞ keeps rows without anything visible (padding) finite.
    let hidden = builder.scalar(f32::MIN);
    let dimensions = scores.ty().dimensions;
    let scores = visible.broadcast(&dimensions).select(scores, hidden).named("scores");
    let weights = (scores - scores.max(CONTEXT)).exponential();
    let weights = weights / weights.sum(CONTEXT);
    let mixed = weights.contract(gather(values), &[CONTEXT]);
    let labels: Vec<Label> = mixed.ty().dimensions.iter().map(|d| d.label).collect();
    match labels[..] {
        [heads, token, group, width] => mixed.transpose(&[token, heads, group, width]),
        _ => mixed,
    }
}

/// `[T, C]` i1: which slots each token sees.
fn visible<'b>(
    builder: &'b Builder<'b>,
    span: Span,
    block_length: usize,
    addresses: Addresses<'b>,
) -> Value<'b> {
    let Addresses { positions, sequences, block_tables } = addresses;
    let (rows, pages) = (block_tables.size(SEQUENCE), block_tables.size(PAGE));
    let context = [SEQUENCE.of(rows), PAGE.of(pages), SLOT.of(block_length)];
    let within = [PAGE.of(pages), SLOT.of(block_length)];
    let page = builder.iota(PAGE.of(pages)) * block_length as f64;
    let slot = builder.iota(SLOT.of(block_length));
    let position = page.broadcast(&within) + slot.broadcast(&within);
    let position = position.broadcast(&context).merge(&[SEQUENCE, PAGE, SLOT], CONTEXT);

    let all = [TOKEN.of(positions.size(TOKEN)), CONTEXT.of(position.size(CONTEXT))];
    let position = position.named("slot_position").broadcast(&all);
    let query = positions.broadcast(&all);
    let mut visible = position.compare(Direction::Le, query);
    if rows > 1 {
        let owner = builder.iota(SEQUENCE.of(rows)).broadcast(&context);
        let owner = owner.merge(&[SEQUENCE, PAGE, SLOT], CONTEXT);
        let own = owner.broadcast(&all).compare(Direction::Eq, sequences.broadcast(&all));
        visible = visible & own;
    }
    if let Span::Window(n) = span {
        visible = visible & position.compare(Direction::Gt, query - n as f64);
    }
    visible.named("visible")
}

/// The result of a kernel with one result.
fn one(results: Vec<Value<'_>>) -> Value<'_> {
    results[0]
}
