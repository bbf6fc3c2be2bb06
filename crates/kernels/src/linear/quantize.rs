//! Activations as the inner product reads them: as integers, in groups as long as the weights', or as they are.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::{LANES, UNIT};

use super::form::Form;
use super::micro::{BYTES, SPLIT};
use super::scratch::{Lines, Shared};
use super::tiles::depth;
use super::tokens::{Block, Tokens};
use crate::amx::{self, Planes};
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::simd::{Operation, Simd, dispatch};

/// Rows times columns from which quantising is worth a parallel region.
const PARALLEL: usize = 1 << 15;

/// Below, a group's largest value counts as 0: its reciprocal would not be finite.
const SMALLEST: f32 = 1e-30;

/// Activations in a form, kept from one call to the next for their memory.
#[derive(Default)]
pub(super) struct Quantized {
    words: Lines,
    starts: Vec<i32>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    words_per_token: usize,
    groups: usize,
}

/// Where the inner product finds a block of tokens.
pub(super) struct View {
    pub words: *const i32,
    pub starts: *const i32,
    pub scales: *const f32,
    pub sums: *const f32,
}

fn grow<T: Clone + Default>(values: &mut Vec<T>, count: usize) {
    if values.len() < count {
        values.resize(count, T::default());
    }
}

impl Quantized {
    /// Quantises rows of `x`, which has `columns`, a multiple of the group.
    pub(super) fn fill(
        &mut self,
        kernels: &Kernels,
        form: Form,
        x: &[f32],
        columns: usize,
        tokens: &Tokens,
    ) {
        let units = columns.div_ceil(UNIT);
        self.words_per_token = units * form.unit_words(kernels.isa() == Isa::Amx);
        self.groups = columns / form.group;
        let padded = tokens.padded();
        grow(&mut self.starts, padded * (self.groups + 1));
        grow(&mut self.scales, padded * self.groups);
        grow(&mut self.sums, padded * self.groups);
        let filler = Filler {
            isa: kernels.isa(),
            form,
            x,
            columns,
            words: Shared::new(self.words.integers(padded * self.words_per_token)),
            starts: Shared::new(&mut self.starts),
            scales: Shared::new(&mut self.scales),
            sums: Shared::new(&mut self.sums),
            words_per_token: self.words_per_token,
            groups: self.groups,
        };
        let (blocks, distinct) = (tokens.blocks(), tokens.distinct());
        let fill = |n: usize| filler.block(tokens, &blocks[distinct[n]]);
        if padded * columns < PARALLEL {
            (0..distinct.len()).for_each(fill);
        } else {
            kernels.pool().run(distinct.len(), &fill);
        }
    }

    /// Bytes of the words of so many tokens.
    pub(super) fn block_bytes(&self, tokens: usize) -> usize {
        4 * tokens * self.words_per_token
    }

    pub(super) fn view(&self, block: &Block) -> View {
        let at = block.padded_before;
        View {
            words: self.words.start().wrapping_add(at * self.words_per_token).cast(),
            starts: self.starts[at * (self.groups + 1)..].as_ptr(),
            scales: self.scales[at * self.groups..].as_ptr(),
            sums: self.sums[at * self.groups..].as_ptr(),
        }
    }
}

/// Quantises blocks of tokens, in parallel.
struct Filler<'a> {
    isa: Isa,
    form: Form,
    x: &'a [f32],
    columns: usize,
    words: Shared<i32>,
    starts: Shared<i32>,
    scales: Shared<f32>,
    sums: Shared<f32>,
    words_per_token: usize,
    groups: usize,
}

impl Filler<'_> {
    fn block(&self, tokens: &Tokens, block: &Block) {
        let (at, width) = (block.padded_before, block.width);
        // SAFETY: blocks are disjoint, and `fill` has made room for all.
        let (words, starts, scales, sums) = unsafe {
            (
                self.words.part(at * self.words_per_token, width * self.words_per_token),
                self.starts.part(at * (self.groups + 1), width * (self.groups + 1)),
                self.scales.part(at * self.groups, width * self.groups),
                self.sums.part(at * self.groups, width * self.groups),
            )
        };
        let live = tokens.inputs(std::slice::from_ref(block));
        if self.form.floats() {
            for n in 0..width {
                let token = live.get(n);
                let x = token.map_or(&[][..], |token| &self.x[token * self.columns..]);
                spread_floats(&x[..x.len().min(self.columns)], &mut words[n..], width);
            }
            return;
        }
        let mut row = Row::new(self.columns, self.groups);
        for n in 0..width {
            match live.get(n) {
                Some(token) => {
                    let x = &self.x[*token * self.columns..][..self.columns];
                    row.quantize(self.isa, self.form, x);
                }
                None => row.clear(),
            }
            if block.strips && self.isa == Isa::Amx {
                self.spread_tiles(&row.integers, words, width, n);
            } else if self.form.words(width) == SPLIT {
                self.split_row(&row.integers, &mut words[n..], width);
            } else {
                self.spread_row(&row.integers, &mut words[n..], width);
            }
            for (group, (scale, sum)) in row.scales.iter().zip(&row.sums).enumerate() {
                starts[group * width + n] = -self.form.centre * sum;
                scales[group * width + n] = *scale;
                sums[group * width + n] = scale * *sum as f32;
            }
            starts[self.groups * width + n] = 0;
        }
    }

    /// Writes a row's words, `width` apart.
    fn spread_row(&self, row: &[i16], words: &mut [i32], width: usize) {
        let pair = |low: i16, high: i16| i32::from(low) & 0xFFFF | i32::from(high) << 16;
        if self.form.words(width) != BYTES {
            let (pairs, _) = row.as_chunks();
            if width == 1 {
                for ([low, high], word) in pairs.iter().zip(words) {
                    *word = pair(*low, *high);
                }
            } else {
                for ([low, high], word) in pairs.iter().zip(words.iter_mut().step_by(width)) {
                    *word = pair(*low, *high);
                }
            }
            return;
        };
        let mut words = words.iter_mut().step_by(width);
        for unit in row.as_chunks::<UNIT>().0 {
            for (quad, word) in (0..UNIT / 4).zip(&mut words) {
                let bytes = self.form.quad(quad).map(|place| unit[place] as i8 as u8);
                *word = i32::from_le_bytes(bytes);
            }
        }
    }

    /// Writes the lower and the upper bytes of a row's quads, `width` apart.
    fn split_row(&self, row: &[i16], words: &mut [i32], width: usize) {
        let mut words = words.iter_mut().step_by(width);
        let quads: [[usize; 4]; UNIT / 4] = std::array::from_fn(|quad| self.form.quad(quad));
        for unit in row.as_chunks::<UNIT>().0 {
            for quad in &quads {
                let values = quad.map(|place| unit[place]);
                let parts =
                    [values.map(|value| value as u8), values.map(|value| (value >> 8) as u8)];
                for (bytes, word) in parts.into_iter().zip(&mut words) {
                    *word = i32::from_le_bytes(bytes);
                }
            }
        }
    }

    /// Writes a row's planes, as token `n` of tiles: `[steps, planes, width, depth]`.
    fn spread_tiles(&self, row: &[i16], words: &mut [i32], width: usize, n: usize) {
        let planes = self.form.planes;
        let depth = depth(planes, self.form.group);
        // Of 16 bytes.
        let (places, _) = words.as_chunks_mut::<4>();
        let place = |at: usize, plane: usize| {
            let line = (at / depth * planes.count() + plane) * width + n;
            (line * depth + at % depth) / 16
        };
        if planes == Planes::Floats {
            for (sixteen, values) in row.as_chunks().0.iter().enumerate() {
                // SAFETY: tiles are available, and with them this.
                let parts = unsafe { amx::split(values) };
                for (plane, part) in parts.iter().enumerate() {
                    let at = place(32 * sixteen, plane);
                    places[at] = part[0];
                    places[at + 1] = part[1];
                }
            }
            return;
        }
        let order = self.order();
        for (unit, values) in row.as_chunks().0.iter().enumerate() {
            // SAFETY: as above.
            let ordered = unsafe { amx::permute(values, &order) };
            for (piece, value) in ordered[..2 * planes.count()].iter().enumerate() {
                places[place(UNIT * unit + piece % 2 * 16, piece / 2)] = *value;
            }
        }
    }

    /// Which bytes of a unit of i16 the planes' bytes are: those of the first plane, then those of the second one.
    fn order(&self) -> [u8; 2 * UNIT] {
        let upper = (self.form.planes.count() - 1) as u8;
        let mut order = [0; 2 * UNIT];
        for quad in 0..UNIT / 4 {
            for (byte, place) in self.form.quad(quad).into_iter().enumerate() {
                order[4 * quad + byte] = 2 * place as u8 + upper;
                order[UNIT + 4 * quad + byte] = 2 * place as u8;
            }
        }
        order
    }
}

/// Writes the bits of a row, `width` apart, and zeros behind it.
fn spread_floats(row: &[f32], words: &mut [i32], width: usize) {
    let bits = row.iter().map(|value| value.to_bits() as i32).chain(std::iter::repeat(0));
    for (word, bits) in words.iter_mut().step_by(width).zip(bits) {
        *word = bits;
    }
}

/// One quantised row.
struct Row {
    /// Filled up with zeros to whole units.
    integers: Vec<i16>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Row {
    fn new(columns: usize, groups: usize) -> Self {
        let integers = vec![0; columns.next_multiple_of(UNIT)];
        Self { integers, scales: vec![0.0; groups], sums: vec![0; groups] }
    }

    fn clear(&mut self) {
        self.integers.fill(0);
        self.scales.fill(0.0);
        self.sums.fill(0);
    }

    fn quantize(&mut self, isa: Isa, form: Form, x: &[f32]) {
        let operation = QuantizeRow {
            x,
            group: form.group,
            limit: form.limit,
            row: &mut self.integers,
            scales: &mut self.scales,
            sums: &mut self.sums,
        };
        // SAFETY: it is available; there is room for all columns and their groups.
        unsafe { dispatch(isa, operation) };
    }
}

/// Quantises one row: `x[i] ≈ scale · row[i]`, a scale per group; and the sums of the integers. A group with a value that
/// is not finite has the scale NaN, and the integers 0.
///
/// # Safety
/// `group` is a multiple of sixteen and divides the row; `row` is at least as long as x.
struct QuantizeRow<'a> {
    x: &'a [f32],
    group: usize,
    limit: i32,
    row: &'a mut [i16],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Operation for QuantizeRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let limit = self.limit as f32;
        for group in 0..self.x.len() / self.group {
            let x = self.x.as_ptr().add(group * self.group);
            let row = self.row.as_mut_ptr().add(group * self.group);
            let mut largest = S::zero();
            // Not finite: 0 · ∞ and 0 · NaN are NaN.
            let mut check = S::zero();
            for at in (0..self.group).step_by(LANES) {
                let x = S::load(x.add(at));
                largest = S::maximum(largest, S::absolute(x));
                check = S::multiply_add(x, S::zero(), check);
            }
            let mut largest = S::largest(largest);
            let mut scale = largest / limit;
            if S::sum(check).is_nan() {
                (largest, scale) = (0.0, f32::NAN);
            } else if largest < SMALLEST {
                (largest, scale) = (0.0, 0.0);
            }
            let factor = S::splat(if largest > 0.0 { limit / largest } else { 0.0 });
            let finite = largest > 0.0;
            let mut sum = S::splat_integer(0);
            for at in (0..self.group).step_by(LANES) {
                let x = if finite { S::load(x.add(at)) } else { S::zero() };
                let integers = S::to_integers(S::multiply(x, factor));
                sum = S::add_integers(sum, integers);
                S::store_i16(integers, row.add(at));
            }
            let mut lanes = [0; LANES];
            S::store_integers(sum, lanes.as_mut_ptr());
            *self.sums.as_mut_ptr().add(group) = lanes.iter().sum();
            *self.scales.as_mut_ptr().add(group) = scale;
        }
    }
}
