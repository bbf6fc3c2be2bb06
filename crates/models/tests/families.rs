//! docs/families.md follows from the families' files, the tables of names and the fixtures.

use stablemate_checkpoint::RawConfig;
use stablemate_fixtures::Case;
use stablemate_models::families;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this repository.
fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file and the function of each family: `gemma4_text` → `gemma4`, `describe`.
fn files() -> BTreeMap<String, (String, String)> {
    let table = read(&folder("crates/models/src/families/mod.rs"));
    let row = |line: &str| {
        let (name, path) = line.trim().strip_prefix("(\"")?.split_once("\", ")?;
        let (file, function) = path.strip_suffix("),")?.split_once("::")?;
        Some((name.to_string(), (file.to_string(), function.to_string())))
    };
    table.lines().filter_map(row).collect()
}

/// The first sentence of a file's header, with that of the function where it is not the file's first,
/// and the file's lines of code.
fn difference_and_lines(file: &str, function: &str) -> (String, usize) {
    let text = read(&folder(&format!("crates/models/src/families/{file}.rs")));
    let header: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let header = header.iter().map(|line| line.trim()).take_while(|line| !line.is_empty());
    let header = header.collect::<Vec<_>>().join(" ");
    let sentence = header.split_once(". ").map_or(header.as_str(), |(first, _)| first);
    let mut difference = sentence.trim_end_matches('.').to_string();
    if function != "describe" {
        let (before, _) = text.split_once(&format!("\npub(super) fn {function}(")).unwrap();
        let comment = before.rsplit_once("\n/// ").unwrap().1;
        difference += &format!("; {}", comment.trim_end_matches('.').replacen('W', "w", 1));
    }
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    (difference, text.lines().filter(is_code).count())
}

/// The GGUF architectures whose function names each family.
fn architectures(families: &BTreeMap<String, (String, String)>) -> BTreeMap<String, Vec<String>> {
    let place = folder("crates/checkpoint/src/gguf/architectures");
    let table = read(&place.join("mod.rs"));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in table.lines().filter_map(|line| line.trim().strip_prefix("architecture!(\"")) {
        let (name, rest) = row.split_once("\", ").unwrap();
        let module = rest.split_once(',').unwrap().0;
        let text = read(&place.join(format!("{module}.rs")));
        for family in families.keys().filter(|family| text.contains(&format!("\"{family}\""))) {
            found.entry(family.clone()).or_default().push(name.to_string());
        }
    }
    found
}

/// The fixtures of each family.
fn fixtures() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in Case::all() {
        let path = case.directory.join("config.json");
        let config = RawConfig::from_json(&case.config_text().unwrap(), &path).unwrap();
        let family = families::family(&config).unwrap();
        found.entry(family.to_string()).or_default().push(case.name().to_string());
    }
    found
}

fn code(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

fn document() -> String {
    let (files, fixtures) = (files(), fixtures());
    let architectures = architectures(&files);
    let none = Vec::new();
    let mut text = "# Families\n\nWritten by `WRITE=1 cargo test -p stablemate-models --test families`.\n\n\
        A checkpoint's `model_type` names its family. Every family is read from a directory (Hugging Face, MLX), and \
        from a GGUF file where an architecture is named. Lines are those of code in the family's own file; what \
        families share stands in helper files beside them.\n\n\
        | `model_type` | how it differs | GGUF | lines | fixtures |\n|---|---|---|---:|---|\n"
        .to_string();
    let mut lines: Vec<usize> = Vec::new();
    for (name, (file, function)) in &files {
        let (difference, count) = difference_and_lines(file, function);
        lines.push(count);
        let gguf = code(architectures.get(name).unwrap_or(&none));
        let cases = code(fixtures.get(name).unwrap_or(&none));
        writeln!(text, "| `{name}` | {difference} | {gguf} | {count} | {cases} |").unwrap();
    }
    lines.sort_unstable();
    let (count, median) = (lines.len(), lines[lines.len() / 2]);
    write!(text, "\n{count} families; the median has {median} lines.\n\n## Other names\n\n")
        .unwrap();
    text += "| name | family |\n|---|---|\n";
    for (name, family) in families::other_names() {
        writeln!(text, "| {name} | `{family}` |").unwrap();
    }
    text += "\n## Wrappers\n\nOf these, the text model runs: ";
    let wrappers: Vec<String> = families::wrappers().map(ToString::to_string).collect();
    write!(text, "{}.\n\n## Refused\n\n| `model_type` | reason |\n|---|---|\n", code(&wrappers))
        .unwrap();
    for (name, reason) in families::refused() {
        writeln!(text, "| `{name}` | {reason} |").unwrap();
    }
    text
}

#[test]
fn the_page_of_families_is_up_to_date() {
    let (path, expected) = (folder("docs/families.md"), document());
    if std::env::var_os("WRITE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = read(&path);
    let lines = found.lines().zip(expected.lines());
    let other: Vec<_> = lines.filter(|(found, expected)| found != expected).take(3).collect();
    let update = "WRITE=1 cargo test -p stablemate-models --test families";
    assert!(found == expected, "docs/families.md is out of date ({update}): {other:#?}");
}

#[test]
fn names_are_known_once() {
    let supported = families::supported();
    let refused: Vec<&str> = families::refused().iter().map(|(name, _)| *name).collect();
    let mut names: Vec<&str> = supported.iter().chain(&refused).copied().collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for (name, family) in families::other_names() {
        assert!(supported.contains(&family), "{name} means {family}");
    }
    // A reason that names other families names some that run: "…; granite and mamba2 are".
    for (name, reason) in families::refused() {
        let Some((_, others)) = reason.split_once("; ") else { continue };
        for other in others.trim_end_matches(" is").trim_end_matches(" are").split(" and ") {
            assert!(supported.contains(&other), "{name}: {reason}");
        }
    }
}

#[test]
fn families_import_no_family_and_parts_import_none() {
    let files: Vec<String> = files().into_values().map(|(file, _)| file).collect();
    for file in &files {
        let text = read(&folder(&format!("crates/models/src/families/{file}.rs")));
        for other in files.iter().filter(|other| *other != file) {
            let imports = [format!("super::{other}::"), format!(" {other}::describe")];
            let found = imports.iter().find(|import| text.contains(import.as_str()));
            assert!(found.is_none(), "{file} imports {other}");
        }
    }
    for shared in ["blueprint", "kernels", "parts", "parts/rope"] {
        for entry in fs::read_dir(folder("crates/models/src").join(shared)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                assert!(!read(&path).contains("families::"), "{} knows families", path.display());
            }
        }
    }
}
