//! How a model is loaded.

use crate::{Error, Folders, Progress, ProgressSink};
use stablemate_checkpoint::{Encoding, Tensor};
use stablemate_encodings::{Bits, Packing};
use stablemate_kernels::{Activations, Isa};
use stablemate_models::CacheElement;
use std::sync::Arc;

/// Who computes the heavy operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Kernels of this program, which IREE calls.
    #[default]
    Native,
    /// IREE alone, from the portable text.
    Portable,
}

/// Quantises dense matrices while they are loaded, as `mlx.core.quantize` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantize {
    /// Bits of a weight: 2, 3, 4, 5, 6 or 8.
    pub bits: usize,
    /// Weights that share a scale and a bias: 32, 64 or 128.
    pub group_size: usize,
}

impl Quantize {
    /// Refuses what MLX does not have.
    pub(crate) fn check(self) -> Result<(), Error> {
        if Bits::new(self.bits).is_none() {
            return Err(Error::Quantize { bits: self.bits });
        }
        match self.group_size {
            32 | 64 | 128 => Ok(()),
            group_size => Err(Error::QuantizeGroup { group_size }),
        }
    }

    /// The packing that a tensor gets: none if its rows do not consist of whole groups, as MLX leaves
    /// such tensors alone.
    pub(crate) fn packing(self, tensor: &Tensor<'_>) -> Result<Option<Packing>, Error> {
        let quantizable = matches!(tensor.encoding(), Encoding::Dense(_));
        if !quantizable || !tensor.row_len().is_multiple_of(self.group_size.max(1)) {
            return Ok(None);
        }
        let bits = Bits::new(self.bits).ok_or(Error::Quantize { bits: self.bits })?;
        Ok(Some(tensor.quantized_packing(bits, self.group_size)?))
    }
}

/// How to load a model.
#[derive(Clone)]
pub struct LoadOptions {
    /// Where the compiler is and compiled steps are kept.
    pub folders: Folders,
    /// Who computes.
    pub backend: Backend,
    /// Threads that compute; `None`: one per physical core that this process may use.
    pub threads: Option<usize>,
    /// Instructions that native kernels use; `None`: the best that this machine has.
    pub isa: Option<Isa>,
    /// How native kernels round activations.
    pub activations: Activations,
    /// Elements of the cache of keys and values.
    pub cache: CacheElement,
    /// Quantise dense weights.
    pub quantize: Option<Quantize>,
    /// The longest sequence, in tokens; `None`: what the model is made for, or as much of it as half of
    /// the memory holds.
    pub context: Option<usize>,
    /// Bytes that weights and cache may have together; `None`: half of the memory is left to the cache.
    pub memory: Option<usize>,
    /// Hears what takes time.
    pub progress: ProgressSink,
}

impl LoadOptions {
    /// Everything as the model and the machine suggest, silently.
    pub fn new(folders: Folders) -> Self {
        Self {
            folders,
            backend: Backend::default(),
            threads: None,
            isa: None,
            activations: Activations::Exact,
            cache: CacheElement::F16,
            quantize: None,
            context: None,
            memory: None,
            progress: Arc::new(|_: Progress| {}),
        }
    }
}
