//! The front of a GGUF file: metadata and the table of tensors, checked against the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::cursor::Cursor;
use super::metadata::{Metadata, Value};
use super::tensor_type::TensorType;
use crate::encoding::Encoding;
use crate::error::Error;

const MAGIC: u32 = u32::from_le_bytes(*b"GGUF");

/// ggml's tensors have four extents.
const MOST_EXTENTS: u32 = 4;

/// Where tensor data starts and what it is aligned to, unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The bytes of a key–value pair that says nothing: empty key, type, one byte.
const SMALLEST_PAIR: usize = 8 + 4 + 1;

/// The bytes of a table entry for a tensor without name and extents.
const SMALLEST_TENSOR: usize = 8 + 4 + 4 + 8;

/// The parsed front of one file.
pub(super) struct Header {
    pub(super) metadata: Metadata,
    /// In the order of the file.
    pub(super) tensors: Vec<StoredTensor>,
}

/// One tensor of the table.
#[derive(Clone)]
pub(super) struct StoredTensor {
    pub(super) name: String,
    /// Row-major: GGUF's extents reversed.
    pub(super) shape: Vec<usize>,
    /// The encoding, or the name of the type.
    pub(super) encoding: Result<Encoding, String>,
    /// Position in the file.
    pub(super) bytes: Range<usize>,
}

/// Parses and checks the front of a file.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Header, Error> {
    let mut cursor = Cursor::new(bytes);
    let malformed = |message: String| Error::malformed(path, message);
    check_magic(&mut cursor).map_err(malformed)?;
    check_version(&mut cursor, path)?;
    let tensor_count = cursor.count(SMALLEST_TENSOR, "tensors").map_err(malformed)?;
    let pair_count = cursor.count(SMALLEST_PAIR, "metadata entries").map_err(malformed)?;
    let metadata = parse_metadata(&mut cursor, pair_count, path)?;
    let alignment = alignment(&metadata, path)?;
    let table = (0..tensor_count)
        .map(|index| parse_tensor(&mut cursor, index, path))
        .collect::<Result<Vec<_>, _>>()?;
    let start = (cursor.position() as u64)
        .checked_next_multiple_of(alignment)
        .ok_or_else(|| malformed("the tensor data would start beyond any file".to_owned()))?;
    let tensors = table
        .into_iter()
        .map(|entry| entry.place(start, alignment, bytes.len(), path))
        .collect::<Result<Vec<_>, _>>()?;
    check_distinct(&tensors, path)?;
    Ok(Header { metadata, tensors })
}

fn check_magic(cursor: &mut Cursor) -> Result<(), String> {
    match cursor.u32()? {
        MAGIC => Ok(()),
        found => Err(format!(
            "not a GGUF file: it starts with {:02x?} instead of `GGUF`",
            found.to_le_bytes()
        )),
    }
}

fn check_version(cursor: &mut Cursor, path: &Path) -> Result<(), Error> {
    let version = cursor.u32().map_err(|message| Error::malformed(path, message))?;
    let message = match version {
        2 | 3 => return Ok(()),
        1 => "GGUF version 1; versions 2 and 3 are read: convert the model again".to_owned(),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            "a big-endian GGUF file; little-endian ones are read".to_owned()
        }
        _ => format!("GGUF version {version}; versions 2 and 3 are read"),
    };
    Err(Error::unsupported(path, message))
}

fn parse_metadata(cursor: &mut Cursor, count: usize, path: &Path) -> Result<Metadata, Error> {
    let mut pairs = BTreeMap::new();
    for index in 0..count {
        let key = cursor.string().map_err(|error| {
            Error::malformed(path, format!("metadata entry {index}: the key: {error}"))
        })?;
        let value = cursor.value().map_err(|error| Error::key(path, key, error))?;
        if pairs.insert(key.to_owned(), value).is_some() {
            return Err(Error::key(path, key, "appears twice in the metadata"));
        }
    }
    Ok(Metadata(pairs))
}

fn alignment(metadata: &Metadata, path: &Path) -> Result<u64, Error> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value {
        Value::Unsigned(alignment) if alignment.is_power_of_two() => Ok(*alignment),
        other => Err(Error::key(path, KEY, format!("is {other}, but a power of two is needed"))),
    }
}

/// A table entry before its place in the file is known.
struct TableEntry {
    tensor: StoredTensor,
    offset: u64,
}

fn parse_tensor(cursor: &mut Cursor, index: usize, path: &Path) -> Result<TableEntry, Error> {
    let name = cursor.string().map_err(|error| {
        Error::malformed(path, format!("entry {index} of the tensor table: the name: {error}"))
    })?;
    parse_tensor_named(cursor, name).map_err(|message| Error::tensor(path, name, message))
}

fn parse_tensor_named(cursor: &mut Cursor, name: &str) -> Result<TableEntry, String> {
    let extents = cursor.u32()?;
    if extents > MOST_EXTENTS {
        return Err(format!("{extents} dimensions; there can be {MOST_EXTENTS} at most"));
    }
    let mut shape = Vec::new();
    for _ in 0..extents {
        let extent = cursor.u64()?;
        if extent == 0 {
            return Err("a dimension is 0".to_owned());
        }
        shape.push(usize::try_from(extent).map_err(|_| format!("a dimension is {extent}"))?);
    }
    shape.reverse();
    let number = cursor.u32()?;
    let offset = cursor.u64()?;
    let kind = TensorType::from_number(number)
        .ok_or_else(|| format!("type number {number}, which no known tensor type has"))?;
    let length = byte_length(&shape, kind)?;
    let encoding = kind.encoding().ok_or_else(|| kind.name.to_owned());
    let tensor = StoredTensor { name: name.to_owned(), shape, encoding, bytes: 0..length };
    Ok(TableEntry { tensor, offset })
}

/// Size in the file, which also bounds the number of values.
fn byte_length(shape: &[usize], kind: TensorType) -> Result<usize, String> {
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.values) {
        return Err(format!(
            "rows of {row} values cannot be stored as {}, whose blocks have {}",
            kind.name, kind.values
        ));
    }
    let values = shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
    values
        .and_then(|values| (values / kind.values).checked_mul(kind.bytes))
        .ok_or_else(|| format!("shape {shape:?} has more values than can be counted"))
}

impl TableEntry {
    /// Finds the bytes in the file and checks that they are there.
    fn place(
        self,
        start: u64,
        alignment: u64,
        file_len: usize,
        path: &Path,
    ) -> Result<StoredTensor, Error> {
        let Self { mut tensor, offset } = self;
        if !offset.is_multiple_of(alignment) {
            let message =
                format!("its data is at offset {offset}, which is not a multiple of {alignment}");
            return Err(Error::tensor(path, &tensor.name, message));
        }
        let length = tensor.bytes.end;
        let range = start.checked_add(offset).and_then(|first| {
            let first = usize::try_from(first).ok()?;
            Some(first..first.checked_add(length)?)
        });
        match range {
            Some(range) if range.end <= file_len => {
                tensor.bytes = range;
                Ok(tensor)
            }
            _ => {
                let message = format!(
                    "{length} bytes at offset {offset} of the tensor data, which starts at {start}, end \
                     beyond the file of {file_len} bytes: it is cut short or damaged"
                );
                Err(Error::tensor(path, &tensor.name, message))
            }
        }
    }
}

/// No two tensors with one name, none sharing bytes.
fn check_distinct(tensors: &[StoredTensor], path: &Path) -> Result<(), Error> {
    let mut by_name: Vec<&StoredTensor> = tensors.iter().collect();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in by_name.windows(2) {
        if let [first, second] = pair
            && first.name == second.name
        {
            return Err(Error::tensor(path, &first.name, "appears twice in the tensor table"));
        }
    }
    let mut by_place = by_name;
    by_place.sort_by_key(|tensor| tensor.bytes.start);
    for pair in by_place.windows(2) {
        if let [first, second] = pair
            && second.bytes.start < first.bytes.end
        {
            let message = format!("shares bytes of the file with tensor `{}`", first.name);
            return Err(Error::tensor(path, &second.name, message));
        }
    }
    Ok(())
}
