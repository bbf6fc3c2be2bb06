//! In: slices of activations, encoded weights, pools of cache and states, and addresses.
//! Out: slices: products, experts, attention, embedded rows, written cache, recurrences, by the best
//! instructions of this machine.
//! Never: knows IREE, a graph, a model or a file.

mod amx;
mod attention;
mod bandwidth;
mod cache;
mod error;
mod experts;
mod exponential;
mod isa;
mod kernels;
mod linear;
mod pool;
mod reading;
mod recurrent;
mod scratch;
mod simd;

pub use attention::{Addresses, Attention, AttentionOperands};
pub use cache::{CacheElement, CacheShape};
pub use error::KernelError;
pub use experts::{Experts, Inner, Routing};
pub use isa::Isa;
pub use kernels::{Activations, Kernels};
pub use linear::{Activation, Gate, Matrix, Product, Stack, Weight};
pub use pool::Pool;
pub use recurrent::{
    Convolution, DeltaRule, DeltaRuleOperands, Scan, ScanOperands, StateAddresses,
};
