//! The graphs, run by an interpreter that knows neither IREE nor any device.

mod cache;
mod evaluate;
mod experts;
mod generation;
#[path = "../interpreter/mod.rs"]
mod interpreter;
mod kernels;
mod loops;
mod recurrent;
mod session;
mod weights;
