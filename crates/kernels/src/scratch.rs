//! Memory that tasks use one after the other.

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; 16]);

/// Memory of a thread, or of a call.
pub(crate) type Memory = Vec<Line>;

/// Makes `memory` at least `floats` long. Its content means nothing.
pub(crate) fn reserve(memory: &mut Memory, floats: usize) -> *mut f32 {
    let lines = floats.div_ceil(16);
    if memory.len() < lines {
        memory.clear();
        memory.resize(lines, Line([0.0; 16]));
    }
    memory.as_mut_ptr().cast()
}
