//! A report for people.

use serde_json::Value;

const HEADINGS: [&str; 6] =
    ["test", "tokens/s", "slowest – fastest", "first token", "read per token", "of bandwidth"];

/// Aligned columns.
pub fn plain(report: &Value) -> String {
    let rows = rows(report);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADINGS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    let line = |cells: &[String; HEADINGS.len()]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let body: String = rows.iter().map(line).collect();
    about(report) + "\n" + &line(&HEADINGS.map(str::to_string)) + &body
}

/// A table in Markdown.
pub fn markdown(report: &Value) -> String {
    let line = |cells: &[String; HEADINGS.len()]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(HEADINGS.len()));
    let body: String = rows(report).iter().map(line).collect();
    about(report) + "\n" + &line(&HEADINGS.map(str::to_string)) + &rule + &body
}

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key)?.as_f64()
}

fn rows(report: &Value) -> Vec<[String; HEADINGS.len()]> {
    let row = |measured: &Value| {
        let cell = |key: &str, form: &dyn Fn(f64) -> String| {
            number(measured, key).map_or_else(String::new, form)
        };
        let rate = |rate: f64| format!("{rate:.1}");
        [
            measured["test"].as_str().unwrap_or_default().to_string(),
            cell("tokens_per_second", &rate),
            format!("{} – {}", cell("slowest", &rate), cell("fastest", &rate)),
            cell("time_to_first_token_seconds", &|seconds| format!("{seconds:.3} s")),
            cell("bytes_per_token", &|bytes| format!("{:.1} MB", bytes / 1e6)),
            cell("bandwidth_share", &|share| format!("{:.0} %", 100.0 * share)),
        ]
    };
    report["measurements"].as_array().map_or_else(Vec::new, |all| all.iter().map(row).collect())
}

/// What was measured, above the table.
fn about(report: &Value) -> String {
    let megabytes = |key: &str| number(report, key).map_or(0.0, |bytes| bytes / 1e6);
    let programs = report["programs"].as_array().into_iter().flatten().map(|program| {
        let how = if program["cached"] == true { "cached" } else { "compiled" };
        let seconds = number(program, "seconds").unwrap_or_default();
        format!("step of {} tokens {how} in {seconds:.2} s", program["step_tokens"])
    });
    let bandwidth = report["measurements"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|measured| number(measured, "machine_bytes_per_second"))
        .map_or_else(String::new, |rate| format!("; this machine reads {:.1} GB/s", rate / 1e9));
    format!(
        "{}: {}, {} threads\nweights {:.0} MB loaded in {:.2} s, peak memory {:.0} MB{bandwidth}\n{}\n",
        report["model"].as_str().unwrap_or_default(),
        report["arithmetic"].as_str().unwrap_or_default(),
        report["threads"],
        megabytes("weight_bytes"),
        number(report, "load_seconds").unwrap_or_default(),
        megabytes("peak_resident_bytes"),
        programs.collect::<Vec<_>>().join(", "),
    )
}
