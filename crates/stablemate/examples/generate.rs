//! Continues a prompt: `cargo run --release --example generate -- MODEL PROMPT`
//!
//! MODEL is a Hugging Face directory or a .gguf file. The compiler must have been installed once, with
//! `stablemate setup`.

use stablemate::{Folders, GenerateOptions, LoadOptions, Model, Sampling};
use std::error::Error;
use std::io::Write;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (arguments.next(), arguments.next()) else {
        return Err("usage: generate MODEL PROMPT".into());
    };
    // The library reads no environment of its own; this program lets it look.
    let folders = Folders::standard(|name| std::env::var(name).ok()).ok_or("HOME is not set")?;
    let mut model = Model::load(path, &LoadOptions::new(folders))?;

    let options = GenerateOptions {
        sampling: Sampling { temperature: 0.7, top_p: 0.9, seed: 42, ..Sampling::default() },
        max_tokens: Some(100),
        ..GenerateOptions::default()
    };
    for piece in model.generate(prompt, &options)? {
        print!("{}", piece?.text);
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
