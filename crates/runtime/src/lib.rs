//! In: StableHLO text, and tensors as bytes.
//! Out: compiled modules (vmfb) in a content-addressed cache, and sessions that call them on buffers.
//! Never: knows a model, a checkpoint or a tokenizer; lets a type of IREE out.
//!
//! ```text
//! Toolchain::at ─┐
//! text, Target ──┴─ VmfbCache::compile ── path ── Session::load ── Session::call
//!                                     Device::cpu ──┘   Buffer ──────┘
//! ```
//!
//! [`Device::native`] runs native texts, too: those that call functions of this program ([`KernelResolver`]).
//!
//! Compiling runs the compiler as a child process (see [`VmfbCache`]); running happens inside this
//! process through IREE's C runtime, statically linked.

mod buffer;
mod cache;
mod compiler;
mod device;
mod diagnostics;
pub mod download;
mod element;
mod error;
mod ffi;
mod files;
mod float_environment;
mod host;
mod instance;
mod memory;
mod native;
mod session;
mod signature;
mod status;
mod target;
mod toolchain;

pub use buffer::Buffer;
pub use cache::{Compiled, VmfbCache};
pub use compiler::{CompileFailure, Outcome, end_compilers};
pub use device::{CpuOptions, Device};
pub use diagnostics::Diagnostic;
pub use element::Element;
pub use error::{Error, Result};
pub use memory::{ALIGNMENT, Arena};
pub use native::{Binding, KernelFunction, KernelResolver, NativeKernel};
pub use session::Session;
pub use signature::{Function, Tensor};
pub use target::Target;
pub use toolchain::{Progress, REVISION, Toolchain, VERSION};
