//! The parameters and the state of a model: the one place where argument order is decided.

use crate::dimensions::{BLOCK, SLOT, STATE_SLOT};
use crate::{Bucket, CacheElement, ModelError, Storage};
use stablemate_graph::{Dimension, ElementType, TensorType};
use std::path::Path;

/// A parameter: an index into the [`ParamTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param(pub(crate) usize);

/// A parameter's name, shape and storage.
#[derive(Clone, Debug)]
pub struct ParamEntry {
    /// Name of the tensor in the checkpoint (Hugging Face's), and of the graph's argument.
    pub name: String,
    /// The shape the configuration gives; its elements are those of a dense storage, f32 for a packed one.
    pub ty: TensorType,
    /// How it is held in memory.
    pub storage: Storage,
}

impl ParamEntry {
    /// Type of the graph's argument, see [`Storage::argument`].
    pub fn argument(&self) -> TensorType {
        self.storage.argument(&self.ty.dimensions)
    }

    /// Bytes of the graph's argument.
    pub fn bytes(&self) -> usize {
        let argument = self.argument();
        argument.elements().unwrap_or(usize::MAX).saturating_mul(argument.element.bytes())
    }

    /// The labelled shape as text: `[Vocabulary 8, Model 4]`.
    fn shape(&self) -> String {
        let dimensions: Vec<String> = self.ty.dimensions.iter().map(ToString::to_string).collect();
        format!("[{}]", dimensions.join(", "))
    }

    fn store(&mut self, file: &Path, storage: Storage) -> Result<(), ModelError> {
        if let Some(expected) = storage.misfit(&self.ty.dimensions) {
            return Err(ModelError::WrongStorage {
                file: file.to_path_buf(),
                tensor: self.name.clone(),
                shape: self.shape(),
                found: storage.to_string(),
                expected,
            });
        }
        (self.storage, self.ty.element) = (storage, storage.element());
        Ok(())
    }
}

/// All parameters in argument order. The graph's signature, the loader and `inspect` walk it.
#[derive(Clone, Debug, Default)]
pub struct ParamTable {
    entries: Vec<ParamEntry>,
}

impl ParamTable {
    /// Declares a parameter; the same name twice is the same parameter (a tied head).
    pub(crate) fn declare(&mut self, name: String, dimensions: Vec<Dimension>) -> Param {
        if let Some(n) = self.entries.iter().position(|entry| entry.name == name) {
            return Param(n);
        }
        let ty = TensorType::new(ElementType::F32, dimensions);
        self.entries.push(ParamEntry { name, ty, storage: Storage::Dense(ElementType::F32) });
        Param(self.entries.len() - 1)
    }

    /// Parameters in argument order.
    pub fn entries(&self) -> &[ParamEntry] {
        &self.entries
    }

    /// The entry of a parameter.
    pub fn entry(&self, param: Param) -> &ParamEntry {
        &self.entries[param.0]
    }

    /// Checks each parameter against the checkpoint and takes over how it is stored.
    /// `lookup` gives a tensor's sizes and the storage it will be held in.
    ///
    /// # Errors
    /// A tensor that is missing, has other sizes than the configuration says or cannot be stored so
    /// (vectors are f32, a packed row's length suits the packing); whatever `lookup` returns.
    pub fn bind<E: From<ModelError>>(
        &mut self,
        file: &Path,
        mut lookup: impl FnMut(&str) -> Result<Option<(Vec<usize>, Storage)>, E>,
    ) -> Result<(), E> {
        for entry in &mut self.entries {
            let Some((sizes, storage)) = lookup(&entry.name)? else {
                return Err(ModelError::MissingTensor {
                    file: file.to_path_buf(),
                    tensor: entry.name.clone(),
                    expected: entry.shape(),
                }
                .into());
            };
            if sizes != entry.ty.sizes() {
                return Err(ModelError::WrongShape {
                    file: file.to_path_buf(),
                    tensor: entry.name.clone(),
                    found: sizes,
                    expected: entry.shape(),
                }
                .into());
            }
            entry.store(file, storage)?;
        }
        Ok(())
    }

    /// Decides the storage of each parameter by its shape, for a checkpoint without tensors.
    ///
    /// # Errors
    /// A storage that does not suit the shape, as for [`Self::bind`].
    pub fn set_storage(
        &mut self,
        file: &Path,
        storage: impl Fn(&ParamEntry) -> Storage,
    ) -> Result<(), ModelError> {
        for entry in &mut self.entries {
            let chosen = storage(entry);
            entry.store(file, chosen)?;
        }
        Ok(())
    }

    /// Number of elements of all parameters.
    pub fn elements(&self) -> usize {
        let count = |entry: &ParamEntry| entry.ty.elements().unwrap_or(usize::MAX);
        self.entries.iter().map(count).fold(0, usize::saturating_add)
    }

    /// Bytes all parameters take as graph arguments.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(ParamEntry::bytes).fold(0, usize::saturating_add)
    }
}

/// A tensor that a step reads and overwrites: an index into the model's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub(crate) usize);

/// A named state tensor, one of the graph's arguments, which the step's result overwrites.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// Name of the graph's argument and result: `cache.0.keys`.
    pub name: String,
    /// The layout of the tensor.
    pub kind: StateKind,
}

/// The layout of a state tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// A pool of blocks, `[B, L, heads, width]`: one entry per token. Block 0 is padding's.
    Paged {
        /// Heads of an entry.
        heads: Dimension,
        /// Values of a head.
        width: Dimension,
        /// How a value is held.
        element: CacheElement,
    },
    /// A pool of slots, `[N, dimensions…]` f32: one entry per sequence. Slot 0 is padding's.
    PerSequence(Vec<Dimension>),
}

impl StateEntry {
    /// Paged state in f32, see [`StateKind::Paged`].
    pub fn paged(name: impl Into<String>, heads: Dimension, width: Dimension) -> Self {
        let kind = StateKind::Paged { heads, width, element: CacheElement::F32 };
        Self { name: name.into(), kind }
    }

    /// Type of the pool in a bucket, in blocks of `block_length` tokens.
    pub fn ty(&self, bucket: &Bucket, block_length: usize) -> TensorType {
        match &self.kind {
            StateKind::Paged { heads, width, element } => {
                let width = width.label.of(element.width(width.size));
                let blocks = [BLOCK.of(bucket.blocks), SLOT.of(block_length)];
                TensorType::new(element.element(), [blocks[0], blocks[1], *heads, width])
            }
            StateKind::PerSequence(dimensions) => {
                let slots = STATE_SLOT.of(bucket.slots);
                let all: Vec<Dimension> = [slots].iter().chain(dimensions).copied().collect();
                TensorType::new(ElementType::F32, all)
            }
        }
    }

    /// Bytes that one token takes; 0 for per-sequence state.
    pub fn bytes_per_token(&self) -> usize {
        match &self.kind {
            StateKind::Paged { heads, width, element } => heads
                .size
                .saturating_mul(element.width(width.size))
                .saturating_mul(element.element().bytes()),
            StateKind::PerSequence(_) => 0,
        }
    }

    /// Bytes that one slot takes; 0 for paged state.
    pub fn bytes_per_sequence(&self) -> usize {
        match &self.kind {
            StateKind::Paged { .. } => 0,
            StateKind::PerSequence(dimensions) => {
                let sizes = dimensions.iter().map(|dimension| dimension.size);
                sizes.fold(ElementType::F32.bytes(), usize::saturating_mul)
            }
        }
    }
}
