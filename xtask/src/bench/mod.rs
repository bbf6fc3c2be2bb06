//! `cargo xtask bench`: our release binary and llama.cpp on the same random model, measured in turn.
//!
//! Both are children that load the model once (`session.rs`). llama.cpp comes from PyPI's source package
//! `llama-cpp-python` and is compiled for this machine.

mod comparison;
mod machine;
mod measurement;
mod report;
mod session;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::bench::comparison::{Comparison, Row, Samples};
use crate::bench::measurement::Sizes;
use crate::bench::report::{Chapter, Report};
use crate::bench::session::Session;
use crate::install::environment::{self, Compilation};
use crate::install::{Installation, Profile};
use crate::synth::{self, Encoding, Shape};
use crate::workspace::{Tools, Workspace};

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The shape of the models: llama-3.2-1b, llama-3.1-8b, smollm2-135m or tiny
    #[arg(long, default_value = "llama-3.2-1b", value_parser = Shape::find)]
    shape: &'static Shape,
    /// Encodings, one after the other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "q4_0,q4_k,q4_1,q8_0,f16,mlx-4bit"
    )]
    encodings: Vec<Encoding>,
    /// Tokens of prompts
    #[arg(short, long, value_delimiter = ',', default_value = "128,512", value_name = "TOKENS")]
    prefill: Vec<usize>,
    /// Tokens to decode, of each sequence
    #[arg(short = 'n', long, default_value_t = 32, value_name = "TOKENS")]
    decode: usize,
    /// Sequences that are decoded together
    #[arg(short, long, value_delimiter = ',', default_value = "1,8,16", value_name = "SEQUENCES")]
    batch: Vec<usize>,
    /// Tokens of context before one sequence is decoded
    #[arg(short, long, value_delimiter = ',', default_value = "0,4096", value_name = "TOKENS")]
    depth: Vec<usize>,
    /// Threads of each side [default: all cores]
    #[arg(short, long)]
    threads: Option<usize>,
    /// Rounds; medians are shown
    #[arg(short, long, default_value_t = 5)]
    rounds: usize,
    /// A minute for a first look: q4_0 alone, one prompt, few tokens, no context, three rounds
    #[arg(long, conflicts_with_all = ["encodings", "prefill", "decode", "batch", "depth", "rounds"])]
    quick: bool,
    /// Measure ours with `--activations int8` as well
    #[arg(long)]
    int8: bool,
    /// Measure ours with further arguments as well (once for each time it is given)
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    ours: Vec<String>,
    /// Leave llama.cpp out
    #[arg(long)]
    ours_only: bool,
    /// Decode once more with one core kept busy by another process
    #[arg(long)]
    busy: bool,
    /// Take this binary, instead of building ours
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// Take this Python, which has llama-cpp-python, instead of installing one
    #[arg(long, value_name = "PROGRAM")]
    llama_python: Option<PathBuf>,
    /// Put llama.cpp on both sides: how far the ratios are from 1 is what this machine adds
    #[arg(long, conflicts_with_all = ["ours", "int8", "ours_only", "program"])]
    against_itself: bool,
}

impl Arguments {
    fn sizes(&self) -> Sizes {
        match self.quick {
            true => Sizes { prefill: vec![128], decode: 16, batches: vec![1, 8], depths: vec![0] },
            false => Sizes {
                prefill: self.prefill.clone(),
                decode: self.decode,
                batches: self.batch.clone(),
                depths: self.depth.clone(),
            },
        }
    }

    fn encodings(&self) -> &[Encoding] {
        if self.quick { &[Encoding::Q4_0] } else { &self.encodings }
    }

    fn rounds(&self) -> usize {
        if self.quick { 3 } else { self.rounds }
    }

    fn threads(&self) -> usize {
        self.threads.unwrap_or_else(machine::cores)
    }

    /// What our side is started with, column by column.
    fn variants(&self) -> Vec<String> {
        let int8 = self.int8.then(|| "--activations int8".to_owned());
        [String::new()].into_iter().chain(int8).chain(self.ours.iter().cloned()).collect()
    }
}

/// Measures and writes the report: the table on stdout and in `report.md`, everything in `report.json`.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let programs = Programs::prepare(workspace, arguments)?;
    let mut report = Report {
        shape: arguments.shape.name.to_owned(),
        machine: json!({
            "processor": machine::processor(),
            "cores": machine::cores(),
            "threads": arguments.threads(),
            "rounds": arguments.rounds(),
        }),
        sides: Vec::new(),
        compared: !arguments.ours_only,
        chapters: Vec::new(),
    };
    for encoding in arguments.encodings() {
        let sessions = programs.start(workspace, arguments, *encoding)?;
        report.sides = sessions.iter().map(|session| session.name().to_owned()).collect();
        report.chapters.push(chapter(sessions, arguments, *encoding)?);
        // Written each time: who stops a long run keeps what there is.
        save(workspace, &report)?;
    }
    println!("{}", report.markdown());
    Ok(())
}

fn save(workspace: &Workspace, report: &Report) -> Result<()> {
    let folder = synth::folder(workspace);
    for (name, text) in
        [("report.md", report.markdown()), ("report.json", format!("{:#}\n", report.json()))]
    {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// All measurements with one model.
fn chapter(sessions: Vec<Session>, arguments: &Arguments, encoding: Encoding) -> Result<Chapter> {
    let ready = sessions.iter().map(|session| session.ready().clone()).collect();
    let mut comparison = Comparison::new(sessions);
    let (mut rows, mut bandwidths) = (Vec::new(), Vec::new());
    for measurement in arguments.sizes().measurements() {
        // The bandwidth changes with what else is done: it is measured before and after what is compared with it.
        let is_roofline = measurement.reads_weights_alone();
        if is_roofline {
            bandwidths.extend(bandwidths_now(&mut comparison, arguments.rounds())?);
        }
        let row = comparison.run(measurement, arguments.rounds(), false)?;
        show(encoding, &row);
        rows.push(row);
        if is_roofline {
            bandwidths.extend(bandwidths_now(&mut comparison, arguments.rounds())?);
        }
        if is_roofline && arguments.busy {
            let row = comparison.run(measurement, arguments.rounds(), true)?;
            show(encoding, &row);
            rows.push(row);
        }
    }
    let memory = comparison.sessions().iter_mut().map(|session| Ok(session.peak_memory()?.ok()));
    Ok(Chapter {
        encoding: encoding.name(),
        opponent: opponent(encoding).name(),
        rows,
        ready,
        peak_memory: memory.collect::<Result<_>>()?,
        bandwidth: comparison::median(&bandwidths),
        loads: comparison.loads().to_vec(),
    })
}

/// Medians as soon as they are known.
fn show(encoding: Encoding, row: &Row) {
    let rate = |side: &Samples| {
        side.median().map_or_else(|| "failed".to_owned(), |rate| format!("{rate:.1}"))
    };
    let rates: Vec<String> = row.sides.iter().map(rate).collect();
    eprintln!("{} {}: {}", encoding.name(), row.label(), rates.join(" | "));
}

/// What our side reads per second, several times.
fn bandwidths_now(comparison: &mut Comparison, rounds: usize) -> Result<Vec<f64>> {
    let Some(ours) = comparison.sessions().first_mut() else { return Ok(Vec::new()) };
    let answers: Vec<_> = (0..rounds).map(|_| ours.bandwidth()).collect::<Result<_>>()?;
    Ok(answers.into_iter().flatten().collect())
}

/// The encoding that llama.cpp is given: MLX's it does not read, so that is met by what is nearest in size.
fn opponent(encoding: Encoding) -> Encoding {
    match encoding {
        Encoding::Mlx4 => Encoding::Q4_0,
        Encoding::Mlx8 => Encoding::Q8_0,
        same => same,
    }
}

/// What the sides are run with.
struct Programs {
    /// Our binary, unless llama.cpp stands in.
    ours: Option<PathBuf>,
    /// A Python with llama-cpp-python, unless llama.cpp is left out.
    llama_python: Option<PathBuf>,
    /// The program that measures llama.cpp.
    script: PathBuf,
}

impl Programs {
    /// Installs and builds what is missing.
    fn prepare(workspace: &Workspace, arguments: &Arguments) -> Result<Self> {
        let needs_ours = !arguments.against_itself && arguments.program.is_none();
        let needs_llama = !arguments.ours_only && arguments.llama_python.is_none();
        let installation = match needs_ours || needs_llama {
            true => Some(Installation::prepare(workspace)?),
            false => None,
        };
        let tools = installation.as_ref().map(Installation::tools);
        let llama_python = match (&arguments.llama_python, arguments.ours_only) {
            (_, true) => None,
            (Some(python), _) => Some(python.clone()),
            (None, _) => Some(llama_environment(workspace, tools.unwrap_or(&Tools::none()))?),
        };
        let ours = match &installation {
            _ if arguments.program.is_some() => arguments.program.clone(),
            Some(installation) if needs_ours => {
                let binary = installation.build(Profile::Release)?;
                installation.compiler(&binary)?;
                Some(binary)
            }
            _ => None,
        };
        Ok(Self { ours, llama_python, script: workspace.root().join("bench/llama_session.py") })
    }

    /// Starts every side with its model, ours first.
    fn start(
        &self,
        workspace: &Workspace,
        arguments: &Arguments,
        encoding: Encoding,
    ) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        if let Some(ours) = &self.ours {
            let model = synth::provide(workspace, arguments.shape, encoding, None)?;
            for variant in arguments.variants() {
                let name = if variant.is_empty() { "stablemate" } else { &variant };
                let mut command = Command::new(ours);
                command.arg("--data-folder").arg(workspace.data());
                command.arg("--cache-folder").arg(workspace.cache());
                command.arg("bench").arg(&model).arg("--session");
                command.args(["--threads", &arguments.threads().to_string()]);
                command.args(arguments.sizes().arguments());
                command.args(variant.split_whitespace());
                sessions.push(Session::start(name, &mut command)?);
            }
        }
        if let Some(python) = &self.llama_python {
            let model = synth::provide(workspace, arguments.shape, opponent(encoding), None)?;
            let names: &[&str] = if arguments.against_itself {
                &["llama.cpp again", "llama.cpp"]
            } else {
                &["llama.cpp"]
            };
            for name in names {
                sessions.push(Session::start(
                    name,
                    &mut self.llama(python, &model, arguments.threads()),
                )?);
            }
        }
        Ok(sessions)
    }

    fn llama(&self, python: &Path, model: &Path, threads: usize) -> Command {
        let mut command = Command::new(python);
        command.arg(&self.script).arg(model).args(["--threads", &threads.to_string()]);
        command
    }
}

/// A Python that has llama-cpp-python, compiled for this machine.
fn llama_environment(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    let folder = workspace.root().join("target/llama-cpp");
    let requirements = workspace.root().join("bench/requirements.txt");
    let jobs = machine::cores().to_string();
    let settings = [
        ("CMAKE_ARGS", "-DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release"),
        ("CMAKE_BUILD_PARALLEL_LEVEL", jobs.as_str()),
        // A wheel that pip has kept may have been compiled for another machine.
        ("PIP_NO_CACHE_DIR", "1"),
        ("PIP_NO_BINARY", "llama-cpp-python"),
    ];
    // GCC 12 leaves out most of what llama.cpp writes before it configures tiles, and the result crashes.
    let clang = machine::has_tiles() && std::env::var_os("CC").is_none();
    let compilation = Compilation { settings: &settings, clang };
    environment::provide(&folder, &requirements, tools, &compilation)
        .context("llama.cpp could not be installed (--ours-only leaves it out)")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Line::try_parse_from(line.split('|')).map(|line| line.arguments)
    }

    #[test]
    fn the_command_line_is_read() {
        let arguments = parse("bench|--int8|--ours|--isa avx2|-p|64|-b|1,2|--depth|0").unwrap();
        assert_eq!(arguments.variants(), ["", "--activations int8", "--isa avx2"]);
        assert_eq!(arguments.sizes().measurements().len(), 3);
        assert_eq!(arguments.encodings().len(), 6);
        let quick = parse("bench|--quick").unwrap();
        assert_eq!((quick.encodings(), quick.rounds()), (&[Encoding::Q4_0][..], 3));
        assert!(parse("bench|--quick|-p|64").is_err());
    }

    #[test]
    fn llama_cpp_is_given_what_it_reads() {
        assert_eq!(opponent(Encoding::Mlx4), Encoding::Q4_0);
        assert_eq!(opponent(Encoding::Q6K), Encoding::Q6K);
    }
}
