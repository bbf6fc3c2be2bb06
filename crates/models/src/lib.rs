//! In: a [`RawConfig`](stablemate_checkpoint::RawConfig).
//! Out: a [`Decoder`] (description, parameters, state) and from it the StableHLO graph of a step.
//! Never: reads the bytes of a weight; knows IREE or any device.

pub mod dimensions;

mod blueprint;
mod decoder;
mod entry;
mod error;
pub mod families;
pub mod kernels;
mod params;
pub mod parts;
mod reading;
pub mod source;
mod step;
mod storage;

pub use blueprint::{At, AttentionBias, Blueprint, Features, Names, Sizes, Style};
pub use decoder::{Decoder, Embedding, HEAD, LearnedPositions, Side};
pub use entry::{BLOCK_LENGTH, Bucket, EntryPoint, Output, StepArgument};
pub use error::ModelError;
pub use params::{Need, Param, ParamEntry, ParamTable, State, StateEntry, StateKind};
pub use reading::Read;
pub use step::Step;
pub use storage::{CacheElement, Storage, UnknownStorage};
