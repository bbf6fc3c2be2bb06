//! The report: a table of medians and ratios for people, and everything as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bench::comparison::{Row, Samples, median};
use crate::bench::machine::Load;
use crate::bench::measurement::Measurement;

/// What was measured with one model.
pub struct Chapter {
    /// The encoding of our side's model.
    pub encoding: String,
    /// The encoding of llama.cpp's, which does not read MLX's.
    pub opponent: String,
    /// Every measurement.
    pub rows: Vec<Row>,
    /// Of each side: what it said when it was loaded.
    pub ready: Vec<Value>,
    /// Of each side, bytes.
    pub peak_memory: Vec<Option<f64>>,
    /// Bytes per second that our side reads when it does nothing else.
    pub bandwidth: Option<f64>,
    /// What else was computed.
    pub loads: Vec<Load>,
}

/// All of it.
pub struct Report {
    /// The shape of the models.
    pub shape: String,
    /// The processor, the cores, the number of threads, the day.
    pub machine: Value,
    /// The sides, ours first, llama.cpp last if it takes part.
    pub sides: Vec<String>,
    /// Whether the last side is llama.cpp.
    pub compared: bool,
    /// One for each encoding.
    pub chapters: Vec<Chapter>,
}

/// Encodings of 4 bits with one scale or two: the best of llama.cpp's is what counts.
const FOUR_BITS: &[&str] = &["q4_0", "q4_1", "q4_k"];

/// The columns of the second table.
const ROOFLINE: [&str; 8] = [
    "encoding",
    "side",
    "weights",
    "bandwidth",
    "decode at most",
    "of it",
    "loaded in",
    "peak memory",
];

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# {} on {}\n\n",
            self.shape,
            self.machine["processor"].as_str().unwrap_or_default()
        );
        let _ = writeln!(
            text,
            "{} threads of {} cores; medians of {} interleaved rounds, tokens per second.\n",
            self.machine["threads"], self.machine["cores"], self.machine["rounds"]
        );
        text += &table(&self.headings(), &self.rows());
        text += "\n";
        text += &table(&ROOFLINE.map(str::to_owned), &self.roofline());
        text += "\n";
        for note in self.notes() {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    /// The report as JSON, with every sample.
    pub fn json(&self) -> Value {
        let chapter = |chapter: &Chapter| {
            let rows = chapter.rows.iter().map(|row| row.to_json(&self.sides)).collect::<Vec<_>>();
            let (others, waiting) = loads(chapter);
            json!({
                "encoding": chapter.encoding,
                "opponent": chapter.opponent,
                "rows": rows,
                "ready": chapter.ready,
                "peak_resident_bytes": chapter.peak_memory,
                "bandwidth_bytes_per_second": chapter.bandwidth,
                "other_load_cores": others,
                "waiting_load_cores": waiting,
            })
        };
        json!({
            "shape": self.shape,
            "machine": self.machine,
            "sides": self.sides,
            "chapters": self.chapters.iter().map(chapter).collect::<Vec<_>>(),
        })
    }

    /// How many sides are ours.
    fn ours(&self) -> usize {
        self.sides.len() - usize::from(self.compared)
    }

    fn headings(&self) -> Vec<String> {
        let mut headings = vec!["encoding".to_owned(), "measurement".to_owned()];
        headings.extend(self.sides.iter().cloned());
        if self.compared {
            let ratios = self.sides[..self.ours()].iter();
            headings.extend(ratios.map(|side| format!("{side} / llama.cpp")));
            headings.extend(
                self.sides[..self.ours()].iter().map(|side| format!("{side} / its best 4-bit")),
            );
        }
        headings
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for chapter in &self.chapters {
            for row in &chapter.rows {
                rows.push(self.cells(chapter, row));
            }
        }
        rows
    }

    fn cells(&self, chapter: &Chapter, row: &Row) -> Vec<String> {
        let name = match chapter.encoding == chapter.opponent {
            true => chapter.encoding.clone(),
            false if self.compared => {
                format!("{} (llama.cpp: {})", chapter.encoding, chapter.opponent)
            }
            false => chapter.encoding.clone(),
        };
        let mut cells = vec![name, row.label()];
        cells.extend(row.sides.iter().map(|samples| self.rate(chapter, row, samples)));
        if self.compared {
            let (theirs, ours) = match row.sides.split_last() {
                Some((last, ours)) => (last.median(), ours),
                None => (None, &[][..]),
            };
            let best = self.best_of_four_bits(row.measurement, row.busy);
            for other in [theirs, best] {
                cells.extend(ours.iter().map(|samples| times(samples.median(), other)));
            }
        }
        cells
    }

    /// A rate; with a busy neighbour also the share of the quiet one.
    fn rate(&self, chapter: &Chapter, row: &Row, samples: &Samples) -> String {
        let Some(rate) = samples.median() else { return "failed".to_owned() };
        let text = if rate < 9.995 { format!("{rate:.2}") } else { format!("{rate:.1}") };
        let side = row.sides.iter().position(|other| std::ptr::eq(other, samples));
        let quiet =
            chapter.rows.iter().find(|other| !other.busy && other.measurement == row.measurement);
        match (row.busy, side, quiet) {
            (true, Some(side), Some(quiet)) => match quiet.sides[side].median() {
                Some(quiet) => format!("{text} ({:.0} % of quiet)", 100.0 * rate / quiet),
                None => text,
            },
            _ => text,
        }
    }

    /// llama.cpp's highest median among the 4-bit formats of this run.
    fn best_of_four_bits(&self, measurement: Measurement, busy: bool) -> Option<f64> {
        let chapters =
            self.chapters.iter().filter(|one| FOUR_BITS.contains(&one.opponent.as_str()));
        let rows = chapters.flat_map(|chapter| &chapter.rows);
        let rows = rows.filter(|row| row.measurement == measurement && row.busy == busy);
        rows.filter_map(|row| row.sides.last()?.median()).max_by(f64::total_cmp)
    }

    /// What the machine allows, as decoding reads every weight once: a line for each side of each model.
    fn roofline(&self) -> Vec<Vec<String>> {
        let sides =
            |chapter| (0..self.sides.len()).map(move |side| self.roofline_of(chapter, side));
        self.chapters.iter().flat_map(sides).collect()
    }

    fn roofline_of(&self, chapter: &Chapter, side: usize) -> Vec<String> {
        let ready = &chapter.ready[side];
        let weights = ready["weights_bytes"].as_f64();
        let most = chapter.bandwidth.zip(weights).map(|(bandwidth, weights)| bandwidth / weights);
        let decode =
            chapter.rows.iter().find(|row| row.measurement.reads_weights_alone() && !row.busy);
        let rate = decode.and_then(|row| row.sides[side].median());
        let share = rate.zip(most).map(|(rate, most)| 100.0 * rate / most);
        vec![
            chapter.encoding.clone(),
            self.sides[side].clone(),
            megabytes(weights),
            shown(chapter.bandwidth, |rate| format!("{:.1} GB/s", rate / 1e9)),
            shown(most, |most| format!("{most:.1}")),
            shown(share, |share| format!("{share:.0} %")),
            shown(ready["load_seconds"].as_f64(), |time| format!("{time:.2} s")),
            megabytes(chapter.peak_memory[side]),
        ]
    }

    /// What a reader must know: how quiet it was, what failed.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for chapter in &self.chapters {
            let (others, waiting) = loads(chapter);
            let most = others.iter().copied().fold(0.0, f64::max);
            if let Some(middle) = median(&others) {
                notes.push(format!(
                    "{}: other processes used {middle:.2} cores (median; at most {most:.2}) while it was measured",
                    chapter.encoding
                ));
            }
            if let Some(idle) = median(&waiting).filter(|idle| *idle > 0.05) {
                notes.push(format!(
                    "{}: the sides that waited used {idle:.2} cores: not to be trusted",
                    chapter.encoding
                ));
            }
            for row in &chapter.rows {
                let failures = self.sides.iter().zip(&row.sides);
                notes.extend(failures.filter_map(|(side, samples)| {
                    let error = samples.error.as_ref()?;
                    Some(format!("{}, {}, {side}: {error}", chapter.encoding, row.label()))
                }));
            }
        }
        notes
    }
}

/// Cores used by others and by waiting sides, for each measurement.
fn loads(chapter: &Chapter) -> (Vec<f64>, Vec<f64>) {
    chapter.loads.iter().map(|load| (load.others, load.waiting)).unzip()
}

fn times(ours: Option<f64>, theirs: Option<f64>) -> String {
    shown(ours.zip(theirs).map(|(ours, theirs)| ours / theirs), |ratio| format!("{ratio:.2}×"))
}

fn megabytes(bytes: Option<f64>) -> String {
    shown(bytes, |bytes| format!("{:.0} MB", bytes / 1e6))
}

fn shown(value: Option<f64>, form: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), form)
}

/// A table that reads well as text and is Markdown: the first two columns to the left, numbers to the right.
fn table(headings: &[String], rows: &[Vec<String>]) -> String {
    let lines: Vec<&[String]> =
        std::iter::once(headings).chain(rows.iter().map(Vec::as_slice)).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let is_text = |column: usize| {
        rows.iter().all(|row| !row[column].starts_with(|c: char| c.is_ascii_digit()))
    };
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            match is_text(column) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            }
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().enumerate().map(|(column, &width)| match is_text(column) {
        true => format!("-{:-<width$}-", ""),
        false => format!("-{:-<width$}:", ""),
    });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    let body: String = rows.iter().map(|row| line(row)).collect();
    line(headings) + &rule + &body
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
