//! A real model: SmolLM2-135M-Instruct, Q4_1, against transformers on the dequantised weights.

mod support;

use serde_json::Value;
use stablemate::{CacheElement, GenerateOptions, Isa, LoadOptions, Message, Model, Prompt};
use std::path::Path;
use support::{close, options, smollm2};

fn expected() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/smollm2/expected.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn tokens_text_and_logits_equal_the_reference() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for cache in [CacheElement::F32, options().cache] {
            equal_the_reference(&LoadOptions { isa: Some(isa), cache, ..options() });
        }
    }
}

fn equal_the_reference(options: &LoadOptions) {
    let expected = expected();
    let tolerance = expected["tolerance"].as_f64().unwrap();
    let mut model = Model::load(smollm2(), options).unwrap();
    let generate = GenerateOptions { max_tokens: Some(48), ignore_end: true, ..Default::default() };
    for case in expected["prompts"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let prompt = match case["messages"].as_array() {
            Some(messages) => Prompt::Chat(
                messages
                    .iter()
                    .map(|m| {
                        Message::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap())
                    })
                    .collect(),
            ),
            None => Prompt::from(case["prompt"].as_str().unwrap()),
        };
        let prompt_ids = model.encode(prompt).unwrap();
        assert_eq!(prompt_ids, ids(&case["prompt_ids"]), "{name}: prompt ids");
        if (options.isa, options.cache) == (Some(Isa::Portable), CacheElement::F16)
            && prompt_ids.len() > 100
        {
            // What runs anywhere takes seconds for it; with the other cache it has.
            continue;
        }
        if options.cache == CacheElement::F32 {
            // Keys and values rounded to 11 bits move logits, by less than candidates lie apart.
            let logits = model.logits(prompt_ids.as_slice()).unwrap();
            close(&logits[..32], &floats(&case["prompt_logits_32"]), tolerance).unwrap();
        }
        let completion = model.generate(prompt_ids.as_slice(), &generate).unwrap();
        let pieces: Vec<_> = completion.map(Result::unwrap).collect();
        let tokens: Vec<u32> = pieces.iter().filter_map(|piece| piece.token).collect();
        assert_eq!(tokens, ids(&case["token_ids"]), "{name}: tokens");
        // The reference text shows special tokens, the stream leaves them out.
        let text: String = pieces.into_iter().map(|piece| piece.text).collect();
        let mut reference = case["text"].as_str().unwrap().to_string();
        for special in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
            reference = reference.replace(special, "");
        }
        assert_eq!(text, reference, "{name}: text");
    }
}

#[test]
fn the_end_of_a_turn_ends_the_answer_and_stop_strings_cut_it() {
    let mut model = Model::load(smollm2(), &options()).unwrap();
    assert!(model.end_ids().contains(&2), "<|im_end|>");
    let message = vec![Message::new("user", "What is the capital of France? Answer in one word.")];
    let generate = GenerateOptions { max_tokens: Some(200), ..Default::default() };
    let mut completion = model.generate(message.clone(), &generate).unwrap();
    let pieces: Vec<_> = completion.by_ref().map(Result::unwrap).collect();
    assert_eq!(completion.finish_reason().map(|r| r.name()), Some("stop"));
    let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert!(text.contains("Paris"), "{text:?}");
    assert!(!text.contains("im_end"), "{text:?}");
    drop(completion);

    let generate = GenerateOptions { stop: vec!["aris".to_string()], ..generate };
    let completion = model.generate(message, &generate).unwrap();
    let cut: String = completion.map(|piece| piece.unwrap().text).collect();
    assert_eq!(Some((cut.as_str(), "aris")), text.find("aris").map(|n| (&text[..n], "aris")));
}
