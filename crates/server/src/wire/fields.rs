//! The parameters that every generating request has, as fields of its struct.

/// Writes a request: a struct of the fields given and of those that every generating request has, and
/// `fn controls(&self) -> Controls`. (`serde(flatten)` would lose the paths in errors and the check for
/// unknown fields.)
macro_rules! generation_request {
    ($(#[$attribute:meta])* pub struct $name:ident {
        $($(#[$field_attribute:meta])* pub $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_attribute])* pub $field: $type,)*
            /// Logits are divided by this; 0 chooses the most probable token. 1 unless the model says otherwise.
            #[schema(minimum = 0)]
            pub temperature: Option<f64>,
            /// Keep the fewest most probable tokens whose probabilities reach this sum.
            #[schema(exclusive_minimum = 0, maximum = 1)]
            pub top_p: Option<f64>,
            /// Keep the `k` most probable tokens; 0 and -1 keep all.
            #[schema(minimum = -1)]
            pub top_k: Option<i64>,
            /// Keep tokens at least this fraction as probable as the most probable.
            #[schema(minimum = 0, maximum = 1)]
            pub min_p: Option<f64>,
            /// Locally typical sampling: keep the tokens of the most expected surprise until their probabilities reach this sum.
            #[schema(exclusive_minimum = 0, maximum = 1)]
            pub typical_p: Option<f64>,
            /// Chance that the top choices are excluded (XTC).
            #[schema(minimum = 0, maximum = 1)]
            pub xtc_probability: Option<f64>,
            /// Of the tokens at least this probable, only the least probable stays (XTC).
            #[schema(minimum = 0, maximum = 1)]
            pub xtc_threshold: Option<f64>,
            /// Strength of the penalty against repeated sequences (DRY); 0 is none.
            #[schema(minimum = 0)]
            pub dry_multiplier: Option<f64>,
            /// Growth of that penalty with the length of the repetition.
            #[schema(minimum = 1)]
            pub dry_base: Option<f64>,
            /// The longest repetition without a penalty.
            #[schema(minimum = 0, format = "uint64")]
            pub dry_allowed_length: Option<u64>,
            /// Tokens that are searched for repetitions; -1 is all, 0 none.
            #[schema(minimum = -1)]
            pub dry_penalty_last_n: Option<i64>,
            /// A token that contains one of these ends a repetition.
            pub dry_sequence_breakers: Option<Vec<String>>,
            /// Divides positive logits of tokens that occurred, multiplies negative ones; 1 changes nothing.
            #[serde(alias = "repeat_penalty")]
            #[schema(exclusive_minimum = 0)]
            pub repetition_penalty: Option<f64>,
            /// Subtracted from a token's logit as often as the answer holds it.
            #[schema(minimum = -2, maximum = 2)]
            pub frequency_penalty: Option<f64>,
            /// Subtracted from a token's logit if the answer holds it.
            #[schema(minimum = -2, maximum = 2)]
            pub presence_penalty: Option<f64>,
            /// Added to logits: `{"token id": number from -100 to 100}`.
            pub logit_bias: Option<crate::wire::LogitBias>,
            /// The same seed gives the same answer.
            pub seed: Option<i64>,
            /// The most tokens of the answer: an upper bound, beyond which the context is one, too. -1 is as many as fit.
            #[serde(alias = "n_predict")]
            #[schema(value_type = Option<i64>, minimum = -1)]
            pub max_tokens: Option<crate::wire::TokenLimit>,
            /// Tokens that are made before the answer may end: until then neither end tokens nor `stop` end it. Refused
            /// beside a form of the answer, which decides itself where it ends.
            #[schema(minimum = 0)]
            pub min_tokens: Option<u64>,
            /// The answer ends before one of these.
            pub stop: Option<crate::wire::OneOrMany>,
            /// The answer ends with one of these tokens.
            pub stop_token_ids: Option<Vec<u32>>,
            /// Go on after the model's end token.
            pub ignore_eos: Option<bool>,
            /// So many answers.
            #[schema(minimum = 1, maximum = 128)]
            pub n: Option<u64>,
        }

        impl $name {
            /// The fields that every generating request has.
            pub fn controls(&self) -> $crate::wire::Controls {
                $crate::wire::Controls {
                    temperature: self.temperature,
                    top_p: self.top_p,
                    top_k: self.top_k,
                    min_p: self.min_p,
                    typical_p: self.typical_p,
                    xtc_probability: self.xtc_probability,
                    xtc_threshold: self.xtc_threshold,
                    dry_multiplier: self.dry_multiplier,
                    dry_base: self.dry_base,
                    dry_allowed_length: self.dry_allowed_length,
                    dry_penalty_last_n: self.dry_penalty_last_n,
                    dry_sequence_breakers: self.dry_sequence_breakers.clone(),
                    repetition_penalty: self.repetition_penalty,
                    frequency_penalty: self.frequency_penalty,
                    presence_penalty: self.presence_penalty,
                    logit_bias: self.logit_bias.clone(),
                    seed: self.seed,
                    max_tokens: self.max_tokens,
                    min_tokens: self.min_tokens,
                    stop: self.stop.clone(),
                    stop_token_ids: self.stop_token_ids.clone(),
                    ignore_eos: self.ignore_eos,
                    n: self.n,
                }
            }
        }
    };
}
pub(crate) use generation_request;
