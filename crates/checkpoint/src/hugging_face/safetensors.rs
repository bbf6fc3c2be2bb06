//! The header of a safetensors file: a JSON object from names to types, shapes and places.
//!
//! Read by our own code rather than the `safetensors` crate's, which stops at the first type that
//! it does not know, keeps one of two entries with the same name, and does not name the tensor in
//! its errors. The crate supplies the types and their sizes.

use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use crate::encoding::{Encoding, Float};
use crate::error::Error;
use crate::json;
use crate::tensor::{Entry, Transform};

/// The limit of the format's own library.
const LARGEST_HEADER: u64 = 100_000_000;

/// The entry that is no tensor: free text about the file.
const METADATA: &str = "__metadata__";

/// Parses and checks the header of the file with this index.
pub(super) fn parse(bytes: &[u8], file: usize, path: &Path) -> Result<Vec<(String, Entry)>, Error> {
    let malformed = |message: String| Error::malformed(path, message);
    let (header, data_start) = header(bytes).map_err(malformed)?;
    let value =
        json::parse(header).map_err(|message| malformed(format!("the header is {message}")))?;
    let Value::Object(object) = value else {
        return Err(malformed("the header is not a JSON object".to_owned()));
    };
    let mut entries = Vec::new();
    for (name, value) in object.iter().filter(|(name, _)| *name != METADATA) {
        let entry = entry(name, value, file, data_start, bytes.len())
            .map_err(|message| Error::tensor(path, name, message))?;
        entries.push((name.clone(), entry));
    }
    check_distinct(&entries, path)?;
    Ok(entries)
}

/// The text of the header and where the data starts.
fn header(bytes: &[u8]) -> Result<(&str, usize), String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| {
        format!("{} bytes are not a safetensors file, which starts with 8", bytes.len())
    })?;
    let length = u64::from_le_bytes(*length);
    if length > LARGEST_HEADER {
        return Err(format!("a header of {length} bytes is not possible: not a safetensors file"));
    }
    let text =
        usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
            format!(
                "the header has {length} bytes, but only {} follow: the file is cut short",
                rest.len()
            )
        })?;
    let header =
        std::str::from_utf8(text).map_err(|error| format!("the header is not UTF-8: {error}"))?;
    Ok((header, 8 + text.len()))
}

fn entry(
    name: &str,
    value: &Value,
    file: usize,
    start: usize,
    file_len: usize,
) -> Result<Entry, String> {
    let dtype = value.get("dtype").and_then(Value::as_str).ok_or("no `dtype`, a string")?;
    let shape: Vec<usize> = counts(value, "shape")?;
    let offsets = counts(value, "data_offsets")?;
    let &[first, last] = offsets.as_slice() else {
        return Err(format!("`data_offsets` is {offsets:?}; two positions are needed"));
    };
    if first > last {
        return Err(format!("`data_offsets` is {offsets:?}: it ends before it starts"));
    }
    if last > file_len.saturating_sub(start) {
        return Err(format!(
            "ends at byte {last} of the data, of which the file has {}: it is cut short or damaged",
            file_len.saturating_sub(start)
        ));
    }
    if let Some(expected) = byte_length(dtype, &shape)?
        && expected != last - first
    {
        return Err(format!(
            "{} bytes are stored, but shape {shape:?} of {dtype} takes {expected}",
            last - first
        ));
    }
    Ok(Entry {
        file,
        stored_name: name.to_owned(),
        shape,
        encoding: encoding(dtype),
        bytes: start + first..start + last,
        transform: Transform::None,
        groups: None,
    })
}

fn counts(value: &Value, key: &str) -> Result<Vec<usize>, String> {
    value
        .get(key)
        .and_then(Value::as_array)
        .and_then(|list| list.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect())
        .ok_or_else(|| format!("no `{key}`, a list of non-negative integers"))
}

fn encoding(dtype: &str) -> Result<Encoding, String> {
    match dtype {
        "F32" => Ok(Encoding::Dense(Float::F32)),
        "F16" => Ok(Encoding::Dense(Float::F16)),
        "BF16" => Ok(Encoding::Dense(Float::Bf16)),
        other => Err(other.to_owned()),
    }
}

/// Bytes that a tensor takes; `None` for a type that the format's library does not know.
fn byte_length(dtype: &str, shape: &[usize]) -> Result<Option<usize>, String> {
    // Extents of zero hide the others from a product, and every count of rows must be safe.
    let too_many = || format!("shape {shape:?} has more values than can be counted");
    shape
        .iter()
        .try_fold(1usize, |all, extent| all.checked_mul((*extent).max(1)))
        .ok_or_else(too_many)?;
    let values: usize = shape.iter().product();
    let Ok(known) = serde_json::from_value::<Dtype>(dtype.into()) else {
        return Ok(None);
    };
    let bits = values.checked_mul(known.bitsize()).ok_or_else(too_many)?;
    Ok(Some(bits.div_ceil(8)))
}

/// No two tensors sharing bytes. (Names are distinct already: JSON keys.)
fn check_distinct(entries: &[(String, Entry)], path: &Path) -> Result<(), Error> {
    let mut places: Vec<(&Range<usize>, &str)> = entries
        .iter()
        .filter(|(_, entry)| !entry.bytes.is_empty())
        .map(|(n, e)| (&e.bytes, &**n))
        .collect();
    places.sort_by_key(|(bytes, _)| bytes.start);
    for pair in places.windows(2) {
        if let [(first, first_name), (second, second_name)] = pair
            && second.start < first.end
        {
            let message = format!("shares bytes of the file with tensor `{first_name}`");
            return Err(Error::tensor(path, second_name, message));
        }
    }
    Ok(())
}
