//! The heavy operations. Each is a composite whose decomposition is its specification; the native
//! kernels of the CPU text replace the decomposition and nothing else.
//!
//! A kernel is identified by its name, its attributes and the types of its operands and results:
//!
//! | `stablemate.` | operands | results | attributes |
//! |---|---|---|---|
//! | `linear` | `x [T, I]` f32, `live [T]` i32, weights `[O_n, I]`, and with `residual` = 1: residual `[T, O_1]` f32 (one weight only) | `[T, O_n]` f32, one per weight | `weights`, `residual` (0 or 1) |
//! | `gated` | `x [T, I]` f32, `live [T]` i32, weights gate and up `[O, I]` | `[T, O]` f32: `activation(x · gate) · (x · up)` | `weights`, `activation` (`silu`, `gelu_tanh`, `gelu`, `relu`, `relu2`) |
//! | `experts` | `x [T, D]` f32, `live [T]` i32, `chosen [T, N]` i32, `weights [T, N]` f32, weights of all experts: with `gated` = 1 gate and up `[X, F, D]`, otherwise up alone, and down `[X, D, F]`; with `biases` = 1 a bias `[X, O]` f32 for each weight; with `residual` = 1: residual `[T, D]` f32 | `[T, D]` f32: `Σₙ weights[t, n] · down(activation(gate(x), up(x)))` of the experts `chosen[t, n]` | `weights`, `features` (`F`), `activation` (as of `gated`, or `clamped_swiglu` with the attributes `alpha` and `limit`), `gated`, `biases`, `residual` (0 or 1) |
//! | `embed` | table `[V, D]`, tokens `[T]` i32 | `[T, D]` f32 | `weights` |
//! | `write_cache` | pool `[B, L, K, W']`, slots `[T, 2]` i32 (block, place in it), update `[T, K, W]` f32 | the pool, **overwriting operand 0** | |
//! | `attention` | query `[T, K, G, H]` f32, keys pool `[B, L, K, H']`, values pool `[B, L, K, E']`, positions `[T]` i32, sequences `[T]` i32, block tables `[S, M]` i32, and with `sinks` = 1: sinks `[K, G]` f32 | `[T, K, G, E]` f32 | `scale`, `window` (0: none), `softcap` (0: none), `sinks` (0 or 1) |
//! | `convolve` | pool `[N, W − 1, C]`, `x [T, C]`, weight `[C, W]`, all f32, positions `[T]`, sequences `[T]`, slots `[S]` i32 | `[T, C]` f32, the pool, **overwriting operand 0** | |
//! | `delta_rule` | pool `[N, K, G, H, E]`, query and key `[T, K, H]`, value `[T, K, G, E]`, decay `[T, K, G]` or `[T, K, G, H]`, beta `[T, K, G]`, all f32, positions, sequences, slots | `[T, K, G, E]` f32, the pool, **overwriting operand 0** | |
//! | `scan` | pool `[N, H, P, Z]`, `x [T, H, P]`, `dt [T, H]`, `a [H]`, `b` and `c [T, G, Z]`, or `[N, H, Z]`, `[T, H]`, `[T, H]`, `[H, Z]`, `[T, Z]`, all f32, positions, sequences, slots | `[T, H, P]` or `[T, H]` f32, the pool, **overwriting operand 0** | |
//!
//! - `weights` names the [`Storage`] of each weight operand in order, separated by `", "`; [`storages`] reads it.
//!   A weight is passed as [`Storage::argument`] says: f32 and f16 as they are, bf16 as i16, packed ones as
//!   `[tiles, words, 16]` i32, whose number of rows stands in the result's type (for `embed`: columns). The weights of
//!   `experts` are stacks of `X` such.
//! - `chosen` numbers experts; a number beyond the ends is taken as the nearest one. An expert may be chosen twice.
//! - `live` is negative for rows of padding. Their results mean nothing (a kernel may leave out or zero them);
//!   the decompositions compute them like any other.
//! - Pools hold f32, i16 (the bits of f16) or i8, as [`CacheElement`] says; `W'` is `W`, in i8 pools `W + 4`.
//! - Padding tokens have position -1: they write to block 0 and see nothing; their attention means nothing.
//! - [`StateAddresses`] says which state a token continues; pools of states have a slot 0 that no sequence owns.
//!
//! [`CacheElement`]: crate::CacheElement

mod attention;
mod cache;
mod convolve;
mod delta_rule;
mod embed;
mod experts;
mod half;
mod linear;
mod recurrence;
mod scan;
mod unpack;

pub use attention::{Addresses, Attention, Span, attention};
pub use cache::write;
pub use convolve::convolve;
pub use delta_rule::{DeltaRule, delta_rule};
pub use embed::embed;
pub use experts::{Experts, Inner, Routing, experts};
pub use linear::{gated, linear, linears};
pub use recurrence::StateAddresses;
pub use scan::{Scan, scan};

use crate::{ParamEntry, Storage, UnknownStorage};
use stablemate_graph::{Attribute, Dimension, Kernel, Label, Value};

/// A matrix, or a stack of matrices, as kernels take it.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'b> {
    /// The graph's argument.
    pub value: Value<'b>,
    /// How it is stored.
    pub storage: Storage,
    /// `O`.
    pub rows: Dimension,
    /// `I`.
    pub columns: Dimension,
    /// `X`, of a stack `[X, O, I]`.
    pub stack: Option<Dimension>,
}

impl<'b> Weight<'b> {
    /// The parameter `entry`, of which the graph's argument is `value`.
    pub fn new(value: Value<'b>, entry: &ParamEntry) -> Self {
        let (stack, rows, columns) = match *entry.ty.dimensions {
            [rows, columns] => (None, rows, columns),
            [stack, rows, columns] => (Some(stack), rows, columns),
            // Parameters of another rank fail where they are used.
            _ => (None, Label("None").of(0), Label("None").of(0)),
        };
        Self { value, storage: entry.storage, rows, columns, stack }
    }

    /// The same weight as an operand of a decomposition.
    fn inside<'d>(self, value: Value<'d>) -> Weight<'d> {
        let Self { storage, rows, columns, stack, .. } = self;
        Weight { value, storage, rows, columns, stack }
    }

    /// `[O, I]` f32, with the dimensions of a stack or a choice before.
    fn dense(self) -> Value<'b> {
        match self.storage {
            Storage::Dense(_) => half::widen(self.value),
            Storage::Packed(packing) => {
                let rows = unpack::rows(self.value, self.rows);
                unpack::unpack(rows, packing, self.columns)
            }
        }
    }
}

/// The attribute `weights`.
fn weights_attribute(weights: &[Weight<'_>]) -> Attribute {
    let names: Vec<String> = weights.iter().map(|weight| weight.storage.to_string()).collect();
    Attribute::Text(names.join(", "))
}

/// How the weights of a kernel are stored, in the order of its weight operands; none for kernels
/// without weights.
///
/// # Errors
/// A name that this crate does not write.
pub fn storages(kernel: &Kernel) -> Result<Vec<Storage>, UnknownStorage> {
    match kernel.attribute("weights") {
        Some(Attribute::Text(names)) => names.split(", ").map(str::parse).collect(),
        _ => Ok(Vec::new()),
    }
}

/// The result of a kernel with one result.
fn one(results: Vec<Value<'_>>) -> Value<'_> {
    results[0]
}
