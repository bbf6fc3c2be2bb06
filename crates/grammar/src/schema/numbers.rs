//! Numbers in schemas, which llguidance keeps as 64-bit floats and 32-bit decimals.

use serde_json::{Map, Value};

use super::references::shortened;
use super::wrong;
use crate::GrammarError;

/// Beyond 2^53, not every integer is a 64-bit float.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Counts (`minLength`, `maxItems`, …) beyond this are beyond any text.
const LARGEST_COUNT: u64 = 1_000_000;

/// Smaller bounds would have too many digits.
const SMALLEST: f64 = 1e-9;

/// Why a number cannot be a bound, a step or a constant, if it cannot.
pub(super) fn inexact(value: &Value) -> Option<String> {
    let shown = shortened(value);
    let Some(number) = value.as_f64() else { return Some(format!("{shown} is not a number")) };
    let size = number.abs();
    if size >= LARGEST_EXACT {
        return Some(format!("{shown} is too large to be exact; the limit is 2^53"));
    }
    if size != 0.0 && size < SMALLEST {
        return Some(format!(
            "{shown} is too small; 0 and numbers from {SMALLEST} on are supported"
        ));
    }
    None
}

/// A count: a non-negative integer, which may be written `3.0`; none for a limit that no text reaches.
pub(super) fn count(
    pointer: &str,
    keyword: &str,
    value: &Value,
) -> Result<Option<u64>, GrammarError> {
    let whole = |number: f64| {
        (number.fract() == 0.0 && (0.0..1e18).contains(&number)).then_some(number as u64)
    };
    let count = value.as_u64().or_else(|| value.as_f64().and_then(whole));
    match count {
        Some(count) if count <= LARGEST_COUNT => Ok(Some(count)),
        Some(_) if keyword.starts_with("max") => Ok(None),
        None if keyword.starts_with("max") && value.as_f64().is_some_and(|x| x >= 1e18) => Ok(None),
        Some(count) => {
            let message = format!("{count} is too large; at most {LARGEST_COUNT} are possible");
            Err(wrong(pointer, keyword, message))
        }
        None => {
            let message = format!("{} is not a non-negative integer", shortened(value));
            Err(wrong(pointer, keyword, message))
        }
    }
}

/// A bound that is exact, no looser than the one that is asked for; none if no number is below a maximum or above a
/// minimum of this size.
fn inner(value: f64, is_minimum: bool) -> Option<f64> {
    // A bound that lies beyond all exact numbers is the last of them, or leaves none.
    if value.abs() >= LARGEST_EXACT {
        let beyond = is_minimum == (value > 0.0);
        return (!beyond).then(|| (LARGEST_EXACT - 1.0).copysign(value));
    }
    if value != 0.0 && value.abs() < SMALLEST {
        // The next number inside: the smallest one, or zero.
        let away = is_minimum == (value > 0.0);
        return Some(if away { SMALLEST.copysign(value) } else { 0.0 });
    }
    Some(value)
}

/// Copies the bounds of a number. Draft 4's `exclusiveMinimum: true` makes `minimum` exclusive.
pub(super) fn bounds(
    pointer: &str,
    from: &Map<String, Value>,
    to: &mut Map<String, Value>,
) -> Result<(), GrammarError> {
    for (plain, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        for keyword in [plain, exclusive] {
            let Some(value) = from.get(keyword) else { continue };
            if keyword == exclusive && value.is_boolean() {
                if value == true {
                    let bound = to.shift_remove(plain).ok_or_else(|| {
                        wrong(pointer, keyword, format!("true needs {plain} beside it"))
                    })?;
                    to.insert(exclusive.to_owned(), bound);
                }
                continue;
            }
            let shown = shortened(value);
            let Some(number) = value.as_f64() else {
                return Err(wrong(pointer, keyword, format!("{shown} is not a number")));
            };
            let Some(bound) = inner(number, plain == "minimum") else {
                let message = format!("{shown} leaves no number that can be written exactly");
                return Err(wrong(pointer, keyword, message));
            };
            let same = bound == number;
            let bound = if same { value.clone() } else { number_value(bound) };
            to.insert(keyword.to_owned(), bound);
        }
    }
    Ok(())
}

/// A number as JSON, an integer if it is one.
fn number_value(number: f64) -> Value {
    match number.fract() == 0.0 {
        true => Value::from(number as i64),
        false => Value::from(number),
    }
}

/// All steps of one schema. llguidance combines those that meet in `allOf` by their least common multiple in 32 bits
/// without looking, so they must be small enough for every combination.
#[derive(Default)]
pub(super) struct Steps {
    /// Numerators over 10^9.
    seen: Vec<u64>,
}

impl Steps {
    pub(super) fn add(&mut self, pointer: &str, value: &Value) -> Result<(), GrammarError> {
        let error = |message: String| wrong(pointer, "multipleOf", message);
        if let Some(message) = inexact(value) {
            return Err(error(message));
        }
        let number = value.as_f64().unwrap_or_default();
        let scaled = (number * 1e9).round();
        if number <= 0.0 || scaled / 1e9 != number || number > f64::from(u32::MAX) {
            let message = "must be above 0, with at most nine digits";
            return Err(error(format!("{} {message}", shortened(value))));
        }
        let scaled = scaled as u64;
        if !self.seen.contains(&scaled) {
            self.seen.push(scaled);
        }
        if self.seen.len() > 1 && !self.combine() {
            let message = "too many different steps in one schema to be combined exactly";
            return Err(error(message.to_owned()));
        }
        Ok(())
    }

    /// Whether all steps, over their common denominator, have a least common multiple that fits twice over.
    fn combine(&self) -> bool {
        let common = self.seen.iter().fold(1_000_000_000, |common, step| divisor(common, *step));
        let steps = self.seen.iter().map(|step| step / common);
        let mut multiple = 1u64;
        for step in steps {
            let Some(product) = multiple.checked_mul(step) else { return false };
            multiple = product / divisor(multiple, step);
            if product > u64::from(u32::MAX) || multiple > u64::from(u32::MAX >> 1) {
                return false;
            }
        }
        let largest = self.seen.iter().map(|step| step / common).max().unwrap_or(1);
        multiple.checked_mul(largest).is_some_and(|product| product <= u64::from(u32::MAX))
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
