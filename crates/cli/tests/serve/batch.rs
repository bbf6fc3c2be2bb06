//! Answers do not depend on who else is there, nor on how often a sequence lost its memory.

use crate::answers::expected;
use crate::server::{Server, command};
use crate::support::fail;
use serde_json::{Value, json};

/// Everything that is promised to stay the same of an answer.
fn ask(server: &Server, (path, body): &(&str, Value)) -> Value {
    let answer = server.client.post(path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json()["choices"].clone()
}

fn completion(prompt: &Value, more: Value) -> (&'static str, Value) {
    let mut body = json!({"prompt": prompt, "max_tokens": 80, "ignore_eos": true, "logprobs": 2});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ("/v1/completions", body)
}

/// Eight requests of many kinds.
fn requests() -> Vec<(&'static str, Value)> {
    let prompts: Vec<Value> = expected().iter().map(|case| case["prompt_ids"].clone()).collect();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["name", "legs"],
        "properties": {"name": {"type": "string", "maxLength": 12}, "legs": {"type": "integer", "maximum": 8}},
    });
    let form = json!({"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": true}});
    let animal = json!({
        "messages": [{"role": "user", "content": "Describe a cat as JSON."}], "seed": 3,
        "temperature": 0.9, "max_tokens": 60, "response_format": form,
    });
    vec![
        completion(&prompts[0], json!({"temperature": 0})),
        completion(&prompts[1], json!({"temperature": 0, "echo": true})),
        completion(&prompts[2], json!({"temperature": 0.9, "seed": 11})),
        completion(&prompts[0], json!({"temperature": 0.9, "seed": 12, "top_p": 0.8})),
        completion(
            &json!("My favourite animals are"),
            json!({"temperature": 0.9, "seed": 13, "frequency_penalty": 0.7, "presence_penalty": 0.4}),
        ),
        completion(
            &json!("The sea was calm. The sea was"),
            json!({"temperature": 0, "repetition_penalty": 1.3, "n": 2}),
        ),
        completion(
            &json!("A recipe for bread: first,"),
            json!({"temperature": 1.1, "seed": 14, "min_p": 0.05, "top_k": 40, "dry_multiplier": 0.8}),
        ),
        ("/v1/chat/completions", animal),
    ]
}

fn noise() -> Vec<(&'static str, Value)> {
    let request = |n: u64| {
        let prompt = "all work and no play ".repeat(1 + n as usize);
        completion(&json!(prompt), json!({"temperature": 1.2, "max_tokens": 30 + 7 * n, "seed": n}))
    };
    (0..8).map(request).collect()
}

#[test]
fn answers_are_the_same_alone_and_in_a_crowd_that_lacks_memory() {
    // Room for a few blocks more than one sequence needs, by the server's own words.
    let sizes = ["--ctx-size", "256", "--parallel", "4", "--memory"];
    let message = fail(command(&sizes).arg("16M"));
    assert!(message.contains("16 MiB of memory are too little"), "{message}");
    let (_, needed) = message.rsplit_once("256 tokens ").unwrap();
    let needed: usize = needed.split(' ').next().unwrap().parse().unwrap();
    let server = Server::start(&[&sizes[..], &[&format!("{needed}M")]].concat());
    let blocks = server.client.metric("kv_cache_blocks");
    assert!((16.0..=24.0).contains(&blocks), "{blocks}");

    let requests = requests();
    let alone: Vec<Value> = requests.iter().map(|request| ask(&server, request)).collect();
    let animal = alone[7][0]["message"]["content"].as_str().unwrap();
    let animal: Value = serde_json::from_str(animal).unwrap_or_else(|_| panic!("{animal}"));
    assert!(animal["name"].is_string() && animal["legs"].as_i64().unwrap() <= 8, "{animal}");
    assert_eq!(server.client.metric("num_preemptions_total"), 0.0);

    let together: Vec<Value> = std::thread::scope(|scope| {
        let server = &server;
        let noise = noise();
        let others: Vec<_> =
            noise.into_iter().map(|request| scope.spawn(move || ask(server, &request))).collect();
        let ours: Vec<_> =
            requests.iter().map(|request| scope.spawn(|| ask(server, request))).collect();
        let answers = ours.into_iter().map(|thread| thread.join().unwrap()).collect();
        others.into_iter().for_each(|thread| drop(thread.join().unwrap()));
        answers
    });
    let preemptions = server.client.metric("num_preemptions_total");
    assert!(preemptions > 0.0, "nobody had to leave");
    println!("{blocks} blocks, {preemptions} preemptions");
    for ((request, alone), together) in requests.iter().zip(&alone).zip(&together) {
        assert_eq!(alone, together, "{request:?}");
    }
    assert_eq!(server.client.metric("kv_cache_blocks_owned"), 0.0);
    assert_eq!(server.client.metric("num_requests_running"), 0.0);

    let long = json!({"prompt": "word ".repeat(300), "max_tokens": 1});
    let message = server.client.post("/v1/completions", &long).error(400);
    assert!(message.contains("30") && message.contains("256"), "{message}");
}
