//! `stablemate serve` as people run it: the real binary and a real model, over sockets.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod batch;
mod client;
mod lifecycle;
mod refusals;
mod server;
mod tools;
