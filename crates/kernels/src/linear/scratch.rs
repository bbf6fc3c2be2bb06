//! Memory that is kept, and memory that threads write side by side.

use std::marker::PhantomData;

/// A slice whose parts are written by several threads.
pub(crate) struct Shared<T> {
    pointer: *mut T,
    length: usize,
    values: PhantomData<T>,
}

// SAFETY: access is by `part`, whose callers see to it that no two threads have the same part.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(values: &mut [T]) -> Self {
        Self { pointer: values.as_mut_ptr(), length: values.len(), values: PhantomData }
    }

    /// `count` values from `first` on.
    ///
    /// # Safety
    /// The slice is still borrowed by whoever made this, and nobody else uses the part meanwhile.
    ///
    /// # Panics
    /// If there are not as many.
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint")]
    pub(crate) unsafe fn part(&self, first: usize, count: usize) -> &mut [T] {
        assert!(first <= self.length && count <= self.length - first);
        // SAFETY: inside the slice, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(first), count) }
    }
}

/// Sixteen f32 at an address that is a multiple of 64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub [f32; 16]);

/// Aligned f32.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// At least `count` values; what they hold is of no use to anybody.
    pub(super) fn take(&mut self, count: usize) -> *mut f32 {
        let lines = count.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        self.0.as_mut_ptr().cast()
    }

    /// The same as a slice.
    pub(crate) fn floats(&mut self, count: usize) -> &mut [f32] {
        let values = self.take(count);
        // SAFETY: there are as many.
        unsafe { std::slice::from_raw_parts_mut(values, count) }
    }

    /// The same as integers.
    pub(super) fn integers(&mut self, count: usize) -> &mut [i32] {
        let values = self.take(count).cast();
        // SAFETY: there are as many, and any bits are an integer.
        unsafe { std::slice::from_raw_parts_mut(values, count) }
    }

    /// Where they begin.
    pub(super) fn start(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }
}
