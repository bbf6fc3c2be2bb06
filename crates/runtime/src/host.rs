//! Which processor this is, for the keys of modules compiled for it.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// Linux' description of the processors.
const DESCRIPTION: &str = "/proc/cpuinfo";

/// The lines of the description that decide what a compiler may use; the first six are x86's, the
/// others Arm's.
const FIELDS: [&str; 10] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "flags",
    "CPU implementer",
    "CPU variant",
    "CPU part",
    "Features",
];

/// A text that differs between machines for which `--iree-llvmcpu-target-cpu=host` can compile
/// differently.
pub(crate) fn processor() -> Result<String> {
    let path = Path::new(DESCRIPTION);
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    Ok(describe(&text))
}

/// The deciding fields of the first processor.
fn describe(text: &str) -> String {
    let mut description = std::env::consts::ARCH.to_owned();
    for line in text.lines().take_while(|line| !line.trim().is_empty()) {
        if let Some((field, value)) = line.split_once(':')
            && FIELDS.contains(&field.trim())
        {
            description.push('\n');
            description.push_str(field.trim());
            description.push('=');
            description.push_str(value.trim());
        }
    }
    description
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_count_and_clock_rates_do_not() {
        let text = "processor\t: 0\nmodel\t\t: 2\ncpu MHz\t\t: 2596.096\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: other\n";
        let expected = format!("{}\nmodel=2\nflags=fpu avx2", std::env::consts::ARCH);
        assert_eq!(describe(text), expected);
        assert_eq!(describe(&text.replace("2596", "1200")), expected);
        assert_ne!(describe(&text.replace("avx2", "avx512f")), expected);
    }

    #[test]
    fn this_machine_is_described() {
        let description = processor().unwrap();
        assert!(description.contains("lags=") || description.contains("Features="));
    }
}
