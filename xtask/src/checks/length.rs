//! Long files: one subject a file is a habit and no law, so these are pointed out and fail nothing.

use anyhow::Result;

use crate::checks::source;
use crate::workspace::Workspace;

/// How many lines a file may have before it is pointed out.
const LINES: usize = 500;

/// One sentence for every Rust file that is too long.
pub fn warnings(workspace: &Workspace) -> Result<Vec<String>> {
    let sources = source::read_all(workspace.root())?;
    let sizes = sources.iter().map(|source| (source.path.display().to_string(), source.lines));
    Ok(too_long(sizes))
}

fn too_long(sizes: impl Iterator<Item = (String, usize)>) -> Vec<String> {
    sizes
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| {
            format!("{path} has {lines} lines; more than {LINES} are hard to read")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_files_are_pointed_out() {
        let sizes = [("short.rs".to_owned(), LINES), ("long.rs".to_owned(), LINES + 1)];
        let found = too_long(sizes.into_iter());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("long.rs has 501 lines"), "{found:?}");
    }
}
