//! In: a Hugging Face directory or a GGUF file.
//! Out: a [`RawConfig`], tensors by name (memory-mapped), their encodings and packed rows, GGUF metadata; a directory
//! with quantised weights.
//! Never: knows StableHLO, a device or a tokenizer.

mod checkpoint;
mod config;
mod dequantize;
mod encoding;
mod error;
mod file;
pub mod gguf;
mod hugging_face;
mod json;
mod pack;
mod quantize;
mod row_order;
mod tensor;

pub use checkpoint::{Checkpoint, Format, Pooling};
pub use config::{FromConfig, RawConfig};
pub use encoding::{BlockType, Encoding, Float};
pub use error::Error;
pub use file::read_text;
pub use quantize::{QuantizeOptions, Report, quantize_directory};
pub use tensor::Tensor;
