//! Measuring, verifying and quantising from the command line.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use support::{checkpoint, fail, joined, json, stablemate, succeed};

#[test]
fn a_model_is_measured() {
    let (_folder, path, case) = checkpoint("llama_plain");
    let bench = ["bench", &path, "-p", "8", "-n", "4", "-b", "1,2", "-r", "1"];
    let report = json(stablemate(&bench).args(["--output", "json", "--threads", "1"]));
    assert_eq!((&report["model"], &report["threads"]), (&json!(path), &json!(1)));
    let arithmetic = report["arithmetic"].as_str().unwrap();
    assert!(arithmetic.starts_with("native ") && arithmetic.contains("cache f16"), "{arithmetic}");
    let values: usize =
        case.expected.tensors.iter().map(|t| t.shape.iter().product::<usize>()).sum();
    assert_eq!(report["weight_bytes"], 4 * values);
    let positive = |value: &Value, key: &str| {
        let number = value[key].as_f64().unwrap_or_else(|| panic!("no {key} in {value}"));
        assert!(number > 0.0, "{key} is {number}");
        number
    };
    assert!(positive(&report, "peak_resident_bytes") > (4 * values) as f64);
    positive(&report, "load_seconds");
    for program in report["programs"].as_array().unwrap() {
        assert!(program["cached"].is_boolean(), "{program}");
        positive(program, "step_tokens");
        positive(program, "seconds");
    }
    let rows = report["measurements"].as_array().unwrap();
    let tests: Vec<&str> = rows.iter().map(|row| row["test"].as_str().unwrap()).collect();
    assert_eq!(tests, ["prefill 8", "decode 4 x 1 at 0", "decode 4 x 2 at 0"]);
    for row in rows {
        assert_eq!(row["repetitions"], 1);
        let rate = positive(row, "tokens_per_second");
        assert_eq!((positive(row, "slowest"), positive(row, "fastest")), (rate, rate));
    }
    positive(&rows[0], "time_to_first_token_seconds");
    for (row, sequences) in [(&rows[1], 1.0), (&rows[2], 2.0)] {
        let bytes = positive(row, "bytes_per_token") * sequences;
        assert!(bytes <= (4 * values) as f64 * 1.1, "{row}");
        let read = positive(row, "read_bytes_per_second");
        let share = read / positive(row, "machine_bytes_per_second");
        assert!((share / positive(row, "bandwidth_share") - 1.0).abs() < 1e-6, "{row}");
        let steps = positive(row, "tokens_per_second") / sequences;
        assert!((steps * bytes / read - 1.0).abs() < 1e-6, "{row}");
    }
    let table = succeed(&mut stablemate(&bench));
    let line = table.lines().find(|line| line.starts_with("decode 4 x 2 at 0")).unwrap();
    assert!(table.contains("tokens/s") && line.ends_with('%'), "{table}");
    let markdown = succeed(stablemate(&bench).args(["-o", "markdown"]));
    assert!(markdown.contains("| prefill 8 | "), "{markdown}");
}

#[test]
fn measurements_on_request() {
    let (_folder, path, _) = checkpoint("llama_plain");
    let arguments = ["bench", &path, "--session", "-p", "16", "-n", "8", "-b", "2"];
    let mut command = stablemate(&arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let requests = [
        r#"{"kind": "prefill", "tokens": 16}"#,
        r#"{"kind": "decode", "tokens": 3, "sequences": 2, "depth": 4}"#,
        r#"{"kind": "memory"}"#,
        "what?",
        r#"{"kind": "decode", "tokens": 3, "depht": 4}"#,
        r#"{"kind": "train"}"#,
        // More than there is room for.
        r#"{"kind": "decode", "tokens": 1, "sequences": 3}"#,
        r#"{"kind": "prefill", "tokens": 17}"#,
        r#"{"kind": "decode", "tokens": 18446744073709551615, "depth": 1}"#,
        r#"{"kind": "decode", "tokens": 1, "sequences": 0}"#,
        // And on it goes.
        r#"{"kind": "decode", "tokens": 2}"#,
        // What this reads is larger than all else here.
        r#"{"kind": "bandwidth"}"#,
        r#"{"kind": "memory"}"#,
    ];
    let mut input = child.stdin.take().unwrap();
    input.write_all((requests.join("\n") + "\n").as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 1 + requests.len(), "{text}");
    assert_eq!(answers[0]["ready"], true);
    for (answer, tokens) in [(&answers[1], 16), (&answers[2], 6), (&answers[11], 2)] {
        assert_eq!(answer["tokens"], tokens, "{answer}");
        assert!(answer["tokens_per_second"].as_f64().unwrap() > 0.0, "{answer}");
    }
    assert!(answers[3]["resident_bytes"].as_u64().unwrap() > 0, "{text}");
    for (n, part) in [(4, "what?"), (5, "depht"), (6, "train"), (7, "3 sequences"), (8, "17")] {
        let message = answers[n]["error"].as_str().unwrap_or_else(|| panic!("{}", answers[n]));
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert!(answers[9]["error"].is_string() && answers[10]["error"].is_string(), "{text}");
    assert!(answers[12]["bytes_per_second"].as_f64().unwrap() > 1e8, "{text}");
    let peak = |answer: &Value| answer["peak_resident_bytes"].as_u64().unwrap();
    assert!(peak(&answers[3]) <= peak(&answers[13]) && peak(&answers[13]) < 250 << 20, "{text}");
}

#[test]
fn native_kernels_are_verified() {
    let (_folder, path, case) = checkpoint("llama_plain");
    let text = succeed(&mut stablemate(&["verify", &path, "-n", "8"]));
    assert_eq!(text.lines().filter(|line| line.contains("8 of 8 greedy tokens equal")).count(), 2);
    let ids = joined(&case.expected.prompt_ids);
    let verify = ["verify", &path, "--prompt-ids", &ids, "-n", "8", "--json"];
    let report = json(&mut stablemate(&verify));
    assert_eq!((&report["exact"], &report["lossy"]), (&json!(true), &json!(false)));
    let comparison = &report["comparisons"][0];
    assert_eq!(comparison["prompt_ids"], json!(case.expected.prompt_ids));
    assert_eq!(comparison["token_ids"], json!(case.expected.token_ids[..8]));
    assert_eq!(comparison["equal_tokens"], 8);
    assert_eq!(json(stablemate(&verify).args(["--activations", "int8"]))["lossy"], true);
    let message = fail(&mut stablemate(&["verify", &path, "--prompt", "some text"]));
    assert!(message.contains("no tokenizer"), "{message}");
}

#[test]
fn a_quantised_copy_is_written_and_runs() {
    let (folder, path, case) = checkpoint("gemma3_text");
    let out = folder.path().join("quantised").display().to_string();
    let quantize = ["quantize", &path, "-o", &out, "--bits", "8", "--group-size", "32"];
    let text = succeed(&mut stablemate(&quantize));
    assert!(text.contains("matrices quantised") && text.contains("bits per weight"), "{text}");
    let config = std::fs::read_to_string(folder.path().join("quantised/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["quantization"], json!({"group_size": 32, "bits": 8, "mode": "affine"}));
    let report = json(&mut stablemate(&["inspect", &out, "--json"]));
    assert_eq!(report["unused_tensors"], json!([]));
    let original = json(&mut stablemate(&["inspect", &path, "--json"]));
    let bytes = |report: &Value| report["memory"]["weights_bytes"].as_u64().unwrap();
    assert!(bytes(&report) < bytes(&original) * 3 / 4, "{report}");

    // Eight bits leave the first tokens as they are, written beforehand or made while loading.
    let ids = joined(&case.expected.prompt_ids);
    let run = |path: &str| {
        let arguments = ["run", path, "--prompt-ids", &ids, "-n", "8", "--ignore-eos", "--json"];
        stablemate(&arguments)
    };
    let tokens = json(&mut run(&out))["token_ids"].clone();
    assert_eq!(tokens[0], case.expected.token_ids[0]);
    let at_load = json(run(&path).args(["--quantize", "8", "--group-size", "32"]));
    assert_eq!(at_load["token_ids"], tokens);

    // Native kernels on tensors of which some have groups and some have not.
    for (bits, group) in [("8", "32"), ("4", "64")] {
        let verify = ["verify", &path, "--quantize", bits, "--group-size", group, "-n", "8"];
        let text = succeed(&mut stablemate(&verify));
        assert_eq!(text.matches("8 of 8 greedy tokens equal").count(), 2, "{text}");
    }

    let message = fail(&mut stablemate(&quantize));
    assert!(message.contains(&out) && message.contains("empty"), "{message}");
    let again = folder.path().join("again").display().to_string();
    let message = fail(&mut stablemate(&["quantize", &out, "-o", &again]));
    assert!(message.contains("quantised already"), "{message}");
    let message = fail(&mut stablemate(&["quantize", &path, "-o", &again, "--bits", "7"]));
    assert!(message.contains("7 bits") && message.contains("2, 3, 4, 5, 6 and 8"), "{message}");
    assert!(!folder.path().join("again").exists());
}

#[test]
fn choices_that_do_not_exist_are_refused_with_those_that_do() {
    let (_folder, path, _) = checkpoint("llama_plain");
    for (option, choices) in [
        ("--isa", "portable, avx2, avx512"),
        ("--backend", "native, portable"),
        ("--activations", "exact, int8"),
        ("--kv-dtype", "f32, f16, q8"),
    ] {
        let message =
            fail(&mut stablemate(&["run", &path, "--prompt-ids", "1", option, "nonsense"]));
        assert!(message.contains("nonsense") && message.contains(choices), "{message}");
    }
    let run = ["run", &path, "--prompt-ids", "1", "-n", "1"];
    let message = fail(stablemate(&run).args(["--quantize", "7"]));
    assert!(message.contains("7 bits") && message.contains("2, 3, 4, 5, 6 and 8"), "{message}");
    let message = fail(stablemate(&run).args(["--backend", "portable", "--activations", "int8"]));
    assert!(message.contains("native kernels"), "{message}");
}
