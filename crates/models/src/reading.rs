//! Reading a configuration's keys with the checks that families share.

use crate::ModelError;
use stablemate_checkpoint::{FromConfig, RawConfig};
use std::fmt::Display;

/// Checked reads. Each error names the file, the key, the value found and the values that would do.
pub trait Read {
    /// The refusal of a value: "`key` is `found`, but `expected`".
    fn refuse(&self, key: &str, found: impl Display, expected: impl Display) -> ModelError;

    /// `Ok` where `holds`, else the refusal.
    ///
    /// # Errors
    /// The condition does not hold.
    fn check(
        &self,
        holds: bool,
        key: &str,
        found: impl Display,
        expected: impl Display,
    ) -> Result<(), ModelError> {
        if holds { Ok(()) } else { Err(self.refuse(key, found, expected)) }
    }

    /// `value`, if it is positive and finite in f32, which graphs compute in.
    ///
    /// # Errors
    /// Other values.
    fn positive(&self, key: &str, value: f64) -> Result<f64, ModelError> {
        let rounded = value as f32;
        let expected = "it must be positive and neither vanish nor overflow in f32";
        self.check(rounded.is_finite() && rounded > 0.0, key, value, expected).map(|()| value)
    }

    /// `value`, if it is finite in f32.
    ///
    /// # Errors
    /// Other values.
    fn finite(&self, key: &str, value: f64) -> Result<f64, ModelError> {
        self.check((value as f32).is_finite(), key, value, "it must be finite in f32")
            .map(|()| value)
    }

    /// The positive integer of `key`, below `limit`.
    ///
    /// # Errors
    /// No such key, other values.
    fn size(&self, key: &str, limit: usize) -> Result<usize, ModelError>;

    /// The positive integer of `key`, below `limit`; `default` where the key is absent or null.
    ///
    /// # Errors
    /// Other values.
    fn size_or(&self, key: &str, limit: usize, default: usize) -> Result<usize, ModelError>;

    /// The number of `key`, which must be there and positive.
    ///
    /// # Errors
    /// No such key, other values.
    fn require_positive(&self, key: &str) -> Result<f64, ModelError>;

    /// The number of `key`, positive; `default` where the key is absent or null.
    ///
    /// # Errors
    /// Other values.
    fn positive_or(&self, key: &str, default: f64) -> Result<f64, ModelError>;

    /// The boolean of `key`; `default` where the key is absent or null.
    ///
    /// # Errors
    /// A value of another type.
    fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError>;

    /// `key`'s value: absent means `default`, null means none.
    ///
    /// # Errors
    /// A value of another type.
    fn or_default<T: FromConfig>(&self, key: &str, default: T) -> Result<Option<T>, ModelError>;

    /// A bound of scores or logits, positive; absent means `default`, null means none.
    ///
    /// # Errors
    /// Other values.
    fn cap(&self, key: &str, default: Option<f64>) -> Result<Option<f32>, ModelError>;

    /// Refuses every value of `key` but those in which the family's arithmetic has no part.
    ///
    /// # Errors
    /// The key is true, and a family that does not honour it says why.
    fn must_be_off(&self, key: &str, expected: &str) -> Result<(), ModelError>;
}

/// Larger sizes overflow the products of sizes that shapes are made of.
pub const SIZE_LIMIT: usize = 1 << 30;

impl Read for RawConfig {
    fn refuse(&self, key: &str, found: impl Display, expected: impl Display) -> ModelError {
        ModelError::Unsupported {
            file: self.source().to_path_buf(),
            key: key.to_string(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    fn size(&self, key: &str, limit: usize) -> Result<usize, ModelError> {
        let value: usize = self.require(key)?;
        self.check(value > 0, key, value, "it must be positive")?;
        self.check(value < limit, key, value, format_args!("it must be below {limit}"))?;
        Ok(value)
    }

    fn size_or(&self, key: &str, limit: usize, default: usize) -> Result<usize, ModelError> {
        if self.contains(key) {
            return self.size(key, limit);
        }
        self.ignore(&[key]);
        Ok(default)
    }

    fn require_positive(&self, key: &str) -> Result<f64, ModelError> {
        self.positive(key, self.require(key)?)
    }

    fn positive_or(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        self.get(key)?.map_or(Ok(default), |value| self.positive(key, value))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    fn or_default<T: FromConfig>(&self, key: &str, default: T) -> Result<Option<T>, ModelError> {
        let null = self.is_null(key);
        let value = self.get(key)?;
        Ok(if null { None } else { Some(value.unwrap_or(default)) })
    }

    fn cap(&self, key: &str, default: Option<f64>) -> Result<Option<f32>, ModelError> {
        let cap = match default {
            Some(default) => self.or_default(key, default)?,
            None => self.get(key)?,
        };
        if let Some(cap) = cap {
            self.positive(key, cap)?;
        }
        Ok(cap.map(|cap| cap as f32))
    }

    fn must_be_off(&self, key: &str, expected: &str) -> Result<(), ModelError> {
        let on = self.flag(key, false)?;
        self.check(!on, key, on, expected)
    }
}
