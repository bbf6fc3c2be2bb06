//! What happens to every request before and after its handler.

mod authentication;
mod dialect;
mod host;
mod observation;
mod record;
mod stack;

pub(crate) use host::is_loopback;
pub use record::Record;
pub(crate) use stack::wrap;
