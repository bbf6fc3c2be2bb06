//! Writing a Hugging Face directory with its matrices quantised, as `mlx_lm.convert -q` does it.

mod files;
mod plan;
mod shard;

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stablemate_encodings::Bits;

use crate::checkpoint::{Checkpoint, Format};
use crate::encoding::Encoding;
use crate::error::Error;
use crate::file;
use crate::hugging_face::CONFIG;
use crate::json;
use plan::Plan;

/// The largest file that is written, unless one tensor alone is larger: mlx-lm's limit.
const SHARD_BYTES: u64 = 5 << 30;

/// How to quantise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizeOptions {
    /// Bits of a code: 2, 3, 4, 5, 6 or 8.
    pub bits: usize,
    /// Neighbours in a row that share scale and bias: 32, 64 or 128, which are those that MLX reads.
    pub group_size: usize,
}

/// What [`quantize_directory`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Matrices that were quantised.
    pub quantized: usize,
    /// Names of the tensors that were copied as they are: norms, biases, and matrices whose rows the group does not
    /// divide.
    pub copied: Vec<String>,
    /// Names of tensors that were left out: a head that is the embedding once more.
    pub left_out: Vec<String>,
    /// Values of all tensors that were written.
    pub parameters: u64,
    /// Bytes of all tensors of the source.
    pub source_bytes: u64,
    /// Bytes of all tensors that were written.
    pub bytes: u64,
    /// Files of weights.
    pub shards: usize,
    /// Names of files and directories of the source that were not copied.
    pub other_files: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        write!(
            formatter,
            "{} matrices quantised, {} tensors copied: {:.1} MB, were {:.1} MB ({:.2} bits per weight), in {} {}",
            self.quantized,
            self.copied.len(),
            megabytes(self.bytes),
            megabytes(self.source_bytes),
            self.bits_per_weight(),
            self.shards,
            if self.shards == 1 { "file" } else { "files" }
        )?;
        if !self.left_out.is_empty() {
            write!(
                formatter,
                "\nleft out, the same as the embedding: {}",
                self.left_out.join(", ")
            )?;
        }
        if !self.other_files.is_empty() {
            write!(formatter, "\nfiles not copied: {}", self.other_files.join(", "))?;
        }
        Ok(())
    }
}

impl Report {
    /// Bits that a value takes on average, scales and biases included.
    pub fn bits_per_weight(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.parameters.max(1) as f64
    }
}

/// Quantises a Hugging Face directory into another one, which MLX reads too. Codes, scales and biases are those of
/// `mlx.core.quantize` in the type of the source.
///
/// Quantised are matrices named `….weight` (those of linear layers and embeddings) whose rows consist of whole
/// groups; all other tensors are copied. The configuration gets the keys `quantization` and `quantization_config`;
/// the files of the tokenizer, chat templates and licences are copied. The directory appears when it is complete.
///
/// `progress` is told how many bytes of the source's tensors are done, and of how many.
///
/// # Errors
/// The source is GGUF, has no weights, or is quantised already; the destination exists and is not empty; a group
/// that MLX does not have, or no matrix that it divides; weights that are not finite; a full disk.
pub fn quantize_directory(
    source: &Checkpoint,
    destination: &Path,
    options: &QuantizeOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Error> {
    write(source, destination, options, SHARD_BYTES, progress)
}

fn write(
    source: &Checkpoint,
    destination: &Path,
    options: &QuantizeOptions,
    shard_bytes: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Error> {
    check_source(source)?;
    let bits = bits(source, options)?;
    files::check_destination(destination)?;
    let plan = Plan::new(source, bits, options.group_size, shard_bytes)?;
    let config = config(source, options)?;
    let partial = files::partial_directory(destination)?;
    let directory = partial.path();
    let mut report = plan.report(source);
    shard::write_all(&plan, directory, source.total_bytes(), progress)?;
    let path = directory.join(CONFIG);
    fs::write(&path, config).map_err(|error| Error::io(&path, error))?;
    report.other_files = files::copy_others(source.path(), directory)?;
    files::publish(partial, destination)?;
    Ok(report)
}

fn check_source(source: &Checkpoint) -> Result<(), Error> {
    let path = source.path();
    if source.format() != Format::HuggingFace {
        let message = "is a GGUF file; only Hugging Face directories can be quantised, since a GGUF file has no \
                       config.json and tokenizer.json that MLX could read: use the model's original directory";
        return Err(Error::unsupported(path, message));
    }
    if !source.has_weights() {
        return Err(Error::not_a_checkpoint(path, "has no weights that could be quantised"));
    }
    for name in source.tensor_names() {
        if let Some(Ok(
            encoding @ (Encoding::Affine { .. } | Encoding::Mxfp4 | Encoding::Block(_)),
        )) = source.entry(name).map(|entry| &entry.encoding)
        {
            let message = format!(
                "tensor `{name}` is quantised already ({encoding}): quantise the original checkpoint, since \
                 quantising twice loses more than either"
            );
            return Err(Error::unsupported(path, message));
        }
    }
    Ok(())
}

/// The bits, if MLX has them and the groups.
fn bits(source: &Checkpoint, options: &QuantizeOptions) -> Result<Bits, Error> {
    let refuse = |message: String| Error::unsupported(source.path(), message);
    let bits = Bits::new(options.bits).ok_or_else(|| {
        refuse(format!(
            "cannot be quantised to {} bits; MLX reads 2, 3, 4, 5, 6 and 8",
            options.bits
        ))
    })?;
    if ![32, 64, 128].contains(&options.group_size) {
        let group = options.group_size;
        return Err(refuse(format!("cannot have groups of {group}; MLX reads 32, 64 and 128")));
    }
    Ok(bits)
}

/// The text of the new config.json: the source's and the parameters, twice, as mlx-lm writes them.
fn config(source: &Checkpoint, options: &QuantizeOptions) -> Result<String, Error> {
    let path = source.path().join(CONFIG);
    let mut value = json::parse(&file::read_text(&path)?)
        .map_err(|message| Error::malformed(&path, message))?;
    let quantization = json!({
        "group_size": options.group_size,
        "bits": options.bits,
        "mode": "affine",
    });
    if let Value::Object(object) = &mut value {
        object.insert("quantization".to_owned(), quantization.clone());
        object.insert("quantization_config".to_owned(), quantization);
    }
    // Values that came from text become text again.
    serde_json::to_string_pretty(&value).map_err(|error| Error::malformed(&path, error.to_string()))
}

#[cfg(test)]
mod tests;
