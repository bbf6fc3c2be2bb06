//! The notebook in which a family writes its description: a configuration and the tables it fills.

mod attention;
mod experts;
mod latent;
mod mamba2;
mod networks;
mod per_layer;
mod recurrent;
mod shared_keys;
mod style;

pub use attention::{AttentionBias, AttentionDraft};
pub use experts::{EXPERT_NAMES, ExpertSizes};
pub use latent::LatentSizes;
pub use mamba2::{MambaSizes, no_step_limits};
pub use recurrent::DeltaSizes;
pub use shared_keys::SharedKeys;
pub(crate) use style::divides;
pub use style::{Features, Names, Sizes, Style};

use crate::dimensions::{MODEL, VOCABULARY};
use crate::parts::{
    Activation, Block, Branch, Layer, Linear, Norm, NormKind, Part, Rope, RopeReading,
};
use crate::reading::{Read, SIZE_LIMIT};
use crate::source::{Layout, Piece, Root, Rows};
use crate::{
    Decoder, Embedding, ModelError, Need, Param, ParamTable, State, StateEntry, StateKind,
};
use stablemate_checkpoint::RawConfig;
use stablemate_graph::Dimension;
use std::cell::RefCell;

/// A configuration together with the parameters, the state and the needs declared so far.
pub struct Blueprint {
    /// The text model's configuration.
    pub config: RawConfig,
    /// Whether the head is the embedding's table, where a wrapper's configuration decides.
    tied: Option<bool>,
    tables: RefCell<Tables>,
}

#[derive(Default)]
struct Tables {
    params: ParamTable,
    states: Vec<StateEntry>,
    /// Some part needs the length of each token's sequence.
    needs_lengths: bool,
    /// All rotations, for the longest sequence that they are made for.
    ropes: Vec<Rope>,
    roots: Vec<Root>,
    ignored: Vec<String>,
}

/// A place among the tensors' names: `model.layers.3.self_attn`.
#[derive(Clone)]
pub struct At<'m> {
    /// Where everything is declared.
    pub blueprint: &'m Blueprint,
    /// The place, without a dot at its end.
    pub path: String,
    /// The number of the layer.
    pub n: usize,
}

impl Blueprint {
    /// An empty blueprint of `config`.
    pub fn new(config: RawConfig) -> Self {
        Self { config, tied: None, tables: RefCell::default() }
    }

    /// The same for a text model in a wrapper, which decides whether the head is the embedding's table.
    pub fn wrapped(config: RawConfig, tied: bool) -> Self {
        config.ignore(&["tie_word_embeddings"]);
        Self { tied: Some(tied), ..Self::new(config) }
    }

    /// Sizes under the names of `style`.
    ///
    /// # Errors
    /// As [`Sizes::read`].
    pub fn sizes(&self, style: &Style) -> Result<Sizes, ModelError> {
        let sizes = Sizes::read(&self.config, style)?;
        Ok(Sizes { tied: self.tied.unwrap_or(sizes.tied), ..sizes })
    }

    /// Sizes of a model without attention and networks.
    ///
    /// # Errors
    /// Missing keys, zeros and too large sizes.
    pub fn without_attention(&self, names: Names, epsilon: f64) -> Result<Sizes, ModelError> {
        Ok(Sizes {
            hidden: self.config.size("hidden_size", SIZE_LIMIT)?,
            layers: self.config.size("num_hidden_layers", 1 << 10)?,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            features: 1,
            vocabulary: self.config.size("vocab_size", SIZE_LIMIT)?,
            norm: NormKind::Rms,
            norm_bias: false,
            epsilon,
            activation: Activation::Silu,
            positions: None,
            tied: self.config.flag("tie_word_embeddings", false)?,
            head_bias: false,
            names,
        })
    }

    /// The rotation of all layers.
    ///
    /// # Errors
    /// As [`Rope::read`].
    pub fn rope(&self, reading: RopeReading) -> Result<Rope, ModelError> {
        Rope::read(&self.config, reading)
    }

    /// Says where checkpoints keep the names; the description is spelled for the first root.
    pub fn roots(&self, roots: Vec<Root>) {
        self.tables.borrow_mut().roots = roots;
    }

    /// Leaves tensors out on purpose: patterns with `*`, spelled as the checkpoint does.
    pub fn ignore_tensors(&self, patterns: &[&str]) {
        let patterns = patterns.iter().map(ToString::to_string);
        self.tables.borrow_mut().ignored.extend(patterns);
    }

    /// Leaves out the tensors of `count` layers behind the model's own, which guess further tokens.
    pub fn ignore_further_layers(&self, sizes: &Sizes, count: usize) {
        for n in sizes.layers..sizes.layers.saturating_add(count.min(64)) {
            self.ignore_tensors(&[&format!("*layers.{n}.*")]);
        }
    }

    /// A place.
    pub fn at(&self, path: impl Into<String>) -> At<'_> {
        At { blueprint: self, path: path.into(), n: 0 }
    }

    /// Declares the tensor `name`.
    pub fn param(&self, name: impl Into<String>, dimensions: impl Into<Vec<Dimension>>) -> Param {
        self.layouts(name, dimensions, Vec::new())
    }

    /// Declares a parameter that checkpoints hold in one of these layouts.
    pub fn layouts(
        &self,
        name: impl Into<String>,
        dimensions: impl Into<Vec<Dimension>>,
        layouts: Vec<Layout>,
    ) -> Param {
        let params = &mut self.tables.borrow_mut().params;
        params.declare(name.into(), dimensions.into(), layouts, false)
    }

    /// Declares a stack of matrices, of which a token needs `choices`, that checkpoints hold in one of these layouts.
    pub fn stack(
        &self,
        name: impl Into<String>,
        dimensions: [Dimension; 3],
        layouts: Vec<Layout>,
        choices: usize,
    ) -> Param {
        let stack = self.layouts(name, dimensions, layouts);
        self.tables.borrow_mut().params.needs(stack, Need::Choices(choices));
        stack
    }

    /// Declares a table, of which a token needs a row.
    pub fn table(&self, name: impl Into<String>, dimensions: [Dimension; 2]) -> Param {
        let table = self.param(name, dimensions);
        self.tables.borrow_mut().params.needs(table, Need::Row);
        table
    }

    /// Declares a parameter that is used element by element, in f32.
    pub fn values(
        &self,
        name: impl Into<String>,
        dimensions: impl Into<Vec<Dimension>>,
        layouts: Vec<Layout>,
    ) -> Param {
        let params = &mut self.tables.borrow_mut().params;
        params.declare(name.into(), dimensions.into(), layouts, true)
    }

    /// Declares a paged state tensor: a pool `[B, L, heads, width]`.
    pub fn state(&self, name: String, heads: Dimension, width: Dimension) -> State {
        self.keep(StateEntry::paged(name, heads, width))
    }

    /// Declares per-sequence state: a pool `[N, dimensions…]` f32, a slot of which belongs to each
    /// sequence. A kernel reads and writes it; at position 0 it starts from zeros.
    pub fn sequence_state(&self, name: String, dimensions: Vec<Dimension>) -> State {
        self.keep(StateEntry { name, kind: StateKind::PerSequence(dimensions) })
    }

    /// Makes the rows of a paged state `by` elements wider.
    pub fn widen(&self, state: State, by: usize) {
        let entry = &mut self.tables.borrow_mut().states[state.0];
        if let StateKind::Paged { width, .. } = &mut entry.kind {
            width.size += by;
        }
    }

    fn keep(&self, entry: StateEntry) -> State {
        let states = &mut self.tables.borrow_mut().states;
        states.push(entry);
        State(states.len() - 1)
    }

    /// Notes that a part rotates by `rope`.
    pub fn uses_rope(&self, rope: &Rope) {
        let tables = &mut *self.tables.borrow_mut();
        tables.needs_lengths |= rope.depends_on_length();
        if !tables.ropes.contains(rope) {
            tables.ropes.push(rope.clone());
        }
    }

    /// The decoder of layers that `describe` describes one by one.
    ///
    /// # Errors
    /// Those of `describe`; a configuration without `model_type`.
    pub fn decoder<B: Block + 'static>(
        &self,
        sizes: &Sizes,
        mut describe: impl FnMut(&At<'_>) -> Result<B, ModelError>,
    ) -> Result<Decoder, ModelError> {
        let mut layers: Vec<Box<dyn Block>> = Vec::with_capacity(sizes.layers);
        for n in 0..sizes.layers {
            let path = format!("{}.{n}", sizes.names.layers);
            layers.push(Box::new(describe(&At { blueprint: self, path, n })?));
        }
        let Names { embedding, norm, head, .. } = sizes.names;
        let shape = [VOCABULARY.of(sizes.vocabulary), MODEL.of(sizes.hidden)];
        let table = self.table(format!("{embedding}.weight"), shape);
        let norm = self.at("").norm(norm, sizes);
        let bias = format!("{head}.bias");
        let head_bias = sizes
            .head_bias
            .then(|| self.values(bias, [VOCABULARY.of(sizes.vocabulary)], Vec::new()));
        let head = match sizes.tied {
            true => table,
            false => self.param(format!("{head}.weight"), shape),
        };
        let Tables { mut params, states, needs_lengths, ropes, roots, ignored } =
            self.tables.take();
        params.set_roots(roots, ignored);
        if head == table {
            params.needs(head, Need::Whole);
        }
        let stretched = |n| ropes.iter().map(|rope| rope.context(n)).max().unwrap_or(n);
        Ok(Decoder {
            model_type: self.config.model_type()?,
            vocabulary: sizes.vocabulary,
            hidden: sizes.hidden,
            context: sizes.positions.map(stretched),
            embedding: Embedding::new(table),
            layers,
            norm,
            head,
            head_bias,
            side: None,
            logit_scale: None,
            logit_softcap: None,
            params,
            states,
            needs_lengths,
            recomputed_beyond: None,
        })
    }
}

impl<'m> At<'m> {
    /// A place below this one.
    pub fn at(&self, name: &str) -> Self {
        Self { path: self.name(name), ..self.clone() }
    }

    /// `path.name`.
    pub fn name(&self, name: &str) -> String {
        match self.path.is_empty() {
            true => name.to_string(),
            false => format!("{}.{name}", self.path),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &'m RawConfig {
        &self.blueprint.config
    }

    /// Declares `name.weight [out, in]` and, if there is one, `name.bias [out]`.
    pub fn linear(&self, name: &str, out: Dimension, input: Dimension, bias: bool) -> Linear {
        let name = self.name(name);
        let weight = self.blueprint.param(format!("{name}.weight"), [out, input]);
        let values = || self.blueprint.values(format!("{name}.bias"), [out], Vec::new());
        Linear { weight, bias: bias.then(values) }
    }

    /// Declares the rows `rows` of `tensor.weight [all, in]` as a weight of its own, and those of
    /// `tensor.bias [all]` as its bias: a projection that checkpoints fuse with others.
    pub fn rows_of(
        &self,
        tensor: &str,
        part: &str,
        [out, input]: [Dimension; 2],
        (all, rows): (usize, Rows),
        bias: bool,
    ) -> Linear {
        let stored = |kind: &str, shape: Vec<usize>| {
            vec![Piece::whole(self.name(&format!("{tensor}.{kind}")), shape).only(rows).into()]
        };
        let name = |kind: &str| self.name(&format!("{tensor}.{part}.{kind}"));
        let weight = stored("weight", vec![all, input.size]);
        let values = || self.blueprint.values(name("bias"), [out], stored("bias", vec![all]));
        Linear {
            weight: self.blueprint.layouts(name("weight"), [out, input], weight),
            bias: bias.then(values),
        }
    }

    /// Declares `name.weight [D]`, and `name.bias [D]` where the family's norms have biases.
    pub fn norm(&self, name: &str, sizes: &Sizes) -> Norm {
        self.norm_over(name, sizes, [MODEL.of(sizes.hidden)])
    }

    /// Declares a norm of the family's kind with parameters of these dimensions.
    pub fn norm_over(
        &self,
        name: &str,
        sizes: &Sizes,
        dimensions: impl Into<Vec<Dimension>>,
    ) -> Norm {
        let (name, dimensions) = (self.name(name), dimensions.into());
        let declare = |part: &str| {
            self.blueprint.values(format!("{name}.{part}"), dimensions.clone(), Vec::new())
        };
        Norm {
            kind: sizes.norm,
            weight: Some(declare("weight")),
            bias: sizes.norm_bias.then(|| declare("bias")),
            epsilon: sizes.epsilon,
        }
    }

    /// A branch of parts behind the norm `pre`.
    pub fn branch(&self, pre: &str, sizes: &Sizes, parts: Vec<Box<dyn Part>>) -> Branch {
        Branch { pre: Some(self.norm(pre, sizes)), parts, post: None, scale: None }
    }

    /// `x + mixer(norm(x))`, then `x + network(norm(x))`, under Llama's names.
    pub fn pre_norm(
        &self,
        sizes: &Sizes,
        mixer: impl Into<Box<dyn Part>>,
        network: impl Into<Box<dyn Part>>,
    ) -> Layer {
        self.pre_norm_sum(sizes, mixer, vec![network.into()])
    }

    /// [`pre_norm`](Self::pre_norm) with several networks under one norm, whose outputs are added.
    pub fn pre_norm_sum(
        &self,
        sizes: &Sizes,
        mixer: impl Into<Box<dyn Part>>,
        networks: Vec<Box<dyn Part>>,
    ) -> Layer {
        Layer::Sequential(vec![
            self.branch("input_layernorm", sizes, vec![mixer.into()]),
            self.branch("post_attention_layernorm", sizes, networks),
        ])
    }

    /// `x + mixer(norm(x)) + network(norm(x))` with one norm for both, `input_layernorm`.
    pub fn parallel(
        &self,
        sizes: &Sizes,
        mixer: impl Into<Box<dyn Part>>,
        network: impl Into<Box<dyn Part>>,
    ) -> Layer {
        let parts = vec![mixer.into(), network.into()];
        Layer::Sequential(vec![self.branch("input_layernorm", sizes, parts)])
    }

    /// `x + norm(mixer(norm(x)))`, then `x + norm(network(norm(x)))`, under Gemma's names.
    pub fn sandwich(
        &self,
        sizes: &Sizes,
        mixer: impl Into<Box<dyn Part>>,
        network: impl Into<Box<dyn Part>>,
    ) -> Layer {
        let before = ["input_layernorm", "pre_feedforward_layernorm"];
        let after = ["post_attention_layernorm", "post_feedforward_layernorm"];
        self.sandwich_named(sizes, before, after, mixer, network)
    }

    /// A [`sandwich`](Self::sandwich) with these names of the norms before and after both parts.
    pub fn sandwich_named(
        &self,
        sizes: &Sizes,
        before: [&str; 2],
        after: [&str; 2],
        mixer: impl Into<Box<dyn Part>>,
        network: impl Into<Box<dyn Part>>,
    ) -> Layer {
        let branch = |n: usize, part: Box<dyn Part>| Branch {
            post: Some(self.norm(after[n], sizes)),
            ..self.branch(before[n], sizes, vec![part])
        };
        Layer::Sequential(vec![branch(0, mixer.into()), branch(1, network.into())])
    }

    /// `x + norm(mixer(x))`, then `x + norm(network(x))`, under OLMo 2's names.
    pub fn post_norm(
        &self,
        sizes: &Sizes,
        mixer: impl Into<Box<dyn Part>>,
        network: impl Into<Box<dyn Part>>,
    ) -> Layer {
        let branch = |part: Box<dyn Part>, post: &str| Branch {
            pre: None,
            parts: vec![part],
            post: Some(self.norm(post, sizes)),
            scale: None,
        };
        Layer::Sequential(vec![
            branch(mixer.into(), "post_attention_layernorm"),
            branch(network.into(), "post_feedforward_layernorm"),
        ])
    }
}
