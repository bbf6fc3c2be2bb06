//! In: typed, shape-checked operations on tensors whose dimensions carry labels.
//! Out: an in-memory graph ([`Module`]) and its StableHLO text.
//! Never: knows a model, a file, a device or the process environment.
//!
//! ```
//! use stablemate_graph::{ElementType, Label, ModuleBuilder, TensorType};
//! const TOKEN: Label = Label("Token");
//! const MODEL: Label = Label("Model");
//!
//! let module = ModuleBuilder::new("example");
//! let main = module.function("main");
//! let x = main.argument("x", TensorType::new(ElementType::F32, [TOKEN.of(4), MODEL.of(8)]));
//! let weight = main.argument("weight", TensorType::new(ElementType::F32, [MODEL.of(8)]));
//! // `weight` is broadcast along Token: operands meet by label, not by position.
//! let mean_square = (x * x).mean(MODEL);
//! let y = x * (mean_square + 1e-5).rsqrt() * weight;
//! main.finish(&[("y", y)])?;
//! assert!(module.finish()?.to_string().contains("stablehlo.rsqrt"));
//! # Ok::<(), stablemate_graph::GraphError>(())
//! ```

mod builder;
mod composite;
mod element;
mod error;
pub mod infer;
mod ir;
mod native;
mod print;
mod shape;
mod symbols;
mod value;

pub use builder::{Builder, ModuleBuilder, Scope};
pub use composite::{Attribute, Kernel};
pub use element::ElementType;
pub use error::GraphError;
pub use infer::{Inferred, Violation};
pub use ir::{
    Argument, Binary, Direction, DotDimensions, Function, Literal, Loop, Module, Op, Operation,
    Reduction, Region, Unary, ValueId, ValueInfo,
};
pub use native::{ImportName, NativeBinding, NativeCall, NativeError, NativeImport, NativeSite};
pub use shape::{Dimension, Label, TensorType};
pub use value::Value;

#[cfg(test)]
mod tests;
