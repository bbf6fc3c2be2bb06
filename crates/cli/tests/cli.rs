//! The command line, as a person or a script uses it.

mod support;

use serde_json::Value;
use stablemate_fixtures::Case;
use std::path::Path;
use support::{checkpoint, fail, joined, json, output, smollm2, stablemate, succeed};

#[test]
fn token_ids_in_and_out_without_a_tokenizer() {
    let (_folder, path, case) = checkpoint("qwen3");
    let ids = joined(&case.expected.prompt_ids);
    let run = ["run", &path, "--prompt-ids", &ids, "--max-tokens", "32", "--ignore-eos", "--json"];
    let report = json(&mut stablemate(&run));
    assert_eq!(report["prompt_ids"], serde_json::json!(case.expected.prompt_ids));
    assert_eq!(report["token_ids"], serde_json::json!(case.expected.token_ids));
    assert_eq!(report["text"], Value::Null);
    assert_eq!(report["finish_reason"], "length");
    assert!(report["timings"]["first_token_seconds"].as_f64().unwrap() > 0.0);

    let report =
        json(&mut stablemate(&["logits", &path, "--prompt-ids", &ids, "--kv-dtype", "f32"]));
    let logits = report["logits"].as_array().unwrap();
    assert_eq!(logits.len(), case.expected.prompt_logits.len());
    for (found, expected) in logits.iter().zip(&case.expected.prompt_logits) {
        let difference = (found.as_f64().unwrap() - f64::from(*expected)).abs();
        assert!(difference <= case.expected.tolerance, "{found} {expected}");
    }
    let message = fail(&mut stablemate(&["run", &path, "some text"]));
    assert!(message.contains("no tokenizer") && message.contains("token ids"), "{message}");
}

#[test]
fn end_of_sequence_tokens_end_it_unless_ignored() {
    let (folder, path, case) = checkpoint("llama_plain");
    let ids = joined(&case.expected.prompt_ids);
    // The fifth token is declared to end the sequence, in the file that most checkpoints have for it.
    let end = case.expected.token_ids[4];
    let first = case.expected.token_ids.iter().position(|id| *id == end).unwrap() + 1;
    std::fs::write(
        folder.path().join("generation_config.json"),
        format!("{{\"eos_token_id\": [{end}]}}"),
    )
    .unwrap();
    let run = ["run", &path, "--prompt-ids", &ids, "--max-tokens", "32", "--json"];
    let report = json(&mut stablemate(&run));
    assert_eq!(report["finish_reason"], "stop");
    assert_eq!(report["token_ids"], serde_json::json!(case.expected.token_ids[..first]));
    // What else that file asks for is not passed over in silence.
    let text = r#"{"repetition_penalty": 1.05, "no_repeat_ngram_size": 0, "temperature": 0.6}"#;
    std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
    let errors = output(&mut stablemate(&run)).stderr;
    let errors = String::from_utf8(errors).unwrap();
    assert!(errors.contains("repetition_penalty = 1.05") && !errors.contains("ngram"), "{errors}");
    let report = json(stablemate(&run).arg("--ignore-eos"));
    assert_eq!(report["token_ids"], serde_json::json!(case.expected.token_ids));
}

#[test]
fn seeds_repeat_and_sampling_differs_from_greedy() {
    let (_folder, path, case) = checkpoint("llama_plain");
    let ids = joined(&case.expected.prompt_ids);
    let sample = |seed: &str| {
        let run = ["run", &path, "--prompt-ids", &ids, "-n", "20", "--ignore-eos", "--json"];
        let sampling =
            ["--temperature", "1.5", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01"];
        json(stablemate(&run).args(sampling).args(["--seed", seed]))["token_ids"].clone()
    };
    assert_eq!(sample("1"), sample("1"));
    assert_ne!(sample("1"), sample("2"));
}

#[test]
fn a_real_model_answers() {
    let model = smollm2();
    let raw = ["run", &model, "The capital of France is", "--raw", "-n", "12"];
    assert_eq!(succeed(&mut stablemate(&raw)), " Paris.\n\nThe answer is: 201\n");
    let report = json(stablemate(&raw).args(["--json", "--stop", "answer"]));
    assert_eq!(report["text"], " Paris.\n\nThe ");
    assert_eq!(report["finish_reason"], "stop");
    let ids = succeed(&mut stablemate(&["tokenize", &model, "The capital of France is"]));
    assert_eq!(ids, "[504,3575,282,4649,314]\n");

    let question = "What is the capital of France?";
    let answer = succeed(&mut stablemate(&["run", &model, question, "-n", "40"]));
    assert!(answer.contains("Paris"), "{answer}");
    // The same through a pipe, as a conversation.
    let mut chat = stablemate(&["chat", &model, "-n", "40"]);
    let piped = std::process::Stdio::piped;
    let mut child = chat.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    let input = format!("{question}\n/clear\n{question}\n");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), answer.repeat(2));
}

#[test]
fn compiled_models_run_without_a_compiler() {
    let (_folder, path, case) = checkpoint("llama_one_token");
    let ids = joined(&case.expected.prompt_ids);
    let run = ["run", &path, "--prompt-ids", &ids, "--max-tokens", "4", "--ignore-eos", "--json"];
    let first = json(&mut stablemate(&run))["token_ids"].clone();
    let nothing = tempfile::tempdir().unwrap();
    let without = json(stablemate(&run).env("STABLEMATE_DATA", nothing.path()));
    assert_eq!(without["token_ids"], first);
    let (data, cache) = (nothing.path().join("data"), nothing.path().join("cache"));
    let message =
        fail(stablemate(&run).env("STABLEMATE_DATA", &data).env("STABLEMATE_CACHE", &cache));
    assert!(message.contains("stablemate setup"), "{message}");
    let doctor = output(stablemate(&["doctor"]).env("STABLEMATE_DATA", &data));
    assert!(!doctor.status.success());
    let found = String::from_utf8(doctor.stdout).unwrap();
    assert!(found.contains("MISSING") && found.contains("stablemate setup"), "{found}");
    assert!(succeed(&mut stablemate(&["doctor"])).contains("all files as installed"));
}

#[test]
fn a_damaged_cache_entry_is_compiled_again() {
    let (_folder, path, case) = checkpoint("llama_one_token");
    let ids = joined(&case.expected.prompt_ids);
    let cache = tempfile::tempdir().unwrap();
    let run = ["run", &path, "--prompt-ids", &ids, "--max-tokens", "4", "--ignore-eos", "--json"];
    let tokens =
        || json(stablemate(&run).env("STABLEMATE_CACHE", cache.path()))["token_ids"].clone();
    let first = tokens();
    let mut damaged = 0;
    for entry in std::fs::read_dir(cache.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "vmfb") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xFF;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    assert_eq!(tokens(), first);
}

#[test]
fn the_text_can_be_named_and_sized() {
    let case = Case::open("llama_plain");
    let path = case.directory.display().to_string();
    let text = succeed(&mut stablemate(&["emit", &path]));
    for present in
        ["func.func public @prefill(", "func.func public @decode(", "%tokens: tensor<128xi32>"]
    {
        assert!(text.contains(present), "{present}");
    }
    let small = ["emit", &path, "--entry", "decode_argmax", "--sequences", "3", "--context", "32"];
    let text = succeed(&mut stablemate(&small));
    assert!(text.contains("@decode_argmax(") && !text.contains("@prefill("), "{text}");
    assert!(text.contains("%block_tables: tensor<3x2xi32>"), "{text}");
    assert!(text.contains("-> (tensor<3xi32>"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("step.mlir").display().to_string();
    assert_eq!(succeed(stablemate(&small).args(["-o", &file])), "");
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
    let message = fail(&mut stablemate(&["emit", &path, "--entry", "train"]));
    assert!(message.contains("prefill_argmax"), "{message}");
}

#[test]
fn a_model_can_be_compiled_for_others() {
    let case = Case::open("llama_plain");
    let path = case.directory.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let compile = ["compile", &path, "-o", &out, "--target", "vmvx", "--entry", "decode"];
    succeed(stablemate(&compile).args(["--context", "32"]));
    let read = |name: &str| std::fs::read(Path::new(&out).join(name)).unwrap();
    assert!(!read("module.vmfb").is_empty());
    assert!(read("module.mlir").starts_with(b"module @llama {"));
    let manifest: Value = serde_json::from_slice(&read("module.json")).unwrap();
    assert_eq!(manifest["entries"][0]["name"], "decode");
    let arguments = manifest["entries"][0]["arguments"].as_array().unwrap();
    assert_eq!(arguments[0]["name"], "tokens");
    let cache = arguments.iter().find(|a| a["name"] == "cache.0.keys").unwrap();
    assert_eq!(cache["overwritten_by_result"], 1);
    let message = fail(&mut stablemate(&["compile", &path, "-o", &out, "--target", "abacus"]));
    assert!(message.contains("abacus"), "{message}");
}

#[test]
fn a_model_is_described() {
    let text = succeed(&mut stablemate(&["inspect", &smollm2()]));
    for present in ["llama: vocabulary 49152", "layer 29:", "Q4_1", "per token", "head: tied"] {
        assert!(text.contains(present), "{present} in\n{text}");
    }
    let report = json(&mut stablemate(&["inspect", &smollm2(), "--json"]));
    assert_eq!(report["context"], 8192);
    assert_eq!(report["unused_tensors"], serde_json::json!([]));
    assert_eq!(report["memory"]["cache_bytes_per_token"], 2 * 30 * 3 * 64 * 2);
}

/// Arguments, and what the message must contain.
#[test]
fn mistakes_are_explained() {
    let (folder, path, _) = checkpoint("llama_plain");
    let long = joined(&vec![1; 600]);
    let refuse = |arguments: &[&str], parts: &[&str]| {
        let message = fail(&mut stablemate(arguments));
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: {part:?} is not in {message:?}");
        }
    };
    let ids = ["run", &path, "--prompt-ids"];
    let with = |rest: &[&'static str]| [&ids[..], rest].concat();
    refuse(&[&ids[..], &[&long]].concat(), &["600", "512"]);
    refuse(&[&with(&["1,2,3"])[..], &["--ctx-size", "2"]].concat(), &["3 tokens", "holds 2"]);
    refuse(&with(&["1,203"]), &["203", "position 1", "vocabulary"]);
    refuse(&with(&["1,x"]), &["x"]);
    refuse(&with(&["1", "--temperature=-1"]), &["temperature", "-1"]);
    refuse(&with(&["1", "--top-p", "0"]), &["top_p", "0"]);
    refuse(&with(&["1", "--min-p", "2"]), &["min_p", "2"]);
    refuse(&with(&["1", "--threads", "0"]), &["threads", "1 or more"]);
    refuse(&with(&["1", "--stop", "x"]), &["no tokenizer"]);
    refuse(&["run", &path], &["PROMPT"]);
    refuse(&["run", "./no/such/model", "hello"], &["./no/such/model", "hub id"]);
    refuse(&["run", "model", "hello"], &["\"model\"", "organisation/name"]);
    let described = Case::open("llama_plain").directory.display().to_string();
    refuse(&["run", &described, "--prompt-ids", "1"], &["no weights"]);
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("{", "{\"residual_multiplier\": 0.5,", 1)).unwrap();
    refuse(&with(&["1"]), &["config.json", "residual_multiplier", "0.5"]);
    std::fs::write(&config, text.replace("\"llama\"", "\"rwkv\"")).unwrap();
    refuse(&with(&["1"]), &["rwkv", "recurrence"]);
}

#[test]
fn the_hub_is_asked_as_its_variables_say() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().display().to_string();
    let run = ["run", "organisation/name", "--prompt-ids", "1"];
    let message = fail(stablemate(&run).env("HF_HOME", &home).env("HF_HUB_OFFLINE", "1"));
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    let message =
        fail(stablemate(&run).env("HF_HOME", &home).env("HF_ENDPOINT", "http://127.0.0.1:9"));
    assert!(message.contains("http://127.0.0.1:9"), "{message}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let path = Case::open("llama_plain").directory.display().to_string();
    let mut command = stablemate(&["emit", &path]);
    let piped = std::process::Stdio::piped;
    let mut child = command.stdout(piped()).stderr(piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}
