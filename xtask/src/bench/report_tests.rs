use super::*;

const DECODE: Measurement = Measurement::Decode { tokens: 32, sequences: 1, depth: 0 };

fn samples(rates: &[f64]) -> Samples {
    Samples { rates: rates.to_vec(), error: None }
}

fn chapter(encoding: &str, opponent: &str, ours: f64, theirs: f64) -> Chapter {
    let row = |busy: bool, factor: f64| Row {
        measurement: DECODE,
        busy,
        sides: vec![samples(&[ours * factor, 1.0, 1e3]), samples(&[theirs * factor])],
    };
    Chapter {
        encoding: encoding.to_owned(),
        opponent: opponent.to_owned(),
        rows: vec![row(false, 1.0), row(true, 0.5)],
        ready: vec![
            json!({"weights_bytes": 1e9, "load_seconds": 0.5}),
            json!({"weights_bytes": 5e8, "load_seconds": 2}),
        ],
        peak_memory: vec![Some(1.1e9), None],
        bandwidth: Some(5e10),
        loads: vec![Load { others: 0.25, waiting: 0.0 }],
    }
}

fn report() -> Report {
    Report {
        shape: "tiny".to_owned(),
        machine: json!({"processor": "abacus", "threads": 2, "cores": 2, "rounds": 3}),
        sides: vec!["stablemate".to_owned(), "llama.cpp".to_owned()],
        compared: true,
        chapters: vec![
            chapter("q4_0", "q4_0", 40.0, 20.0),
            chapter("mlx-4bit", "q4_0", 30.0, 25.0),
            chapter("q8_0", "q8_0", 12.0, 50.0),
        ],
    }
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect();
    text.lines()
        .filter(|line| line.trim_start_matches(['|', ' ']).starts_with(start))
        .map(cells)
        .collect()
}

#[test]
fn ratios_are_of_medians_and_of_the_best_4_bit_format() {
    let text = report().markdown();
    let rows = lines(&text, "q4_0");
    assert_eq!(rows[0], ["q4_0", "decode", "40.0", "20.0", "2.00×", "1.60×"]);
    // 8 bits are not 4 bits, however fast.
    let rows = lines(&text, "q8_0");
    assert_eq!(rows[0], ["q8_0", "decode", "12.0", "50.0", "0.24×", "0.48×"]);
    let rows = lines(&text, "mlx-4bit");
    assert_eq!(rows[0][0], "mlx-4bit (llama.cpp: q4_0)");
}

#[test]
fn a_busy_neighbour_is_compared_with_the_quiet_run() {
    let text = report().markdown();
    let rows = lines(&text, "q4_0");
    assert_eq!(
        rows[1][1..4],
        ["decode, a core busy", "20.0 (50 % of quiet)", "10.0 (50 % of quiet)"]
    );
}

#[test]
fn the_roofline_is_bandwidth_by_weights() {
    let text = report().markdown();
    let rows = lines(&text, "q4_0");
    let ours = ["stablemate", "1000 MB", "50.0 GB/s", "50.0", "80 %", "0.50 s", "1100 MB"];
    assert_eq!(rows[2][1..], ours);
    assert_eq!(rows[3][1..], ["llama.cpp", "500 MB", "50.0 GB/s", "100.0", "20 %", "2.00 s", "–"]);
    assert!(text.contains("- q4_0: other processes used 0.25 cores"), "{text}");
    assert!(!text.contains("not to be trusted"));
}

#[test]
fn failures_and_busy_waiting_are_told() {
    let mut report = report();
    report.chapters[0].rows[0].sides[0] =
        Samples { rates: Vec::new(), error: Some("too long".to_owned()) };
    report.chapters[0].loads = vec![Load { others: 0.0, waiting: 0.9 }];
    let text = report.markdown();
    assert_eq!(lines(&text, "q4_0")[0][2..5], ["failed", "20.0", "–"]);
    assert!(text.contains("- q4_0, decode, stablemate: too long"), "{text}");
    assert!(text.contains("used 0.90 cores: not to be trusted"), "{text}");
    assert_eq!(report.json()["chapters"][0]["rows"][0]["sides"]["stablemate"]["error"], "too long");
}

#[test]
fn without_llama_cpp_there_are_no_ratios() {
    let mut report = report();
    report.compared = false;
    report.sides.pop();
    for chapter in &mut report.chapters {
        chapter.rows.iter_mut().for_each(|row| _ = row.sides.pop());
        chapter.ready.pop();
        chapter.peak_memory.pop();
    }
    let rows = report.markdown();
    assert_eq!(lines(&rows, "mlx-4bit")[0], ["mlx-4bit", "decode", "30.0"]);
}
