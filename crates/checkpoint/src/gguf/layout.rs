//! The tensor names of an architecture, for programs that write files: tests and benchmarks.

use super::architectures;
use super::names::{Conversion, Names};

/// One way in which files of an architecture name their tensors.
#[derive(Clone, Copy, Debug)]
pub struct Layout(&'static Names);

impl Layout {
    /// The layouts that files of `architecture` (the value of `general.architecture`) may have;
    /// none if the architecture is not read.
    pub fn all(architecture: &str) -> impl Iterator<Item = Self> {
        let names = architectures::named(architecture).map_or(&[][..], |found| found.names);
        names.iter().copied().map(Self)
    }

    /// The name in the file of a tensor by its Hugging Face name, and what the converter does to
    /// it.
    pub fn stored(&self, hugging_face: &str) -> Option<(String, Conversion)> {
        self.0.stored(hugging_face)
    }
}
