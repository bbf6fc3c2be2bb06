//! The parameters and the state of a model: the one place where argument order is decided.

use crate::dimensions::{BLOCK, SLOT, STATE_SLOT};
use crate::source::{Layout, Piece, Root};
use crate::{Bucket, CacheElement, ModelError, Storage};
use stablemate_graph::{Dimension, ElementType, TensorType};
use std::path::Path;

/// A parameter: an index into the [`ParamTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param(pub(crate) usize);

/// How much of a parameter a token needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// All of it.
    #[default]
    Whole,
    /// So many matrices of a stack `[X, O, I]`.
    Choices(usize),
    /// A row of a table.
    Row,
}

/// A parameter's name, shape, storage and source.
#[derive(Clone, Debug)]
pub struct ParamEntry {
    /// Name of the graph's argument; the tensor's in the checkpoint where the parameter is one tensor.
    pub name: String,
    /// The shape the configuration gives; its elements are those of a dense storage, f32 for a packed one.
    pub ty: TensorType,
    /// How it is held in memory.
    pub storage: Storage,
    /// Used element by element, so held as f32 whatever the checkpoint stores.
    pub element_wise: bool,
    /// How much of it a token needs.
    pub need: Need,
    /// The ways in which checkpoints hold it; the first one found counts.
    layouts: Vec<Layout>,
    /// Index of the layout that was found.
    layout: usize,
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

    /// Bytes of the argument that `tokens` tokens need; of a stack, on average over independent and even choices.
    pub fn bytes_read(&self, tokens: usize) -> usize {
        let first = self.ty.dimensions.first().map_or(0, |first| first.size).max(1) as f64;
        let share = match self.need {
            Need::Whole => 1.0,
            Need::Row => tokens as f64 / first,
            Need::Choices(choices) => {
                // A token leaves a matrix out with this probability.
                let left_out = (1.0 - choices as f64 / first).max(0.0);
                1.0 - left_out.powi(i32::try_from(tokens).unwrap_or(i32::MAX))
            }
        };
        if share < 1.0 { (self.bytes() as f64 * share).round() as usize } else { self.bytes() }
    }

    /// Where the values come from: the layout that [`ParamTable::bind`] found, the first before that.
    pub fn layout(&self) -> &Layout {
        &self.layouts[self.layout]
    }

    /// All layouts, in the order of preference.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Index of [`Self::layout`] in [`Self::layouts`].
    pub fn layout_index(&self) -> usize {
        self.layout
    }

    /// The labelled shape as text: `[Vocabulary 8, Model 4]`.
    fn shape(&self) -> String {
        let dimensions: Vec<String> = self.ty.dimensions.iter().map(ToString::to_string).collect();
        format!("[{}]", dimensions.join(", "))
    }

    /// Rows and values per row when the pieces of a layout are put together.
    fn rows(&self) -> (usize, usize) {
        match self.ty.sizes()[..] {
            [] => (1, 1),
            [n] => (n, 1),
            [ref outer @ .., columns] => {
                (outer.iter().fold(1, |a: usize, b| a.saturating_mul(*b)), columns)
            }
        }
    }

    fn store(&mut self, file: &Path, storage: Storage) -> Result<(), ModelError> {
        let is_float = storage == Storage::Dense(ElementType::F32);
        let misfit = match self.element_wise && !is_float {
            true => Some("all but matrices are held as f32".to_string()),
            false => storage.misfit(&self.ty.dimensions),
        };
        if let Some(expected) = misfit {
            return Err(self.wrong_storage(file, storage, expected));
        }
        (self.storage, self.ty.element) = (storage, storage.element());
        Ok(())
    }

    fn wrong_storage(&self, file: &Path, found: Storage, expected: String) -> ModelError {
        ModelError::WrongStorage {
            file: file.to_path_buf(),
            tensor: self.name.clone(),
            shape: self.shape(),
            found: found.to_string(),
            expected,
        }
    }

    /// Finds the layout and decides the storage. `lookup` gives a tensor's sizes and storage.
    fn bind<E: From<ModelError>>(
        &mut self,
        file: &Path,
        lookup: &mut impl FnMut(&str) -> Result<Option<(Vec<usize>, Storage)>, E>,
    ) -> Result<(), E> {
        let mut misfit = None;
        for n in 0..self.layouts.len() {
            let mut found = Vec::new();
            for piece in &self.layouts[n].0 {
                match lookup(&piece.tensor)? {
                    Some((sizes, storage)) => found.push((sizes, storage)),
                    None => break,
                }
            }
            let pieces = &self.layouts[n].0;
            if found.len() == pieces.len() {
                if let Err(error) = check_shapes(file, pieces, &found, &self.shape()) {
                    misfit.get_or_insert(error);
                    continue;
                }
                let storages: Vec<Storage> = found.into_iter().map(|(_, s)| s).collect();
                let storage = self.joined(file, &self.layouts[n], &storages)?;
                self.layout = n;
                return Ok(self.store(file, storage)?);
            }
            if let (false, Some(missing)) = (found.is_empty(), pieces.get(found.len())) {
                return Err(self.missing(file, &missing.tensor).into());
            }
        }
        if let Some(error) = misfit {
            return Err(error.into());
        }
        let first = self.layouts.first().and_then(|layout| layout.tensors().next());
        Err(self.missing(file, first.unwrap_or(&self.name)).into())
    }

    fn missing(&self, file: &Path, tensor: &str) -> ModelError {
        ModelError::MissingTensor {
            file: file.to_path_buf(),
            tensor: tensor.to_string(),
            expected: self.shape(),
        }
    }

    /// The storage of a parameter that is put together from tensors of these storages.
    fn joined(
        &self,
        file: &Path,
        layout: &Layout,
        storages: &[Storage],
    ) -> Result<Storage, ModelError> {
        let float = Storage::Dense(ElementType::F32);
        if self.element_wise {
            return Ok(float);
        }
        let first = storages.first().copied().unwrap_or(float);
        if let Some(other) = storages.iter().find(|storage| **storage != first) {
            if [first, *other].iter().all(|storage| matches!(storage, Storage::Dense(_))) {
                return Ok(float);
            }
            let expected = format!("another part is stored as {first}: parts must be stored alike");
            return Err(self.wrong_storage(file, *other, expected));
        }
        let transposed = layout.0.iter().find(|piece| piece.transposed);
        if let (Storage::Packed(_), Some(piece)) = (first, transposed) {
            let expected = format!(
                "the family stores {:?} as [in, out], whose groups would run along outputs",
                piece.tensor
            );
            return Err(self.wrong_storage(file, first, expected));
        }
        Ok(first)
    }
}

/// That each tensor has the shape its piece expects.
fn check_shapes(
    file: &Path,
    pieces: &[Piece],
    found: &[(Vec<usize>, Storage)],
    parameter: &str,
) -> Result<(), ModelError> {
    for (piece, (sizes, _)) in pieces.iter().zip(found) {
        if *sizes != piece.shape {
            let expected = match pieces {
                [one] if one.is_whole() => parameter.to_string(),
                _ => format!("{:?}", piece.shape),
            };
            return Err(ModelError::WrongShape {
                file: file.to_path_buf(),
                tensor: piece.tensor.clone(),
                found: sizes.clone(),
                expected,
            });
        }
    }
    Ok(())
}

/// All parameters in argument order. The graph's signature, the loader and `inspect` walk it.
#[derive(Clone, Debug, Default)]
pub struct ParamTable {
    entries: Vec<ParamEntry>,
    /// Where checkpoints keep the names; the entries are spelled for the first.
    roots: Vec<Root>,
    /// Patterns of tensors that the model does not use on purpose.
    ignored: Vec<String>,
}

impl ParamTable {
    /// Declares a parameter; a name that is declared already is that parameter (a tied head).
    pub(crate) fn declare(
        &mut self,
        name: String,
        dimensions: Vec<Dimension>,
        layouts: Vec<Layout>,
        element_wise: bool,
    ) -> Param {
        if let Some(n) = self.entries.iter().position(|entry| entry.name == name) {
            return Param(n);
        }
        let ty = TensorType::new(ElementType::F32, dimensions);
        let storage = Storage::Dense(ElementType::F32);
        let layouts = match layouts.is_empty() {
            true => vec![Piece::whole(&name, ty.sizes()).into()],
            false => layouts,
        };
        let need = Need::Whole;
        let entry = ParamEntry { name, ty, storage, element_wise, need, layouts, layout: 0 };
        debug_assert!(
            entry.layouts.iter().all(|layout| {
                let rows = layout.0.iter().map(|piece| piece.rows.len());
                rows.fold(0, usize::saturating_add) == entry.rows().0 || entry.ty.rank() == 0
            }),
            "{}: the pieces have another number of rows than {}",
            entry.name,
            entry.shape()
        );
        self.entries.push(entry);
        Param(self.entries.len() - 1)
    }

    /// Says how much of a parameter a token needs.
    pub(crate) fn needs(&mut self, param: Param, need: Need) {
        self.entries[param.0].need = need;
    }

    /// Says where checkpoints keep the names and which tensors are not used on purpose.
    pub(crate) fn set_roots(&mut self, roots: Vec<Root>, ignored: Vec<String>) {
        (self.roots, self.ignored) = (roots, ignored);
    }

    /// Parameters in argument order.
    pub fn entries(&self) -> &[ParamEntry] {
        &self.entries
    }

    /// The entry of a parameter.
    pub fn entry(&self, param: Param) -> &ParamEntry {
        &self.entries[param.0]
    }

    /// Names of all tensors that the parameters are made of.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().flat_map(|entry| entry.layout().tensors())
    }

    /// Whether the family leaves the tensor `name` out on purpose.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|pattern| crate::source::matches(pattern, name))
    }

    /// Spells the names as the checkpoint does, whose tensors `has` knows.
    pub fn choose_root(&mut self, has: impl Fn(&str) -> bool) {
        let Some(first) = self.roots.first().cloned() else { return };
        let found = |root: &Root| {
            let first = &first;
            let has = &has;
            let names = self.entries.iter().flat_map(|entry| &entry.layouts);
            let names = names.flat_map(Layout::tensors);
            names.filter(|name| has(&first.respell(root, name))).count()
        };
        // The first of those with most tensors.
        let best = self.roots.iter().rev().max_by_key(|root| found(root)).cloned();
        let Some(root) = best.filter(|root| *root != first) else { return };
        for entry in &mut self.entries {
            entry.name = first.respell(&root, &entry.name);
            for piece in entry.layouts.iter_mut().flat_map(|layout| &mut layout.0) {
                piece.tensor = first.respell(&root, &piece.tensor);
            }
        }
        self.roots = vec![root];
    }

    /// The name of a tensor beside the model, such as the head, as the checkpoint spells it.
    pub fn outer(&self, name: &str) -> String {
        self.roots.first().map_or_else(|| name.to_string(), |root| format!("{}{name}", root.outer))
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
        self.entries.iter_mut().try_for_each(|entry| entry.bind(file, &mut lookup))
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

    /// Bytes that `tokens` tokens need of all parameters, as [`ParamEntry::bytes_read`] says.
    pub fn bytes_read(&self, tokens: usize) -> usize {
        self.entries.iter().map(|entry| entry.bytes_read(tokens)).fold(0, usize::saturating_add)
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
