//! The parameters and the state of a model: the one place where argument order is decided.

use crate::ModelError;
use stablemate_graph::{Dimension, ElementType, TensorType};
use std::path::Path;

/// A parameter: an index into the [`ParamTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param(pub(crate) usize);

/// A parameter's name, shape and encoding.
#[derive(Clone, Debug)]
pub struct ParamEntry {
    /// Name of the tensor in the checkpoint (Hugging Face's), and of the graph's argument.
    pub name: String,
    /// The shape the configuration gives, and the element type the tensor is held in.
    pub ty: TensorType,
}

impl ParamEntry {
    /// Type of the graph's argument. It is [`Self::ty`], but for bf16, which is passed as its bits in
    /// i16: no spelling that begins with a bf16 tensor compiles for all targets (see `kernels`).
    pub fn argument(&self) -> TensorType {
        match self.ty.element {
            ElementType::Bf16 => self.ty.with_element(ElementType::I16),
            _ => self.ty.clone(),
        }
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
        self.entries.push(ParamEntry { name, ty });
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

    /// Checks each parameter against the checkpoint and takes over the element type it is stored in.
    /// `lookup` gives a tensor's sizes and the element type it will be held in.
    /// Vectors (norms, biases) must be held in f32: element-wise operations do not widen.
    ///
    /// # Errors
    /// A tensor that is missing or has other sizes than the configuration says; whatever `lookup` returns.
    pub fn bind(
        &mut self,
        file: &Path,
        mut lookup: impl FnMut(&str) -> Result<Option<(Vec<usize>, ElementType)>, ModelError>,
    ) -> Result<(), ModelError> {
        for entry in &mut self.entries {
            let expected = || {
                let dimensions: Vec<String> =
                    entry.ty.dimensions.iter().map(ToString::to_string).collect();
                format!("[{}]", dimensions.join(", "))
            };
            let Some((sizes, element)) = lookup(&entry.name)? else {
                return Err(ModelError::MissingTensor {
                    file: file.to_path_buf(),
                    tensor: entry.name.clone(),
                    expected: expected(),
                });
            };
            if sizes != entry.ty.sizes() {
                return Err(ModelError::WrongShape {
                    file: file.to_path_buf(),
                    tensor: entry.name.clone(),
                    found: sizes,
                    expected: expected(),
                });
            }
            entry.ty.element = element;
        }
        Ok(())
    }

    /// Decides the element type of each parameter by its shape, for a checkpoint without tensors.
    pub fn set_elements(&mut self, element: impl Fn(&TensorType) -> ElementType) {
        for entry in &mut self.entries {
            entry.ty.element = element(&entry.ty);
        }
    }

    /// Number of elements of all parameters.
    pub fn elements(&self) -> usize {
        let count = |entry: &ParamEntry| entry.ty.elements().unwrap_or(usize::MAX);
        self.entries.iter().map(count).fold(0, usize::saturating_add)
    }

    /// Bytes all parameters take as graph arguments.
    pub fn bytes(&self) -> usize {
        let size = |entry: &ParamEntry| {
            let elements = entry.ty.elements().unwrap_or(usize::MAX);
            elements.saturating_mul(entry.ty.element.bytes())
        };
        self.entries.iter().map(size).fold(0, usize::saturating_add)
    }
}

/// A tensor that a step reads and overwrites: an index into the model's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub(crate) usize);

/// A named state tensor. Paged keys and values, one pool per layer, are the one kind so far:
/// `[B, L, K, width]`, block 0 reserved for padding.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// Name of the graph's argument and result: `cache.0.keys`.
    pub name: String,
    /// Heads of a slot.
    pub heads: Dimension,
    /// Elements of a head.
    pub width: Dimension,
    /// Element type.
    pub element: ElementType,
}

impl StateEntry {
    /// Bytes that one token takes.
    pub fn bytes_per_token(&self) -> usize {
        self.heads.size * self.width.size * self.element.bytes()
    }
}
