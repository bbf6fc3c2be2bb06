//! Paged attention: softmax attention of a step's tokens over the slots of the cache that they see.
//!
//! A token's result is the same, bit by bit, whatever else is in the step and however many threads
//! compute it: the context is taken in chunks of [`CHUNK`] positions, aligned to multiples of it, a chunk in
//! a fixed order, and chunks are put together in the order of their positions (as in Dao et al.,
//! "FlashAttention", and its split version for decoding). Only slots that a token sees are read for it.

mod chunk;
mod element;
mod plan;
mod products;
mod scratch;
mod softmax;
mod task;

use std::cell::RefCell;

use crate::Kernels;
use crate::cache::CacheElement;
use crate::error::KernelError;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::scratch::{Memory, reserve};
use crate::simd::dispatch;
use plan::{Setting, plan};
use task::{Call, Task};

/// Positions of the context that are taken together.
const CHUNK: usize = 256;

/// Slots whose decoded rows are used before the next are decoded: they stay in the innermost cache.
const TILE: usize = 64;

/// Pairs of a query row and a slot from which other threads are worth their two microseconds.
const PARALLEL: u64 = 1 << 9;

/// Parameters of [`Kernels::attention`](crate::Kernels::attention).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Products of queries and keys are multiplied by this.
    pub scale: f32,
    /// How many slots a token sees, its own included; 0 for all.
    pub window: usize,
    /// Scores become `softcap · tanh(score / softcap)`; 0 for none.
    pub softcap: f32,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Query heads per key-value head.
    pub group: usize,
    /// Values of a key.
    pub key_width: usize,
    /// Values of a value.
    pub value_width: usize,
    /// What the pools store.
    pub element: CacheElement,
}

/// Where the tokens of a step are, and where the cache has their sequences.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    /// `[T]`: position in the sequence; -1 for padding.
    pub positions: &'a [i32],
    /// `[T]`: row of the block tables.
    pub sequences: &'a [i32],
    /// `[sequences_count, pages]`: blocks of each sequence in order. Only those with visible slots are read.
    pub block_tables: &'a [i32],
    /// Rows of the block tables.
    pub sequences_count: usize,
    /// Blocks in a row of the block tables.
    pub pages: usize,
    /// Slots in a block.
    pub block_length: usize,
}

thread_local! {
    static PARTIALS: RefCell<Memory> = const { RefCell::new(Vec::new()) };
}

/// The tensors that [`Kernels::attention`](crate::Kernels::attention) reads. A row of the pools is one of
/// (block, slot, head), as [`CacheElement`] has it.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOperands<'a> {
    /// `[T, kv_heads, group, key_width]`.
    pub query: &'a [f32],
    /// `[blocks, block_length, kv_heads]` rows of keys.
    pub keys: &'a [u8],
    /// `[blocks, block_length, kv_heads]` rows of values.
    pub values: &'a [u8],
    /// `[kv_heads, group]`: a score per head that takes part in the softmax without having a value.
    pub sinks: Option<&'a [f32]>,
}

impl Kernels {
    /// Softmax attention of each token's queries over the keys and values that its sequence has in the cache,
    /// at positions up to its own, into `out [T, kv_heads, group, value_width]`. Rows of padding tokens
    /// are 0. Slots that a token does not see are not read for it, whatever they hold.
    ///
    /// # Errors
    /// If sizes do not fit together, or a token needs a position, a sequence or a block that is not there.
    pub fn attention(
        &self,
        attention: &Attention,
        operands: &AttentionOperands<'_>,
        addresses: &Addresses<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        attend(self.isa(), self.pool(), *attention, operands, *addresses, out)
    }
}

fn attend(
    isa: Isa,
    pool: &Pool,
    attention: Attention,
    operands: &AttentionOperands<'_>,
    addresses: Addresses<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let error = |message: String| KernelError { kernel: "attention", message };
    let sizes = check(&attention, operands, &addresses, out.len()).map_err(error)?;
    let Attention { window, kv_heads, group, .. } = attention;
    let setting =
        Setting { threads: pool.threads(), blocks: sizes.blocks, window, kv_heads, group };
    let plan = plan(&addresses, setting).map_err(error)?;
    let token = attention.kv_heads * group * attention.value_width;
    for (out, &position) in out.chunks_exact_mut(token).zip(addresses.positions) {
        if position == -1 {
            out.fill(0.0);
        }
    }
    let mut call = Call {
        attention,
        query: operands.query,
        keys: operands.keys,
        values: operands.values,
        sinks: operands.sinks,
        addresses,
        plan,
        key_bytes: sizes.key_bytes,
        value_bytes: sizes.value_bytes,
        partials: std::ptr::null_mut(),
        out: out.as_mut_ptr(),
    };
    let mut memory = PARTIALS.with_borrow_mut(std::mem::take);
    let partials = attention.kv_heads * call.plan.partials * call.partial_stride();
    call.partials = reserve(&mut memory, partials);
    run(isa, pool, &call);
    PARTIALS.with_borrow_mut(|partials| *partials = memory);
    Ok(())
}

/// Runs all pieces, then puts the partials of cut runs together.
fn run(isa: Isa, pool: &Pool, call: &Call<'_>) {
    let (plan, kv_heads) = (&call.plan, call.attention.kv_heads);
    let task = |index: usize| {
        let (piece, heads) = plan.task(index, kv_heads);
        // SAFETY: an `Isa` in use is available; sizes and addresses were checked; each task is alone.
        unsafe { dispatch(isa, Task { call, piece, heads, join: false }) }
    };
    if plan.cost < PARALLEL {
        (0..plan.tasks).for_each(task);
    } else {
        pool.run(plan.tasks, &task);
    }
    if plan.partials == 0 {
        return;
    }
    let cut: Vec<_> = plan
        .pieces
        .chunk_by(|a, b| a.run == b.run)
        .filter_map(|pieces| pieces.first().filter(|piece| piece.partials.is_some()))
        .collect();
    pool.run(cut.len() * kv_heads, &|index| {
        let (piece, head) = (cut[index / kv_heads], index % kv_heads);
        // SAFETY: as above, and the partials are there.
        unsafe { dispatch(isa, Task { call, piece, heads: head..head + 1, join: true }) }
    });
}

/// Sizes of the pools.
struct Sizes {
    blocks: usize,
    key_bytes: usize,
    value_bytes: usize,
}

/// Checks that all sizes fit together.
fn check(
    attention: &Attention,
    operands: &AttentionOperands<'_>,
    addresses: &Addresses<'_>,
    out: usize,
) -> Result<Sizes, String> {
    let Attention { kv_heads, group, key_width, value_width, element, .. } = *attention;
    let Addresses { positions, sequences, block_tables, sequences_count, pages, block_length } =
        *addresses;
    let sizes = [kv_heads, group, key_width, value_width, block_length];
    if sizes.contains(&0) {
        return Err(format!(
            "sizes of at least 1 expected: {attention:?}, blocks of {block_length}"
        ));
    }
    if !(attention.scale.is_finite() && attention.softcap.is_finite()) || attention.softcap < 0.0 {
        return Err(format!("finite scale and softcap >= 0 expected: {attention:?}"));
    }
    let length = |name: &str, found: usize, factors: &[usize]| {
        let expected = product(factors);
        match expected == Some(found) {
            true => Ok(()),
            false => Err(format!("{name} has {found} values, {factors:?} expected")),
        }
    };
    let tokens = positions.len();
    length("sequences", sequences.len(), &[tokens])?;
    length("block_tables", block_tables.len(), &[sequences_count, pages])?;
    length("query", operands.query.len(), &[tokens, kv_heads, group, key_width])?;
    length("out", out, &[tokens, kv_heads, group, value_width])?;
    if let Some(sinks) = operands.sinks {
        length("sinks", sinks.len(), &[kv_heads, group])?;
    }
    let row_bytes = |width| element.row_bytes(width).ok_or(format!("rows of {width} values"));
    let (key_bytes, value_bytes) = (row_bytes(key_width)?, row_bytes(value_width)?);
    let blocks = |name: &str, bytes: usize, row: usize| {
        product(&[block_length, kv_heads, row])
            .filter(|&block| bytes.is_multiple_of(block))
            .map(|block| bytes / block)
            .ok_or(format!(
                "{bytes} bytes of {name} are no blocks of {block_length} × {kv_heads} × {row}"
            ))
    };
    let (blocks, of_values) = (
        blocks("keys", operands.keys.len(), key_bytes)?,
        blocks("values", operands.values.len(), value_bytes)?,
    );
    if blocks != of_values {
        return Err(format!("{blocks} blocks of keys, but {of_values} of values"));
    }
    Ok(Sizes { blocks, key_bytes, value_bytes })
}

/// The product, within the address space.
fn product(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor))
}
