//! One step over `T` tokens, while its graph is built.

use crate::dimensions::{INDEX, PAGE, SEQUENCE, TOKEN};
use crate::kernels::{self, Addresses, StateAddresses, Weight};
use crate::parts::{Activation, Linear, Rope};
use crate::{BLOCK_LENGTH, Param, ParamEntry, State};
use stablemate_graph::{Builder, Direction, Scope, Value};
use std::cell::{Cell, OnceCell, RefCell};

/// Inputs, parameters and state of a step under construction, and what layers share.
pub struct Step<'b> {
    builder: &'b Builder<'b>,
    inputs: Inputs<'b>,
    /// `B`: blocks of paged state.
    blocks: usize,
    /// `[T, 2]` i32: block and slot that each token's paged state goes to.
    places: OnceCell<Value<'b>>,
    params: Vec<(Value<'b>, ParamEntry)>,
    states: RefCell<Vec<Value<'b>>>,
    rotations: RefCell<Vec<(Rope, (Value<'b>, Value<'b>))>>,
    side: Cell<Option<Value<'b>>>,
}

/// The arguments of a step that come before state and parameters, but for its rows.
pub(crate) struct Inputs<'b> {
    /// `[T]` i32.
    pub tokens: Value<'b>,
    pub addresses: Addresses<'b>,
    /// `[S]` i32, where the model keeps per-sequence state.
    pub slots: Option<Value<'b>>,
    /// `[T]` i32, where the model needs them.
    pub lengths: Option<Value<'b>>,
}

impl<'b> Step<'b> {
    pub(crate) fn new(
        builder: &'b Builder<'b>,
        inputs: Inputs<'b>,
        blocks: usize,
        states: Vec<Value<'b>>,
        params: Vec<(Value<'b>, ParamEntry)>,
    ) -> Self {
        Self {
            builder,
            inputs,
            blocks,
            places: OnceCell::new(),
            params,
            states: RefCell::new(states),
            rotations: RefCell::default(),
            side: Cell::new(None),
        }
    }

    /// The function that is built.
    pub fn builder(&self) -> &'b Builder<'b> {
        self.builder
    }

    /// `[T]` i32.
    pub fn tokens(&self) -> Value<'b> {
        self.inputs.tokens
    }

    /// Where the tokens are and what they may see.
    pub fn addresses(&self) -> Addresses<'b> {
        self.inputs.addresses
    }

    /// `[T]` i32: the row of the block table, and of [`Self::slots`], of each token.
    ///
    /// The tokens of one sequence stand together in a step, in order of consecutive positions; a
    /// padding token (position -1) names row 0, but belongs to no sequence.
    pub fn sequences(&self) -> Value<'b> {
        self.inputs.addresses.sequences
    }

    /// `[S]` i32: the state slot of each row of the block table, 0 for unused rows; all zeros where
    /// the model declares no per-sequence state. No two sequences of a step have the same slot.
    pub fn slots(&self) -> Value<'b> {
        self.inputs.slots.unwrap_or_else(|| {
            let sequences = self.inputs.addresses.block_tables.size(SEQUENCE);
            self.builder.integer(0).broadcast(&[SEQUENCE.of(sequences)])
        })
    }

    /// Where the tokens are and where the states of their sequences are.
    pub fn state_addresses(&self) -> StateAddresses<'b> {
        StateAddresses {
            positions: self.inputs.addresses.positions,
            sequences: self.sequences(),
            slots: self.slots(),
        }
    }

    /// Opens a scope of names.
    pub fn scope(&self, name: impl Into<String>) -> Scope<'b> {
        self.builder.scope(name)
    }

    /// Of each token, negative for padding: what kernels may leave out.
    pub fn live(&self) -> Value<'b> {
        self.inputs.addresses.positions
    }

    /// The value of a vector, which is held in f32.
    pub fn param(&self, param: Param) -> Value<'b> {
        self.params[param.0].0
    }

    /// A matrix, however it is stored.
    pub fn weight(&self, param: Param) -> Weight<'b> {
        let (value, entry) = &self.params[param.0];
        Weight::new(*value, entry)
    }

    /// `x [T, I] → [T, O]`, with the bias if there is one, added to the `residual [T, O]` if there is one.
    pub fn linear(&self, linear: Linear, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let weight = self.weight(linear.weight);
        match (linear.bias, residual) {
            (None, residual) => kernels::linear(x, self.live(), weight, residual),
            (Some(bias), residual) => {
                let product = kernels::linear(x, self.live(), weight, None) + self.param(bias);
                residual.map_or(product, |residual| residual + product)
            }
        }
    }

    /// Products of one `x [T, I]` with several weights, with their biases.
    pub fn linears(&self, linears: &[Linear], x: Value<'b>) -> Vec<Value<'b>> {
        let weights: Vec<Weight<'b>> =
            linears.iter().map(|linear| self.weight(linear.weight)).collect();
        let products = kernels::linears(x, self.live(), &weights).into_iter().zip(linears);
        let biased = products.map(|(product, linear)| match linear.bias {
            Some(bias) => product + self.param(bias),
            None => product,
        });
        biased.collect()
    }

    /// `activation(x · gate) · (x · up)`: `x [T, I] → [T, O]`.
    pub fn gated(
        &self,
        gate: Linear,
        up: Linear,
        activation: Activation,
        x: Value<'b>,
    ) -> Value<'b> {
        if gate.bias.is_some() || up.bias.is_some() {
            let products = self.linears(&[gate, up], x);
            let [gate, up] = products[..] else { return x };
            return activation.apply(gate.named("gate")) * up.named("up");
        }
        let weights = [self.weight(gate.weight), self.weight(up.weight)];
        kernels::gated(x, self.live(), weights, activation)
    }

    /// Index of the layout in which the checkpoint holds a parameter.
    pub fn layout(&self, param: Param) -> usize {
        self.params[param.0].1.layout_index()
    }

    /// What [`Decoder::side`](crate::Decoder::side) computed.
    pub fn side(&self) -> Option<Value<'b>> {
        self.side.get()
    }

    pub(crate) fn set_side(&self, side: Value<'b>) {
        self.side.set(Some(side));
    }

    /// Writes this step's keys or values `[T, K, W]` to a pool `[B, L, K, W]`.
    pub fn write(&self, state: State, update: Value<'b>) {
        let pool = kernels::write(self.state(state), self.places(), update);
        self.replace(state, pool);
    }

    /// A state's pool after all writes so far: `[N, dimensions…]` f32 for per-sequence state.
    ///
    /// A slot holds what its sequence left there, whatever that is: a token at position 0 starts
    /// from zeros. Slot 0 may be written, and its content means nothing.
    pub fn state(&self, state: State) -> Value<'b> {
        self.states.borrow()[state.0]
    }

    /// Takes `pool`, which a kernel returned, as the state that following parts see and that the
    /// step returns. A pool of another type than the state's argument is a mistake of the graph.
    pub fn replace(&self, state: State, pool: Value<'b>) {
        self.states.borrow_mut()[state.0] = pool;
    }

    /// `[T, 2]` i32: block and slot that each token's paged state is written to.
    pub(crate) fn places(&self) -> Value<'b> {
        *self.places.get_or_init(|| {
            let _scope = self.builder.shared_scope("slots");
            places(self.builder, self.inputs.addresses, self.blocks)
        })
    }

    /// The state after all writes so far, in order.
    pub(crate) fn states(&self) -> Vec<Value<'b>> {
        self.states.borrow().clone()
    }

    /// `x [T, …, H]` rotated to each token's position. Layers with equal ropes share the angles.
    pub fn rotate(&self, rope: &Rope, x: Value<'b>) -> Value<'b> {
        let known =
            self.rotations.borrow().iter().find(|(known, _)| known == rope).map(|(_, r)| *r);
        let (cosine, sine) = known.unwrap_or_else(|| {
            let _scope = self.builder.shared_scope("rotation");
            let rotation = rope.rotation(self.inputs.addresses.positions, self.inputs.lengths);
            self.rotations.borrow_mut().push((rope.clone(), rotation));
            rotation
        });
        rope.rotate(x, cosine, sine)
    }
}

/// `[T, 2]`: block and position in it of each token; block 0 for padding, whose position is -1.
fn places<'b>(builder: &'b Builder<'b>, addresses: Addresses<'b>, block_count: usize) -> Value<'b> {
    let Addresses { positions, sequences, block_tables } = addresses;
    let pages = block_tables.size(PAGE);
    let zero = builder.integer(0);
    let padding = positions.compare(Direction::Lt, zero).named("padding");
    let position = positions.maximum(zero);
    let entry = sequences * pages as f64 + position / BLOCK_LENGTH as f64;
    let blocks = block_tables.merge(&[SEQUENCE, PAGE], PAGE).take(PAGE, entry);
    let block = padding.select(zero.broadcast(&[TOKEN.of(positions.size(TOKEN))]), blocks);
    // StableHLO drops updates outside the pool; IREE writes them wherever they point.
    let last = builder.integer(block_count as i32 - 1);
    let block = block.maximum(zero).minimum(last);
    let length = builder.integer(BLOCK_LENGTH as i32);
    let offset = position.remainder(length);
    block.append(INDEX).concatenate(&[offset.append(INDEX)], INDEX).named("slots")
}
