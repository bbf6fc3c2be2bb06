//! Names of choices on the command line.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use stablemate::{Activations, Backend, CacheElement, Isa};

/// Accepts the names of these choices.
fn choice<T: Copy + Send + Sync + 'static>(
    choices: impl Into<Vec<(&'static str, T)>>,
) -> impl TypedValueParser<Value = T> {
    let choices = choices.into();
    let parser = PossibleValuesParser::new(choices.iter().map(|(name, _)| *name));
    parser.try_map(move |given| {
        let found = choices.iter().find(|(name, _)| *name == given);
        found.map(|(_, choice)| *choice).ok_or("no such choice")
    })
}

/// `--backend`.
pub fn backend() -> impl TypedValueParser<Value = Backend> {
    choice([("native", Backend::Native), ("portable", Backend::Portable)])
}

/// `--isa`.
pub fn isa() -> impl TypedValueParser<Value = Isa> {
    choice(Isa::ALL.map(|isa| (isa.name(), isa)))
}

/// `--activations`.
pub fn activations() -> impl TypedValueParser<Value = Activations> {
    choice([("exact", Activations::Exact), ("int8", Activations::Int8)])
}

/// `--kv-dtype`.
pub fn cache_element() -> impl TypedValueParser<Value = CacheElement> {
    choice([("f32", CacheElement::F32), ("f16", CacheElement::F16), ("q8", CacheElement::Q8)])
}
