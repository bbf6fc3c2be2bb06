//! `cargo xtask synth`: models of published shapes with random weights, for measuring. Nothing is downloaded, and
//! speed does not depend on what the weights are.

mod file;
mod fill;
mod gguf;
mod mlx;
mod shape;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use stablemate_fixtures::gguf::Kind;

use crate::report;
use crate::synth::file::Layout;
use crate::workspace::Workspace;

pub use shape::Shape;

/// How the matrices are stored: the types of GGUF by their own names, and MLX's with groups of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    #[value(name = "q2_k")]
    Q2K,
    #[value(name = "q3_k")]
    Q3K,
    #[value(name = "q4_k")]
    Q4K,
    #[value(name = "q5_k")]
    Q5K,
    #[value(name = "q6_k")]
    Q6K,
    Mxfp4,
    #[value(name = "mlx-4bit")]
    Mlx4,
    #[value(name = "mlx-8bit")]
    Mlx8,
}

/// What an encoding is stored in.
enum Format {
    Gguf(Kind),
    /// With this many bits a code.
    Mlx(u32),
}

impl Encoding {
    /// The name on the command line, and in the names of files.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn format(self) -> Format {
        Format::Gguf(match self {
            Self::F32 => Kind::F32,
            Self::F16 => Kind::F16,
            Self::Bf16 => Kind::BF16,
            Self::Q4_0 => Kind::Q4_0,
            Self::Q4_1 => Kind::Q4_1,
            Self::Q5_0 => Kind::Q5_0,
            Self::Q5_1 => Kind::Q5_1,
            Self::Q8_0 => Kind::Q8_0,
            Self::Q2K => Kind::Q2_K,
            Self::Q3K => Kind::Q3_K,
            Self::Q4K => Kind::Q4_K,
            Self::Q5K => Kind::Q5_K,
            Self::Q6K => Kind::Q6_K,
            Self::Mxfp4 => Kind::MXFP4,
            Self::Mlx4 => return Format::Mlx(4),
            Self::Mlx8 => return Format::Mlx(8),
        })
    }
}

/// Where models and reports of benchmarks are.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("target/stablemate-bench")
}

/// Writes a model, unless it is there already, and returns its path: a .gguf file, or MLX's directory.
///
/// Without `output`, it is in [`folder`], where another file of its name is replaced; an `output` that exists and is
/// something else is left alone, which is an error.
pub fn provide(
    workspace: &Workspace,
    shape: &Shape,
    encoding: Encoding,
    output: Option<&Path>,
) -> Result<PathBuf> {
    let name = format!("{}-{}", shape.name, encoding.name());
    let path = match (output, encoding.format()) {
        (None, Format::Gguf(_)) => folder(workspace).join(format!("{name}.gguf")),
        (None, Format::Mlx(_)) => folder(workspace).join(&name),
        (Some(path), Format::Gguf(_)) if path.is_dir() => path.join(format!("{name}.gguf")),
        (Some(path), _) => path.to_owned(),
    };
    let model = Model::new(shape, encoding)?;
    if model.is_at(&path) {
        eprintln!("{} is there.", path.display());
        return Ok(path);
    }
    if path.exists() && output.is_some() {
        bail!(
            "{} exists and is not this model: remove it, or choose another --output",
            path.display()
        );
    }
    model.write(&path)?;
    Ok(path)
}

/// A model's files.
struct Model {
    weights: Layout,
    /// `config.json` beside the weights, if that is how the format has it.
    config: Option<String>,
}

/// The weights' name in a directory.
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

impl Model {
    fn new(shape: &Shape, encoding: Encoding) -> Result<Self> {
        Ok(match encoding.format() {
            Format::Gguf(kind) => Self { weights: gguf::layout(shape, kind)?, config: None },
            Format::Mlx(bits) => Self {
                weights: mlx::layout(shape, bits)?,
                config: Some(format!("{:#}\n", mlx::config(shape, bits))),
            },
        })
    }

    fn is_at(&self, path: &Path) -> bool {
        match &self.config {
            None => self.weights.is_at(path),
            Some(config) => {
                fs::read_to_string(path.join(CONFIG)).is_ok_and(|found| found == *config)
                    && self.weights.is_at(&path.join(WEIGHTS))
            }
        }
    }

    /// Writes under another name, which becomes `path` at the end: what is at `path` is whole.
    fn write(&self, path: &Path) -> Result<()> {
        let start = Instant::now();
        let mut name = path.file_name().context("--output has no file name")?.to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = path.with_file_name(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let outcome = self.write_parts(&partial).and_then(|()| {
            remove(path)?;
            fs::rename(&partial, path).with_context(|| format!("cannot make {}", path.display()))
        });
        if outcome.is_err() {
            // The first error is the one to tell.
            let _ = remove(&partial);
        }
        outcome?;
        let megabytes = self.weights.length() as f64 / 1e6;
        eprintln!("{}: {megabytes:.0} MB in {}", path.display(), report::duration(start.elapsed()));
        Ok(())
    }

    fn write_parts(&self, partial: &Path) -> Result<()> {
        let Some(config) = &self.config else { return self.weights.write(partial) };
        fs::create_dir_all(partial).with_context(|| partial.display().to_string())?;
        let path = partial.join(CONFIG);
        fs::write(&path, config).with_context(|| path.display().to_string())?;
        self.weights.write(&partial.join(WEIGHTS))
    }
}

/// Removes a file or a folder, if there is one.
fn remove(path: &Path) -> Result<()> {
    let outcome = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot replace {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_written_once_and_nothing_else_is_overwritten() {
        let workspace = Workspace::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tiny = Shape::find("tiny").unwrap();
        for (encoding, file) in [(Encoding::Q4K, "m.gguf"), (Encoding::Mlx4, "m/model.safetensors")]
        {
            let output = folder.path().join(file.split('/').next().unwrap());
            let make = || provide(&workspace, tiny, encoding, Some(&output));
            make().unwrap();
            let written = || fs::metadata(folder.path().join(file)).unwrap().modified().unwrap();
            let first = written();
            make().unwrap();
            assert_eq!(written(), first);

            fs::write(folder.path().join(file), "mine").unwrap();
            let error = make().unwrap_err().to_string();
            assert!(error.contains("is not this model"), "{error}");
            assert_eq!(fs::read(folder.path().join(file)).unwrap(), b"mine");
        }
        let left: Vec<_> = folder.path().read_dir().unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn encodings_have_the_fields_names() {
        let names: Vec<String> = Encoding::value_variants().iter().map(|one| one.name()).collect();
        assert_eq!(
            names.join(" "),
            "f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k mxfp4 mlx-4bit mlx-8bit"
        );
    }
}
