//! Keys and values that later layers read.

use super::Blueprint;
use crate::reading::Read;
use crate::{ModelError, State};

/// The last layers read the keys and values of the last layer of their type that has some.
pub struct SharedKeys {
    /// The first layer without keys and values of its own.
    pub first: usize,
    pools: Vec<(String, [State; 2])>,
}

impl SharedKeys {
    /// `key` is the number of layers without keys and values; `types` has a layer's type each.
    ///
    /// # Errors
    /// As many as all layers, and types that no layer with keys has.
    pub fn read(m: &Blueprint, key: &str, types: &[String]) -> Result<Self, ModelError> {
        let shared: usize = m.config.get(key)?.unwrap_or(0);
        let expected = format!("there are {} layers", types.len());
        m.config.check(shared < types.len(), key, shared, expected)?;
        let first = types.len() - shared;
        for kind in &types[first..] {
            let expected = format!("no layer of type {kind} before them has keys of its own");
            m.config.check(types[..first].contains(kind), key, shared, expected)?;
        }
        Ok(Self { first, pools: Vec::new() })
    }

    /// The pools that layer `n` of type `kind` reads, unless it has its own.
    pub fn earlier(&self, n: usize, kind: &str) -> Option<[State; 2]> {
        let of_kind = |(known, pools): &(String, [State; 2])| (known == kind).then_some(*pools);
        (n >= self.first).then(|| self.pools.iter().rev().find_map(of_kind))?
    }

    /// Notes the pools of layer `n`.
    pub fn keep(&mut self, n: usize, kind: &str, pools: [State; 2]) {
        if n < self.first {
            self.pools.push((kind.to_string(), pools));
        }
    }
}
