//! Labelled shapes.

use crate::ElementType;
use std::fmt;

/// What a dimension ranges over: `Token`, `Model`, `Head`, …
///
/// Labels are data, not types: families stay free of generic parameters, sizes are only known
/// when a checkpoint is read anyway, and an error can print them. They carry no meaning for
/// StableHLO; the builder uses them to line operands up and to explain mistakes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(pub &'static str);

impl Label {
    /// A dimension of `size` elements with this label.
    pub const fn of(self, size: usize) -> Dimension {
        Dimension { label: self, size }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One dimension of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dimension {
    /// What it ranges over.
    pub label: Label,
    /// Number of elements.
    pub size: usize,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.label, self.size)
    }
}

/// Element type and labelled dimensions, outermost first (row-major).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The type of each element.
    pub element: ElementType,
    /// Dimensions, outermost first; labels are distinct.
    pub dimensions: Vec<Dimension>,
}

impl TensorType {
    /// A tensor of `element`s with these dimensions.
    pub fn new(element: ElementType, dimensions: impl Into<Vec<Dimension>>) -> Self {
        Self { element, dimensions: dimensions.into() }
    }

    /// A zero-dimensional tensor.
    pub fn scalar(element: ElementType) -> Self {
        Self { element, dimensions: Vec::new() }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.dimensions.len()
    }

    /// Sizes of the dimensions, outermost first.
    pub fn sizes(&self) -> Vec<usize> {
        self.dimensions.iter().map(|d| d.size).collect()
    }

    /// Number of elements; `None` if it does not fit a `usize`.
    pub fn elements(&self) -> Option<usize> {
        self.dimensions.iter().try_fold(1usize, |n, d| n.checked_mul(d.size))
    }

    /// Position of the dimension labelled `label`.
    pub fn position(&self, label: Label) -> Option<usize> {
        self.dimensions.iter().position(|d| d.label == label)
    }

    /// The same dimensions with other elements.
    pub fn with_element(&self, element: ElementType) -> Self {
        Self { element, dimensions: self.dimensions.clone() }
    }

    /// StableHLO's spelling: `tensor<4x64xf32>`.
    pub fn text(&self) -> String {
        let mut text = String::from("tensor<");
        for dimension in &self.dimensions {
            text += &format!("{}x", dimension.size);
        }
        text + &format!("{}>", self.element)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, dimension) in self.dimensions.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{dimension}")?;
        }
        write!(f, "] {}", self.element)
    }
}
