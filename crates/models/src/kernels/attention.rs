//! Attention over the paged cache.

use super::cache::read;
use super::one;
use crate::dimensions::{BLOCK, CONTEXT, HEAD_DIM, PAGE, SEQUENCE, SLOT, TOKEN};
use stablemate_graph::{Builder, Direction, Kernel, Label, Value};

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

/// Which earlier tokens a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of its sequence.
    Full,
    /// The latest `n`, itself included.
    Window(usize),
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
/// `sinks [K, G]` are logits that take part in the softmax beside the scores and have no value
/// (Xiao et al., arXiv 2309.17453, as gpt-oss learns them).
pub fn attention<'b>(
    parameters: Attention,
    query: Value<'b>,
    keys: Value<'b>,
    values: Value<'b>,
    sinks: Option<Value<'b>>,
    addresses: Addresses<'b>,
) -> Value<'b> {
    let window = match parameters.span {
        Span::Full => 0,
        Span::Window(n) => n,
    };
    let kernel = Kernel::new("stablemate.attention")
        .with("scale", parameters.scale)
        .with("window", window)
        .with("softcap", parameters.softcap.unwrap_or(0.0))
        .with("sinks", usize::from(sinks.is_some()));
    let Addresses { positions, sequences, block_tables } = addresses;
    let mut operands = vec![query, keys, values, positions, sequences, block_tables];
    operands.extend(sinks);
    one(query.builder().composite(kernel, &operands, |builder, operands| {
        let [query, keys, values, positions, sequences, block_tables, ref sinks @ ..] = *operands
        else {
            return Vec::new();
        };
        let addresses = Addresses { positions, sequences, block_tables };
        let sinks = sinks.first().copied();
        vec![attend(builder, parameters, query, keys, values, sinks, addresses)]
    }))
}

/// The specification of [`attention`]: every token against every slot that the tables name, masked.
fn attend<'b>(
    builder: &'b Builder<'b>,
    parameters: Attention,
    query: Value<'b>,
    keys: Value<'b>,
    values: Value<'b>,
    sinks: Option<Value<'b>>,
    addresses: Addresses<'b>,
) -> Value<'b> {
    let gather = |pool: Value<'b>| {
        let blocks = pool.take(BLOCK, addresses.block_tables);
        read(blocks.merge(&[SEQUENCE, PAGE, SLOT], CONTEXT))
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
    let weights = softmax(scores, sinks);
    let mixed = weights.contract(gather(values), &[CONTEXT]);
    let labels: Vec<Label> = mixed.ty().dimensions.iter().map(|d| d.label).collect();
    match labels[..] {
        [heads, token, group, width] => mixed.transpose(&[token, heads, group, width]),
        _ => mixed,
    }
}

/// `exp(scores) / Σ exp(scores)` over the context, with one more term `exp(sink)` in the sum per head if there
/// are `sinks [K, G]`.
fn softmax<'b>(scores: Value<'b>, sinks: Option<Value<'b>>) -> Value<'b> {
    let largest = scores.max(CONTEXT);
    let Some(sinks) = sinks else {
        let weights = (scores - largest).exponential();
        return weights / weights.sum(CONTEXT);
    };
    let largest = largest.maximum(sinks);
    let weights = (scores - largest).exponential();
    weights / (weights.sum(CONTEXT) + (sinks - largest).exponential())
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
