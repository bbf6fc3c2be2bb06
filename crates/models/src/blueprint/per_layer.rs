//! Embeddings per layer in a description.

use super::{At, Blueprint, Sizes};
use crate::ModelError;
use crate::dimensions::{LAYER, MODEL, PART, VOCABULARY};
use crate::parts::{Branch, PerLayer, PerLayerNetwork};
use crate::reading::Read;

impl Blueprint {
    /// Embeddings of `width` values for each layer; none if it is 0. `rows_key` is the size of their
    /// table.
    ///
    /// # Errors
    /// A table that is smaller than the vocabulary, too large a width.
    pub fn per_layer(
        &self,
        sizes: &Sizes,
        width: usize,
        rows_key: &str,
    ) -> Result<Option<PerLayer>, ModelError> {
        let rows = self.config.size_or(rows_key, 1 << 30, sizes.vocabulary)?;
        if width == 0 {
            return Ok(None);
        }
        let expected = format!("vocab_size is {}: each token needs a row", sizes.vocabulary);
        self.config.check(rows >= sizes.vocabulary, rows_key, rows, expected)?;
        let expected = "it must be below 2^20";
        self.config.check(width < 1 << 20, "hidden_size_per_layer_input", width, expected)?;
        let at = self.at(sizes.names.root());
        let all = LAYER.of(sizes.layers * width);
        let table = at.name("embed_tokens_per_layer.weight");
        Ok(Some(PerLayer {
            table: self.table(table, [VOCABULARY.of(rows), all]),
            projection: at.linear("per_layer_model_projection", all, MODEL.of(sizes.hidden), false),
            norm: at.norm_over("per_layer_projection_norm", sizes, [PART.of(width)]),
            layers: sizes.layers,
            width,
            hidden: sizes.hidden,
        }))
    }
}

impl At<'_> {
    /// `x + norm(projection(activation(gate(x)) · own embedding))`.
    pub fn per_layer_branch(&self, sizes: &Sizes, width: usize) -> Branch {
        let (model, part) = (MODEL.of(sizes.hidden), PART.of(width));
        let network = PerLayerNetwork {
            gate: self.linear("per_layer_input_gate", part, model, false),
            projection: self.linear("per_layer_projection", model, part, false),
            activation: sizes.activation,
            layer: self.n,
        };
        let post = Some(self.norm("post_per_layer_input_norm", sizes));
        Branch { pre: None, parts: vec![Box::new(network)], post, scale: None }
    }
}
