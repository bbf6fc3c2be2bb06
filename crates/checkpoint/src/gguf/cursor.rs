//! Reading primitive values from the front of a GGUF file, never past its end and never allocating
//! more than the file can fill.

use super::metadata::Value;

/// The deepest nesting of arrays. Files in use have none within another.
const DEEPEST: usize = 4;

/// Bounds the memory that arrays can take: a one-byte element in the file becomes a whole
/// [`Value`]. The largest vocabularies have a million tokens and merges together.
const MOST_ELEMENTS: usize = 1 << 24;

/// A position in the bytes of a file.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    elements: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, elements: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.position.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.position..end)).ok_or_else(|| {
            let (start, remaining) = (self.position, self.remaining());
            format!(
                "the file ends at byte {start}: {count} more bytes are needed, {remaining} are left"
            )
        })?;
        self.position += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "internal: wrong length".to_owned())
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A 64-bit count of things that take at least `smallest` bytes each, checked against what is
    /// left of the file.
    pub(super) fn count(&mut self, smallest: usize, what: &str) -> Result<usize, String> {
        let count = self.u64()?;
        let most = self.remaining() / smallest.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => {
                Err(format!("{count} {what}, but the rest of the file has room for {most} at most"))
            }
        }
    }

    /// A string: 64-bit length, then UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a str, String> {
        let length = self.count(1, "bytes of text")?;
        std::str::from_utf8(self.take(length)?)
            .map_err(|error| format!("text is not UTF-8: {error}"))
    }

    /// A metadata value: its type, then its bytes.
    pub(super) fn value(&mut self) -> Result<Value, String> {
        let kind = self.u32()?;
        self.value_of(kind, DEEPEST)
    }

    fn value_of(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => match u8::from_le_bytes(self.array()?) {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(format!("a boolean is {other}; it must be 0 or 1")),
            },
            8 => Value::String(self.string()?.to_owned()),
            9 => self.array_value(depth)?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(format!("unknown value type {kind}; the types are 0 to 12")),
        })
    }

    fn array_value(&mut self, depth: usize) -> Result<Value, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("arrays inside arrays, more than {DEEPEST} deep"));
        };
        let kind = self.u32()?;
        let smallest = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            _ => {
                return Err(format!("unknown array element type {kind}; the types are 0 to 12"));
            }
        };
        let count = self.count(smallest, "array elements")?;
        self.elements = self.elements.saturating_add(count);
        if self.elements > MOST_ELEMENTS {
            return Err(format!("arrays of more than {MOST_ELEMENTS} elements in all"));
        }
        // Not `with_capacity(count)`: the elements come first, then the memory.
        let mut values = Vec::new();
        for element in 0..count {
            let value = self
                .value_of(kind, depth)
                .map_err(|error| format!("element {element}: {error}"))?;
            values.push(value);
        }
        Ok(Value::Array(values))
    }
}
