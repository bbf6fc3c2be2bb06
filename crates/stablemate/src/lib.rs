//! Run language models on OpenXLA from Rust.
//!
//! In: a checkpoint (a Hugging Face directory or a GGUF file) and prompts.
//! Out: text and tokens, as they are made.
//! Never: reads the process environment, prints, or knows HTTP.
//!
//! ```no_run
//! use stablemate::{Folders, GenerateOptions, LoadOptions, Model};
//!
//! let folders = Folders::standard(|name| std::env::var(name).ok()).expect("HOME is set");
//! let mut model = Model::load("SmolLM2-135M-Instruct.Q4_1.gguf", &LoadOptions::new(folders))?;
//! let options = GenerateOptions { max_tokens: Some(48), ..GenerateOptions::default() };
//! for piece in model.generate("The capital of France is", &options)? {
//!     print!("{}", piece?.text);
//! }
//! # Ok::<(), stablemate::Error>(())
//! ```

mod bench;
mod completion;
mod doctor;
mod error;
mod executor;
mod folders;
pub mod hub;
mod inspect;
mod machine;
mod memory;
mod model;
mod native;
mod options;
mod program;
mod progress;
mod prompt;
mod service;
mod source;
mod verify;
mod weights;

pub use bench::{Bench, Measurement};
pub use completion::{Completion, GenerateOptions, Piece, Timings};
pub use doctor::{Finding, Health, examine};
pub use error::Error;
pub use executor::{Executor, ExecutorError, Preparation};
pub use folders::Folders;
pub use inspect::{Inspection, inspect};
pub use machine::{peak_resident, resident};
pub use memory::MemoryPlan;
pub use model::{Model, open_tokenizer as tokenizer};
pub use options::{Backend, LoadOptions, Quantize};
pub use program::{CompiledModule, EmitOptions, compile_to, emit};
pub use progress::{Progress, ProgressSink};
pub use prompt::{Message, Prompt};
pub use service::{Service, ServiceOptions};
pub use source::{Opened, open, open_as, resolve};
/// Writing a quantised copy of a checkpoint.
pub use stablemate_checkpoint as checkpoint;
pub use stablemate_engine::{FinishReason, Room, Runner, Sampling, StepInput};
pub use stablemate_kernels::{Activations, Isa};
pub use stablemate_models::CacheElement;
/// Installing and finding the compiler; targets to compile for.
pub use stablemate_runtime as runtime;
/// Tokenizers and chat templates.
pub use stablemate_text as text;
pub use verify::{Comparison, verify};
