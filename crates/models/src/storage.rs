//! How a parameter is held in memory.

use stablemate_encodings::{Bits, Codebook, Float, LANES, Nested, Packing, Scales};
use stablemate_graph::{Dimension, ElementType, TensorType};
use std::fmt;
use std::str::FromStr;

use crate::dimensions::{LANE, TILE, WORD};

/// How a parameter is held in memory, and so passed to the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Element by element: f32, f16 or bf16.
    Dense(ElementType),
    /// A matrix or a stack of matrices, quantised, in the packed layout of `stablemate-encodings`.
    Packed(Packing),
}

impl From<ElementType> for Storage {
    fn from(element: ElementType) -> Self {
        Self::Dense(element)
    }
}

impl From<Packing> for Storage {
    fn from(packing: Packing) -> Self {
        Self::Packed(packing)
    }
}

impl Storage {
    /// All ways in which a matrix can be stored.
    pub fn all() -> impl Iterator<Item = Self> {
        let floats = [ElementType::F32, ElementType::F16, ElementType::Bf16];
        floats.into_iter().map(Self::Dense).chain(packings().map(Self::Packed))
    }

    /// What is wrong with storing a parameter of these dimensions so. Vectors (norms, biases) must be
    /// f32: element-wise operations do not widen.
    pub(crate) fn misfit(self, dimensions: &[Dimension]) -> Option<String> {
        let float = matches!(self, Self::Dense(element) if element.is_float());
        match (self, dimensions) {
            (Self::Dense(ElementType::F32), _) => None,
            (Self::Dense(_), [_, _, ..]) if float => None,
            (Self::Packed(packing), [_, columns] | [_, _, columns]) => {
                let multiple = packing.granularity();
                let fits = columns.size.is_multiple_of(multiple);
                (!fits).then(|| {
                    format!("its rows would need to be a multiple of {multiple} values long")
                })
            }
            (Self::Dense(_), [_, _, ..]) => {
                Some("a matrix is held as f32, f16, bf16 or packed".to_string())
            }
            _ => Some("all but matrices are held as f32".to_string()),
        }
    }

    /// Type of the graph's argument for a parameter of these dimensions. Dense elements are passed as they are,
    /// but for bf16, which is passed as its bits in i16: no spelling that begins with a bf16 tensor compiles
    /// for all targets (see `kernels`). Packed ones are the words of the layout, `[tiles, words, 16]` i32; of a stack
    /// `[X, O, I]` of matrices, each of which has whole tiles, `[X, tiles, words, 16]`.
    pub fn argument(self, dimensions: &[Dimension]) -> TensorType {
        match (self, dimensions) {
            (Self::Packed(packing), [stack @ .., rows, columns]) if stack.len() <= 1 => {
                let words = WORD.of(packing.row_words(columns.size));
                let tiles = TILE.of(Packing::tiles(rows.size));
                let dimensions = [stack, &[tiles, words, LANE.of(LANES)]].concat();
                TensorType::new(ElementType::I32, dimensions)
            }
            (Self::Dense(ElementType::Bf16), _) => TensorType::new(ElementType::I16, dimensions),
            (Self::Dense(element), _) => TensorType::new(element, dimensions),
            (Self::Packed(_), _) => TensorType::new(ElementType::I32, dimensions),
        }
    }

    /// The element type that the parameter has for the graph's eyes: packed values are f32.
    pub(crate) fn element(self) -> ElementType {
        match self {
            Self::Dense(element) => element,
            Self::Packed(_) => ElementType::F32,
        }
    }
}

/// `f16`, or as [`Packing`] says: `q4 group 64 affine F16`. The value of the kernels' attribute `weights`.
impl fmt::Display for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(element) => element.fmt(formatter),
            Self::Packed(packing) => packing.fmt(formatter),
        }
    }
}

/// Text that names no storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a way to store a weight")]
pub struct UnknownStorage(String);

/// What [`Display`](fmt::Display) wrote.
impl FromStr for Storage {
    type Err = UnknownStorage;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownStorage(text.to_string());
        Self::all().find(|storage| storage.to_string() == text).ok_or_else(unknown)
    }
}

/// Every packing that exists.
fn packings() -> impl Iterator<Item = Packing> {
    let floats = [Float::F32, Float::F16, Float::Bf16];
    let dense = floats.map(|float| [Scales::Centred(float), Scales::Affine(float)]);
    let scales = dense.into_iter().flatten().chain(Nested::ALL.map(Scales::Nested));
    let scales = scales.chain(Codebook::ALL.map(Scales::Codebook));
    let with_scales = |scales: Scales| {
        let with_group = move |group: usize| {
            Bits::ALL.into_iter().filter_map(move |bits| Packing::new(bits, group, scales).ok())
        };
        [16, 32, 64, 128].into_iter().flat_map(with_group)
    };
    scales.flat_map(with_scales)
}

/// The element type of the cache of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheElement {
    /// f32.
    #[default]
    F32,
    /// f16, rounded to nearest even. The graph sees the bits, in i16: IREE 3.13 cannot compile a scatter of several
    /// f16 rows for Vulkan, and a bitcast around it would copy the pool.
    F16,
    /// 8 bits per value with one f32 scale per head of a token: `W` codes, then the scale's four bytes,
    /// the lowest first. `value = scale · code`, `scale = max |value| / 127`.
    Q8,
}

impl CacheElement {
    /// The type of a pool's elements.
    pub fn element(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::F16 => ElementType::I16,
            Self::Q8 => ElementType::I8,
        }
    }

    /// Elements that a head of `width` values takes.
    pub fn width(self, width: usize) -> usize {
        match self {
            Self::F32 | Self::F16 => width,
            Self::Q8 => width + Self::SCALE_BYTES,
        }
    }

    /// Bytes of a scale of [`Self::Q8`].
    pub const SCALE_BYTES: usize = 4;
}

impl fmt::Display for CacheElement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        })
    }
}
