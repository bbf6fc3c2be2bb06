//! GGUF files: versions 2 and 3, little-endian.
//!
//! Follows the specification in ggml's repository (`docs/gguf.md`) and, where it is silent,
//! llama.cpp's reader and converter (`convert_hf_to_gguf.py`).

mod architectures;
mod cursor;
mod header;
mod keys;
mod layout;
pub mod metadata;
mod model;
mod names;
mod rope;
mod source;
mod split;
mod tensor_type;

pub use layout::Layout;
pub use metadata::{Metadata, Value};
pub(crate) use model::open;
pub use model::read_metadata;
pub use names::Conversion;
pub(crate) use split::parse_name as part_of;
