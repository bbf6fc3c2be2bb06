//! What kernels are methods of: instructions, threads, and how activations are kept.

use std::fmt;

use crate::isa::Isa;
use crate::pool::Pool;
use crate::reading::Reading;

/// What a product of quantised weights does to its activations. With NF4, whose values are no multiples of anything, they
/// stay f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activations {
    /// 16-bit integers in groups as long as the weights': an error of up to 2⁻¹⁶ of a group's largest value, some dozens of
    /// times that of f32 and about a tenth of what a cache in f16 rounds away. Everything else is exact.
    #[default]
    Exact,
    /// 8-bit integers in groups as long as the weights'. Faster, and lossy.
    Int8,
}

/// The kernels of this machine. Calls from several threads take turns. Nothing in them changes results.
pub struct Kernels {
    isa: Isa,
    activations: Activations,
    pool: Pool,
    /// Of packed weights, and of floats.
    reading: [Reading; 2],
}

impl Kernels {
    /// Kernels that use `isa` (or, where this machine has not got it, the best that it has) on `threads` threads, the
    /// calling one among them.
    pub fn new(isa: Isa, threads: usize, activations: Activations) -> Self {
        let isa = if isa.available() { isa } else { Isa::best() };
        let reading = [(); 2].map(|()| Reading::new(isa));
        Self { isa, activations, pool: Pool::new(threads), reading }
    }

    /// The instruction set in use. It is available on this machine.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How weights are read, `packed` or not.
    pub(crate) fn reading(&self, packed: bool) -> &Reading {
        let [of_packed, of_floats] = &self.reading;
        if packed { of_packed } else { of_floats }
    }

    /// How products of quantised weights keep their activations.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// The threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// The name, as `--activations` takes it.
impl fmt::Display for Activations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Exact => "exact",
            Self::Int8 => "int8",
        })
    }
}
