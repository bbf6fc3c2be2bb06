//! The native text's kernels: from a composite in the graph to a call of `stablemate-kernels`.

mod experts;
mod operation;
mod recurrent;
#[cfg(test)]
mod tests;

use crate::{Error, LoadOptions};
use operation::Operation;
use sha2::{Digest, Sha256};
use stablemate_graph::{NativeBinding, NativeCall, NativeSite};
use stablemate_kernels::{Isa, Kernels};
use stablemate_runtime::{KernelResolver, NativeKernel};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Kernels, and the composites that were replaced by them so far.
pub(crate) struct NativeKernels {
    kernels: Arc<Kernels>,
    /// By symbol. Texts are always written before what they compile to is loaded, so whatever a
    /// program asks for is here.
    operations: Mutex<HashMap<String, Operation>>,
}

impl NativeKernels {
    /// Kernels with the threads and instructions asked for.
    pub(crate) fn new(options: &LoadOptions) -> Result<Self, Error> {
        let best = Isa::best();
        let isa = options.isa.unwrap_or(best);
        if !isa.available() {
            return Err(Error::Isa { asked: isa, best });
        }
        let threads = options.threads.unwrap_or_else(crate::machine::physical_cores);
        let kernels = Arc::new(Kernels::new(isa, threads, options.activations));
        Ok(Self { kernels, operations: Mutex::default() })
    }

    /// What computes.
    pub(crate) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The call that replaces a composite's decomposition: none for a composite without a kernel.
    pub(crate) fn call(&self, site: &NativeSite<'_>) -> Option<NativeCall> {
        let operation = Operation::read(site)?;
        let tied = operation.tied();
        let digest = Sha256::digest(format!("{operation:?}"));
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let symbol = format!("{}_{hash}", site.kernel.short_name());
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.insert(symbol.clone(), operation);
        Some(NativeCall { symbol, tied })
    }
}

impl KernelResolver for NativeKernels {
    fn resolve(&self, symbol: &str, _: &[NativeBinding]) -> Option<NativeKernel> {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = operations.get(symbol)?.clone();
        let kernels = self.kernels.clone();
        Some(NativeKernel {
            name: operation.describe(),
            function: Box::new(move |bindings| operation.run(&kernels, bindings)),
        })
    }
}
