//! Every load against a server whose pace and faults are known.

mod server;

use std::sync::Mutex;
use std::time::Duration;

use server::{Behaviour, FakeServer};
use stablemate_load::{
    Dialect, Lengths, LoadError, Prefix, Progress, Soak, Steady, Sweep, Target, TokenIds, prefix,
    soak, steady, sweep,
};

fn quiet(_: Progress<'_>) {}

fn small_sweep() -> Sweep {
    Sweep {
        concurrencies: vec![1, 4],
        requests_per_client: 3,
        warm_up: 2,
        prompt: Lengths { lowest: 2, highest: 40 },
        output: Lengths::exactly(10),
        ..Sweep::default()
    }
}

#[test]
fn a_sweep_measures_what_the_server_does() {
    let server =
        FakeServer::start(Behaviour { token: Duration::from_millis(5), ..Behaviour::default() });
    let steps = Mutex::new(Vec::new());
    let observer = |progress: Progress<'_>| steps.lock().unwrap().push(progress.done);
    let report = sweep(&Target::new(&server.url), &small_sweep(), &observer).unwrap();

    assert_eq!(report.model, "fake");
    assert_eq!(steps.into_inner().unwrap().len(), 3 + 12);
    let [one, four] = &report.levels[..] else { panic!("{report:?}") };
    assert_eq!((one.requests, one.completed, four.requests, four.completed), (3, 3, 12, 12));
    assert_eq!((one.output_tokens, four.output_tokens), (30, 120));
    assert_eq!((one.short_answers, one.without_usage), (0, 0));
    for level in [one, four] {
        // Sleeping takes at least as long as asked; how much longer is the machine's affair.
        assert!(level.inter_token_latency.p50 >= 0.005, "{level:?}");
        assert!(level.inter_token_latency.p50 < 0.05, "{level:?}");
        assert_eq!(level.inter_token_latency.count, level.completed * 9);
        assert!(level.time_to_first_token.p50 >= 0.005);
        assert!(level.request_seconds.p50 >= 0.05);
    }
    assert!(one.output_tokens_per_second <= 200.0, "{one:?}");
    assert!(four.output_tokens_per_second > 1.5 * one.output_tokens_per_second, "{report:?}");
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["levels"][1]["output_tokens"], 120);
    assert_eq!(report.table().lines().count(), 3);
    assert!(report.markdown().starts_with("| clients | output tokens/s |"));
}

#[test]
fn the_same_seed_asks_the_same() {
    let ask = |seed| {
        let server = FakeServer::start(Behaviour::default());
        let load = Sweep { seed, prefix: 5, ..small_sweep() };
        sweep(&Target::new(&server.url), &load, &quiet).unwrap();
        let mut bodies = server.bodies();
        bodies.sort_by_key(|body| body.to_string());
        bodies
    };
    let first = ask(7);
    assert_eq!(first, ask(7));
    assert_ne!(first, ask(8));
    let prefix = |body: &serde_json::Value| body["prompt"].as_array().unwrap()[..5].to_vec();
    assert!(first.iter().all(|body| prefix(body) == prefix(&first[0])));
    let prompts: std::collections::HashSet<String> =
        first.iter().map(|body| body["prompt"].to_string()).collect();
    assert_eq!(prompts.len(), 2 + 3 + 2 + 12, "no prompt comes twice");
}

#[test]
fn fields_that_others_refuse_can_be_left_out() {
    for (dialect, present) in [(Dialect::Extended, true), (Dialect::Compatible, false)] {
        let server = FakeServer::start(Behaviour { plain: true, ..Behaviour::default() });
        let target = Target { dialect, ..Target::new(format!("{}/", server.url)) };
        let report = sweep(&target, &small_sweep(), &quiet).unwrap();
        assert!(server.bodies().iter().all(|body| body.get("ignore_eos").is_some() == present));
        assert_eq!(report.levels[0].without_usage, 3);
        assert_eq!(report.levels[0].output_tokens, 30);
    }
}

#[test]
fn failures_are_counted_and_shown() {
    let server = FakeServer::start(Behaviour { fails_every: Some(5), ..Behaviour::default() });
    let report = sweep(&Target::new(&server.url), &small_sweep(), &quiet).unwrap();
    let failed: usize = report.levels.iter().map(|level| level.failures["500"]).sum();
    assert_eq!(failed, 3, "{report:?}");
    assert!(report.table().contains("status 500: on purpose"), "{}", report.table());

    let server = FakeServer::start(Behaviour { cuts_streams: true, ..Behaviour::default() });
    let error = sweep(&Target::new(&server.url), &small_sweep(), &quiet).unwrap_err();
    assert!(
        matches!(&error, LoadError::NothingMeasured { first, .. } if first.contains("[DONE]")),
        "{error}"
    );
}

#[test]
fn nobody_at_home_and_senseless_loads() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target::new(format!("http://{nobody}"));
    let error = sweep(&target, &small_sweep(), &quiet).unwrap_err();
    assert!(matches!(error, LoadError::Unreachable { .. }), "{error}");
    for load in [
        Sweep { concurrencies: vec![1, 0], ..small_sweep() },
        Sweep { concurrencies: vec![], ..small_sweep() },
        Sweep { requests_per_client: 0, ..small_sweep() },
        Sweep { prompt: Lengths { lowest: 2, highest: 1 }, ..small_sweep() },
        Sweep { token_ids: TokenIds { lowest: 3, highest: 3 }, ..small_sweep() },
    ] {
        let error = sweep(&target, &load, &quiet).unwrap_err();
        assert!(matches!(error, LoadError::Parameter { .. }), "{error}");
    }
}

#[test]
fn a_server_that_stops_for_prompts_is_found_out() {
    let measure = |prompts_stop_streams| {
        let server = FakeServer::start(Behaviour {
            token: Duration::from_millis(4),
            prompt_token: Duration::from_micros(400),
            prompts_stop_streams,
            ..Behaviour::default()
        });
        let load = Steady {
            streams: 3,
            prompt: Lengths::exactly(4),
            output: 40,
            newcomer_prompt: Lengths::exactly(100),
            ..Steady::default()
        };
        steady(&Target::new(&server.url), &load, &quiet).unwrap()
    };
    let fair = measure(false);
    assert!(fair.newcomers >= 2, "{fair:?}");
    assert!(fair.unloaded.count > 50 && fair.loaded.count > 50, "{fair:?}");
    let stopping = measure(true);
    assert!(stopping.ratio_of_p95 > 2.0, "{stopping:?}");
    assert!(stopping.ratio_of_p95 > 1.5 * fair.ratio_of_p95, "{fair:?} {stopping:?}");
    assert!(stopping.table().contains("p95 beside newcomers / p95 alone"));
}

#[test]
fn a_prefix_cache_shows() {
    let measure = |prefix_cache| {
        let server = FakeServer::start(Behaviour {
            prompt_token: Duration::from_micros(200),
            prefix_cache,
            ..Behaviour::default()
        });
        let load = Prefix { prefix: 160, suffix: 4, pairs: 3, ..Prefix::default() };
        prefix(&Target::new(&server.url), &load, &quiet).unwrap()
    };
    let with = measure(true);
    assert!(with.ratio < 0.5, "{with:?}");
    assert_eq!(with.pairs.len(), 3);
    for pair in &with.pairs {
        assert_eq!((pair.first_cached, pair.second_cached), (Some(0), Some(160)));
    }
    assert!(measure(false).ratio > 0.5);
}

fn small_soak() -> Soak {
    Soak {
        requests: 120,
        concurrency: 8,
        prompt: Lengths { lowest: 1, highest: 30 },
        output: Lengths { lowest: 1, highest: 12 },
        longest_stay: Duration::from_millis(10),
        samples: 30,
        settle: Duration::from_millis(500),
        process: Some(std::process::id()),
        ..Soak::default()
    }
}

fn soak_of(behaviour: Behaviour) -> stablemate_load::SoakReport {
    let behaviour = Behaviour { token: Duration::from_millis(1), ..behaviour };
    let server = FakeServer::start(behaviour);
    soak(&Target::new(&server.url), &small_soak(), &quiet).unwrap()
}

#[test]
fn a_sound_server_survives_a_soak() {
    let report = soak_of(Behaviour::default());
    assert_eq!(report.faults(), [""; 0]);
    assert_eq!(report.unseen(), [""; 0]);
    assert_eq!(report.completed + report.left, 120);
    assert!(report.left > 10 && report.completed > 40, "{report:?}");
    assert_eq!((report.compared, report.differences.len()), (30, 0));
    assert_eq!(report.after.unwrap().blocks, Some(1000.0));
    assert!(report.memory.is_some());
    assert!(report.table().ends_with("- no faults\n"));
}

#[test]
fn leaks_and_unsteady_answers_are_faults() {
    let faults = soak_of(Behaviour { leaks: true, ..Behaviour::default() }).faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].ends_with("requests still run after the last client has gone"), "{faults:?}");
    assert!(faults[1].contains("blocks are still owned"), "{faults:?}");

    let report = soak_of(Behaviour { unstable: true, ..Behaviour::default() });
    assert!(report.differences.len() > 10, "{report:?}");
    assert!(report.faults()[0].contains("are others when asked alone"));

    let report = soak_of(Behaviour { fails_every: Some(10), ..Behaviour::default() });
    assert!(report.faults()[0].contains("status 500: on purpose"), "{:?}", report.faults());
}

#[test]
fn what_cannot_be_seen_is_named() {
    let server = FakeServer::start(Behaviour { plain: true, ..Behaviour::default() });
    let load = Soak { process: None, requests: 20, ..small_soak() };
    let report = soak(&Target::new(&server.url), &load, &quiet).unwrap();
    assert_eq!(report.faults(), [""; 0]);
    let expected =
        ["running requests", "waiting requests", "owned cache blocks", "resident memory"];
    assert_eq!(report.unseen(), expected);
}
