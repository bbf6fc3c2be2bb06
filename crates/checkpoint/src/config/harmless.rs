//! Keys that never change what a decoder computes from tokens to logits.
//!
//! A key is here only if that holds for *every* family; one that matters to a single family is left
//! to that family, which reads or ignores it.

use serde_json::Value;

/// Keys that are harmless wherever they stand.
const ANYWHERE: &[&str] = &[
    // Who wrote the file, with what. `model_type` alone decides the family.
    "architectures",
    "auto_map",
    "transformers_version",
    "_name_or_path",
    "name_or_path",
    "_commit_hash",
    "license",
    "unsloth_fixed",
    "unsloth_version",
    "is_llama_config",
    // How other programs load the files, and the tokenizer beside them.
    "transformers.js_config",
    "tokenizer_class",
    "model_max_length",
    "max_sequence_length",
    "seq_length",
    "prefix",
    "tf_legacy_loss",
    "use_return_dict",
    // A decoder is what all of them are.
    "is_decoder",
    // Which logits transformers computes of those that are asked for.
    "logits_to_keep",
    "num_logits_to_keep",
    // The type in which weights were saved or should be computed. Each tensor states its own type,
    // and arithmetic is float32 unless asked otherwise.
    "torch_dtype",
    "dtype",
    "use_bfloat16",
    // How transformers runs a model: caching, attention kernels, what it returns.
    "use_cache",
    "cache_implementation",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "use_flash_attn",
    "torchscript",
    "chunk_size_feed_forward",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "return_dict",
    "return_dict_in_generate",
    // The tensor-parallel degree of training; no longer read by transformers.
    "pretraining_tp",
    // Training: initial values, regularisation, losses, memory. (`*dropout*`: see below.)
    "initializer_range",
    "initializer_cutoff_factor",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "summary_first_dropout",
    "layerdrop",
    "gradient_checkpointing",
    "neftune_noise_alpha",
    "rescale_prenorm_residual",
    "router_jitter_noise",
    "input_jitter_noise",
    "z_loss_coefficient",
    "router_aux_loss_coef",
    "router_z_loss_coef",
    "aux_loss_alpha",
    "seq_aux",
    // Labels and losses of classifiers. The heads themselves are tensors that nothing reads, and
    // the loader reports those.
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "summary_activation",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "finetuning_task",
    "task_specific_params",
];

/// Defaults of transformers' `generate`, which older versions wrote into config.json. They choose
/// among logits and do not change them. Only at the root: inside other objects some of these words
/// (`top_k`) name parts of the model.
const AT_THE_ROOT: &[&str] = &[
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "output_scores",
    "exponential_decay_length_penalty",
    "remove_invalid_values",
    "suppress_tokens",
    "begin_suppress_tokens",
];

/// Numbers with which a key says nothing, in every family that has the key: no experts, or one that
/// every token goes through; no further layers; the whole head is rotated; products with one.
const NEUTRAL: &[(&str, &[f64])] = &[
    ("num_experts", &[0.0]),
    ("num_local_experts", &[0.0, 1.0]),
    ("n_routed_experts", &[0.0]),
    ("n_shared_experts", &[0.0]),
    ("num_shared_experts", &[0.0]),
    ("shared_expert_intermediate_size", &[0.0]),
    ("num_nextn_predict_layers", &[0.0]),
    ("mtp_num_hidden_layers", &[0.0]),
    ("num_kv_shared_layers", &[0.0]),
    ("hidden_size_per_layer_input", &[0.0]),
    ("first_k_dense_replace", &[0.0]),
    ("num_memory_tokens", &[0.0]),
    ("partial_rotary_factor", &[1.0]),
    ("rotary_pct", &[1.0]),
    ("logit_scale", &[1.0]),
    ("logits_scaling", &[1.0]),
    ("embedding_multiplier", &[1.0]),
    ("residual_multiplier", &[1.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
];

/// Whether `value` is one with which `key` says nothing.
pub(super) fn is_neutral(key: &str, value: &Value) -> bool {
    let numbers = NEUTRAL.iter().find(|(neutral, _)| *neutral == key).map(|(_, numbers)| *numbers);
    value.as_f64().is_some_and(|value| numbers.is_some_and(|numbers| numbers.contains(&value)))
}

/// Whether `key` of the object at `place` is known not to change inference.
pub(super) fn is_harmless(place: &[String], key: &str) -> bool {
    ANYWHERE.contains(&key)
        || (place.is_empty() && AT_THE_ROOT.contains(&key))
        // Which ids start, end or pad a text: [`crate::Checkpoint`] and the tokenizer read them.
        || key.ends_with("_token_id")
        // attention_dropout, hidden_dropout_prob, classifier_dropout, …: zero at inference.
        || key.contains("dropout")
}
