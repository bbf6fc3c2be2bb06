//! Standard output and input.

use crate::arguments::LogFormat;
use anyhow::Context;
use std::io::{ErrorKind, Read, Write};

/// Writes text as it is and shows it at once.
///
/// # Errors
/// Standard output is closed; see [`is_broken_pipe`].
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}

/// Says something beside the output, on standard error.
pub fn note(text: &str) {
    eprintln!("stablemate: {text}");
}

/// Says something beside the output in the form of the log: as [`note`], or where every line is JSON as an event.
pub fn log(form: LogFormat, text: &str) {
    match form {
        LogFormat::Text => note(text),
        LogFormat::Json => tracing::info!("{text}"),
    }
}

/// An error with its causes, each text once: many errors tell their cause themselves.
pub fn explained(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

/// Whether the reader of our output went away, which is no failure of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The text itself, or standard input for `-`.
///
/// # Errors
/// Standard input is not UTF-8.
pub fn text_or_input(text: &str) -> anyhow::Result<String> {
    if text != "-" {
        return Ok(text.to_string());
    }
    let mut input = String::new();
    std::io::stdin()
        .read_to_string(&mut input)
        .context("cannot read the text from standard input")?;
    Ok(input)
}
