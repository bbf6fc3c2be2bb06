//! What happens to every request before and after its handler.

mod authentication;
mod dialect;
mod observation;
mod record;
mod stack;

pub use record::Record;
pub(crate) use stack::wrap;
