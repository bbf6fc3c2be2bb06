//! What this project forbids itself and no compiler checks: dependency directions, and things that occur only in
//! certain crates. Each rule is a table; the code only reads tables.

pub mod directions;
pub mod invariants;
pub mod length;
mod source;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, relative to the workspace.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The rule, and how it is broken.
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.rule)
    }
}

/// Prints the violations, if there are any, and makes an error of them.
pub fn enforce(mut violations: Vec<Violation>) -> Result<()> {
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => bail!("1 place breaks a rule"),
        count => bail!("{count} places break a rule"),
    }
}
