//! Names that MLIR accepts.

use crate::{Kernel, TensorType};

/// A symbol that depends on the kernel and its operands only, so that an unrelated change
/// elsewhere in the model does not rename it.
pub(crate) fn decomposition_name(
    kernel: &Kernel,
    types: &[TensorType],
    attributes: &[String],
    taken: impl Fn(&str) -> bool,
) -> String {
    let shapes: Vec<String> = types
        .iter()
        .filter(|ty| ty.rank() > 0)
        .map(|ty| {
            let sizes: Vec<String> = ty.sizes().iter().map(ToString::to_string).collect();
            format!("{}x{}", sizes.join("x"), ty.element)
        })
        .collect();
    let mut name = format!("{}.{}", kernel.short_name(), shapes.join("_"));
    for attribute in attributes {
        let value: String =
            attribute.split(" : ").next().unwrap_or("").chars().map(symbol_character).collect();
        name = format!("{name}.{value}");
    }
    let mut candidate = name.clone();
    let mut n = 1;
    // Same sizes with other labels: another specification.
    while taken(&candidate) {
        n += 1;
        candidate = format!("{name}_{n}");
    }
    candidate
}

fn symbol_character(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '_' }
}

/// A name MLIR accepts bare: letters, digits, `.`, `_`, not beginning with a digit or a dot.
pub(crate) fn symbol(name: &str) -> String {
    let mut text: String = name.chars().map(symbol_character).collect();
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        text.insert(0, '_');
    }
    text
}
