//! In: slices of activations, encoded weights, cache pools and addresses.
//! Out: slices: products, experts, attention, embedded rows, written cache, by the best instructions of this machine.
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
mod simd;

pub use attention::{Addresses, Attention, AttentionOperands};
pub use cache::{CacheElement, CacheShape};
pub use error::KernelError;
pub use experts::{Experts, Inner, Routing};
pub use isa::Isa;
pub use kernels::{Activations, Kernels};
pub use linear::{Activation, Gate, Matrix, Product, Stack, Weight};
pub use pool::Pool;
