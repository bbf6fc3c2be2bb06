//! Writing the safetensors files.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value, json};
use stablemate_encodings::Packing;
use stablemate_encodings::quantize::{quantize_row, write_codes};

use super::plan::{Item, Output, Plan, Shard, Source, float_of};
use crate::error::Error;
use crate::tensor::Tensor;

/// How many values are held in memory at once.
const VALUES_AT_ONCE: usize = 1 << 22;

/// How many bytes are copied at once.
const BYTES_AT_ONCE: usize = 1 << 24;

/// Writes all files, and an index if there are several.
pub(super) fn write_all(
    plan: &Plan<'_>,
    directory: &Path,
    total: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let mut done = 0;
    let mut advance = |bytes: u64| {
        done += bytes;
        progress(done, total);
    };
    advance(0);
    let (count, mut weight_map) = (plan.shards.len(), Map::new());
    for (index, shard) in plan.shards.iter().enumerate() {
        let name = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let path = directory.join(&name);
        write(shard, &path, &mut advance)?;
        for output in shard.items.iter().flat_map(Item::outputs) {
            weight_map.insert(output.name, Value::String(name.clone()));
        }
    }
    if count > 1 {
        let bytes: u64 = plan.shards.iter().map(|shard| shard.bytes).sum();
        weight_map.sort_keys();
        let index = json!({"metadata": {"total_size": bytes}, "weight_map": weight_map});
        let path = directory.join("model.safetensors.index.json");
        fs::write(&path, format!("{index:#}\n")).map_err(|error| Error::io(&path, error))?;
    }
    Ok(())
}

/// A file whose parts are written where the header says.
struct Writer<'a> {
    path: &'a Path,
    file: File,
}

impl Writer<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut write = || {
            self.file.seek(SeekFrom::Start(at))?;
            self.file.write_all(bytes)
        };
        write().map_err(|error| Error::io(self.path, error))
    }
}

fn write(shard: &Shard<'_>, path: &Path, advance: &mut impl FnMut(u64)) -> Result<(), Error> {
    let io = |error| Error::io(path, error);
    let (header, places) = header(shard);
    let file = File::create_new(path).map_err(io)?;
    file.set_len(header.len() as u64 + shard.bytes).map_err(io)?;
    let mut output = Writer { path, file };
    output.write(0, &header)?;
    for (item, places) in shard.items.iter().zip(&places) {
        let places: Vec<u64> = places.iter().map(|place| header.len() as u64 + place).collect();
        match (&item.source, places.as_slice()) {
            (Source::Quantized(tensor, packing), &[codes, scales, biases]) => {
                quantize(tensor, *packing, [codes, scales, biases], &mut output, advance)?;
            }
            (Source::Copied(bytes, _), &[mut at]) => {
                for piece in bytes.chunks(BYTES_AT_ONCE) {
                    output.write(at, piece)?;
                    at += piece.len() as u64;
                    advance(piece.len() as u64);
                }
            }
            // An item has one output or three.
            _ => {}
        }
    }
    output.file.sync_all().map_err(io)
}

/// The header with its length before it, and the place of each item's outputs in the data behind it.
///
/// Larger types come first, so that each is aligned: the safetensors library writes its files in this way too.
fn header(shard: &Shard<'_>) -> (Vec<u8>, Vec<Vec<u64>>) {
    let mut places: Vec<Vec<u64>> = Vec::new();
    let mut outputs: Vec<(usize, usize, Output)> = Vec::new();
    for (item, source) in shard.items.iter().enumerate() {
        let parts = source.outputs();
        places.push(vec![0; parts.len()]);
        outputs.extend(parts.into_iter().enumerate().map(|(part, output)| (item, part, output)));
    }
    let size = |output: &Output| match output.shape.iter().product::<usize>() as u64 {
        0 => 0,
        values => output.bytes / values,
    };
    outputs.sort_by_key(|(_, _, output)| std::cmp::Reverse(size(output)));
    let mut object = Map::new();
    object.insert("__metadata__".to_owned(), json!({"format": "mlx"}));
    let mut at = 0;
    for (item, part, output) in outputs {
        if let Some(place) = places.get_mut(item).and_then(|places| places.get_mut(part)) {
            *place = at;
        }
        let entry = json!({
            "dtype": output.dtype,
            "shape": output.shape,
            "data_offsets": [at, at + output.bytes],
        });
        object.insert(output.name, entry);
        at += output.bytes;
    }
    let mut text = Value::Object(object).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    (header, places)
}

/// Writes codes, scales and biases, some rows at a time.
fn quantize(
    tensor: &Tensor<'_>,
    packing: Packing,
    mut places: [u64; 3],
    output: &mut Writer<'_>,
    advance: &mut impl FnMut(u64),
) -> Result<(), Error> {
    let (rows, columns) = (tensor.rows(), tensor.row_len());
    let step = (VALUES_AT_ONCE / columns.max(1)).max(1);
    let float = float_of(packing);
    let code_bytes = columns * packing.bits().count() / 8;
    let scale_bytes = columns / packing.group() * float.bytes();
    for start in (0..rows).step_by(step) {
        let count = step.min(rows - start);
        let mut parts = [code_bytes, scale_bytes, scale_bytes].map(|row| vec![0; count * row]);
        let [codes, scales, biases] = &mut parts;
        codes
            .par_chunks_mut(code_bytes)
            .zip(scales.par_chunks_mut(scale_bytes))
            .zip(biases.par_chunks_mut(scale_bytes))
            .enumerate()
            .try_for_each_init(Scratch::default, |scratch, (row, ((codes, scales), biases))| {
                scratch.row(tensor, packing, start + row, [codes, scales, biases])
            })?;
        for (place, part) in places.iter_mut().zip(&parts) {
            output.write(*place, part)?;
            *place += part.len() as u64;
        }
        tensor.release_rows(start..start + count);
        advance((tensor.bytes_len() / rows * count) as u64);
    }
    Ok(())
}

/// What is needed for one row, kept for the next.
#[derive(Default)]
struct Scratch {
    values: Vec<f32>,
    codes: Vec<u8>,
    words: Vec<u32>,
}

impl Scratch {
    /// Fills codes, scales and biases of one row as MLX stores them.
    fn row(
        &mut self,
        tensor: &Tensor<'_>,
        packing: Packing,
        row: usize,
        [codes, scales, biases]: [&mut [u8]; 3],
    ) -> Result<(), Error> {
        let columns = tensor.row_len();
        self.values.resize(columns, 0.0);
        self.codes.resize(columns, 0);
        self.words.resize(packing.scale_words(columns), 0);
        tensor.decode_rows(row..row + 1, &mut self.values)?;
        quantize_row(packing, &self.values, &mut self.codes, &mut self.words).map_err(|error| {
            Error::tensor(tensor.path(), tensor.name(), format!("row {row}: {error}"))
        })?;
        write_codes(packing.bits(), &self.codes, codes);
        let bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let size = float_of(packing).bytes();
        // Scale and bias of a group stand side by side.
        let pairs = bytes.chunks_exact(2 * size);
        let places = scales.chunks_exact_mut(size).zip(biases.chunks_exact_mut(size));
        for (pair, (scale, bias)) in pairs.zip(places) {
            let (first, second) = pair.split_at(size);
            scale.copy_from_slice(first);
            bias.copy_from_slice(second);
        }
        Ok(())
    }
}
