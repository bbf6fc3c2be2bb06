//! Which tensors are quantised, and where each stands in which file: all of it known before the first byte is
//! written.

use stablemate_encodings::{Bits, Float, Packing, Scales};

use super::Report;
use crate::checkpoint::Checkpoint;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::tensor::Tensor;

/// A tensor of the source and what it becomes.
pub(super) struct Item<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<usize>,
    pub(super) source: Source<'a>,
}

pub(super) enum Source<'a> {
    /// To be quantised with this packing's bits, group and float.
    Quantized(Tensor<'a>, Packing),
    /// Bytes of this type, to be copied.
    Copied(&'a [u8], String),
}

/// A tensor of the destination.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: u64,
}

/// A file to be written.
#[derive(Default)]
pub(super) struct Shard<'a> {
    pub(super) items: Vec<Item<'a>>,
    pub(super) bytes: u64,
}

pub(super) struct Plan<'a> {
    pub(super) shards: Vec<Shard<'a>>,
    left_out: Vec<String>,
}

impl Item<'_> {
    /// What it becomes: one tensor, or weight, scales and biases, in this order.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let (tensor, packing) = match &self.source {
            Source::Copied(bytes, dtype) => {
                return vec![Output {
                    name: self.name.to_owned(),
                    dtype: dtype.clone(),
                    shape: self.shape.clone(),
                    bytes: bytes.len() as u64,
                }];
            }
            Source::Quantized(tensor, packing) => (tensor, packing),
        };
        let (rows, columns) = (tensor.rows(), tensor.row_len());
        let output = |ending: &str, dtype: &str, columns: usize, size: usize| Output {
            name: format!("{}.{ending}", self.name.strip_suffix(WEIGHT).unwrap_or(self.name)),
            dtype: dtype.to_owned(),
            shape: vec![rows, columns],
            bytes: rows as u64 * columns as u64 * size as u64,
        };
        let groups = columns / packing.group();
        let words = columns / 32 * packing.bits().count();
        let float = float_of(*packing);
        vec![
            output("weight", "U32", words, 4),
            output("scales", float.name(), groups, float.bytes()),
            output("biases", float.name(), groups, float.bytes()),
        ]
    }

    fn bytes(&self) -> u64 {
        self.outputs().iter().map(|output| output.bytes).sum()
    }
}

/// The type of an affine packing's scales.
pub(super) fn float_of(packing: Packing) -> Float {
    match packing.scales() {
        Scales::Affine(float) | Scales::Centred(float) => float,
        Scales::Nested(_) | Scales::Codebook(_) => Float::F16,
    }
}

const WEIGHT: &str = ".weight";
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

impl<'a> Plan<'a> {
    pub(super) fn new(
        source: &'a Checkpoint,
        bits: Bits,
        group: usize,
        shard_bytes: u64,
    ) -> Result<Self, Error> {
        let mut shards: Vec<Shard<'a>> = Vec::new();
        let (mut left_out, mut quantized) = (Vec::new(), 0);
        for name in source.tensor_names() {
            if name == HEAD && is_embedding_again(source)? {
                left_out.push(name.to_owned());
                continue;
            }
            let item = item(source, name, bits, group)?;
            quantized += usize::from(matches!(item.source, Source::Quantized(..)));
            let bytes = item.bytes();
            let full = shards.last().is_none_or(|last| last.bytes + bytes > shard_bytes);
            if full {
                shards.push(Shard::default());
            }
            if let Some(last) = shards.last_mut() {
                last.bytes += bytes;
                last.items.push(item);
            }
        }
        if quantized == 0 {
            let message = format!(
                "no matrix has rows that consist of whole groups of {group}: nothing to quantise"
            );
            return Err(Error::unsupported(source.path(), message));
        }
        Ok(Self { shards, left_out })
    }

    /// The numbers of it.
    pub(super) fn report(&self, source: &Checkpoint) -> Report {
        let mut report = Report {
            left_out: self.left_out.clone(),
            source_bytes: source.total_bytes(),
            bytes: self.shards.iter().map(|shard| shard.bytes).sum(),
            shards: self.shards.len(),
            ..Report::default()
        };
        for item in self.shards.iter().flat_map(|shard| &shard.items) {
            // The product was checked when the file was opened.
            report.parameters += item.shape.iter().product::<usize>() as u64;
            match item.source {
                Source::Quantized(..) => report.quantized += 1,
                Source::Copied(..) => report.copied.push(item.name.to_owned()),
            }
        }
        report
    }
}

/// Whether the configuration ties the head to the embedding and the head is stored nevertheless, with the same
/// values. MLX drops such a head when it loads a model, but not its scales.
fn is_embedding_again(source: &Checkpoint) -> Result<bool, Error> {
    let tied = |value: Option<&serde_json::Value>| value.is_some_and(|value| *value == true);
    if !tied(source.config().peek("tie_word_embeddings")) {
        return Ok(false);
    }
    let (head, embedding) = (source.tensor(HEAD)?, source.tensor(EMBEDDING)?);
    Ok(head.zip(embedding).is_some_and(|(head, embedding)| head.stored_like(&embedding)))
}

fn item<'a>(
    source: &'a Checkpoint,
    name: &'a str,
    bits: Bits,
    group: usize,
) -> Result<Item<'a>, Error> {
    let refuse = |message: String| Err(Error::tensor(source.path(), name, message));
    let Some(entry) = source.entry(name) else {
        return refuse("is not there".to_owned());
    };
    let shape = entry.shape.clone();
    let kind = match &entry.encoding {
        Ok(Encoding::Dense(float)) => float.name().to_owned(),
        Ok(other) => return refuse(format!("is quantised already ({other})")),
        // Numbers and truth values beside the weights, such as positions.
        Err(kind) if ["I", "U", "BOOL"].iter().any(|start| kind.starts_with(start)) => kind.clone(),
        Err(kind) => return refuse(format!("is {kind}; F32, F16 and BF16 can be quantised")),
    };
    let bytes = source.stored_bytes(entry);
    if entry.encoding.is_ok()
        && let Some(tensor) = source.tensor(name)?
        && name.ends_with(WEIGHT)
        && shape.len() == 2
        && tensor.rows() > 0
        && tensor.row_len() > 0
        && tensor.row_len().is_multiple_of(group)
    {
        let packing = tensor.quantized_packing(bits, group)?;
        return Ok(Item { name, shape, source: Source::Quantized(tensor, packing) });
    }
    Ok(Item { name, shape, source: Source::Copied(bytes, kind) })
}
