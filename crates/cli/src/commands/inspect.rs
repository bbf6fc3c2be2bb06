//! `stablemate inspect`

use crate::arguments::InspectArguments;
use crate::environment::Environment;
use crate::output;
use stablemate::{CacheElement, Inspection};
use std::fmt::Write;

pub fn run(arguments: &InspectArguments, environment: &Environment) -> anyhow::Result<()> {
    let mut opened = stablemate::open(&environment.resolve(&arguments.model)?)?;
    // As commands that run it keep it, unless told otherwise.
    opened.decoder.set_cache_element(CacheElement::F16);
    let inspection = stablemate::inspect(&opened)?;
    if arguments.json {
        return output::write(&format!("{}\n", inspection.json()));
    }
    output::write(&text(&inspection, arguments.parameters)?)
}

fn text(inspection: &Inspection, parameters: bool) -> Result<String, std::fmt::Error> {
    let mut text = inspection.summary.clone();
    text += "\nstored as:\n";
    for (name, (tensors, bytes)) in &inspection.encodings {
        writeln!(text, "  {name:8} {tensors:5} tensors {:>12}", size(*bytes))?;
    }
    if !inspection.unused.is_empty() {
        writeln!(text, "not used by the model: {}", inspection.unused.join(", "))?;
    }
    text += "\nin memory:\n";
    writeln!(text, "  weights  {:>12}", size(inspection.weight_bytes))?;
    writeln!(text, "  cache    {:>12} per token, as f16", size(inspection.cache_bytes_per_token))?;
    if let Some(context) = inspection.context {
        writeln!(
            text,
            "           {:>12} at {context} tokens",
            size(inspection.cache_bytes(context))
        )?;
    }
    if parameters {
        text += "\nparameters:\n";
        for (name, ty) in &inspection.parameters {
            writeln!(text, "  {name} {ty}")?;
        }
    }
    Ok(text)
}

/// A number of bytes for people: `135.0 MiB`.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
