//! What certain crates never do: read the process environment, write `unsafe`, print. Checked on the tokens of every
//! file, so neither a comment nor a string counts.

use std::path::Path;

use anyhow::Result;

use crate::checks::Violation;
use crate::checks::source::{self, Source, Token};
use crate::workspace::Workspace;

/// Crates that are programs: they may read the environment and print.
const PROGRAMS: &[&str] = &["crates/cli", "xtask"];

/// Crates that may hold `unsafe`, and how often.
const UNSAFE: &[(&str, usize)] = &[
    ("crates/runtime", usize::MAX),
    // The bodies written for an instruction set, and what they share between threads.
    ("crates/kernels", usize::MAX),
    // The calls that map a file into memory and let its pages go.
    ("crates/checkpoint", 2),
];

/// Functions of `std::env` that read or change environment variables.
const ENVIRONMENT: &[&str] = &["var", "var_os", "vars", "vars_os", "set_var", "remove_var"];

/// Functions of well-known crates that read environment variables themselves.
const ENVIRONMENT_ELSEWHERE: &[&str] =
    &["from_env", "from_default_env", "try_from_env", "try_from_default_env"];

const PRINTING: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// Every place that breaks a rule of this page.
pub fn check(workspace: &Workspace) -> Result<Vec<Violation>> {
    Ok(violations(&source::read_all(workspace.root())?))
}

fn violations(sources: &[Source]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for source in sources {
        let program = PROGRAMS.iter().any(|folder| source.path.starts_with(folder));
        if !program {
            violations.extend(environment(source));
            violations.extend(printing(source));
        }
    }
    violations.extend(unsafe_code(sources));
    violations
}

fn violation(path: &Path, token: &Token, rule: impl Into<String>) -> Violation {
    Violation { file: path.to_owned(), line: token.line, rule: rule.into() }
}

/// `env::var(…)` and its kin, also when imported: `use std::env::{self, var}`.
fn environment(source: &Source) -> Vec<Violation> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| !token.test) {
        let after =
            |offset: usize| tokens.get(index + offset).map_or("", |token| token.text.as_str());
        let read = if token.text == "env" && after(1) == ":" && after(2) == ":" {
            match after(3) {
                "{" => tokens[index + 4..]
                    .iter()
                    .map(|token| token.text.as_str())
                    .take_while(|text| *text != "}")
                    .find(|text| ENVIRONMENT.contains(text)),
                name => ENVIRONMENT.contains(&name).then_some(name),
            }
        } else {
            (ENVIRONMENT_ELSEWHERE.contains(&token.text.as_str()) && after(1) == "(")
                .then_some(token.text.as_str())
        };
        if let Some(name) = read {
            let rule = format!(
                "only the programs read environment variables, but here is `{name}`: take a parameter"
            );
            found.push(violation(&source.path, token, rule));
        }
    }
    found
}

/// `println!` and its kin.
fn printing(source: &Source) -> Vec<Violation> {
    let pairs = source.tokens.iter().zip(source.tokens.iter().skip(1));
    pairs
        .filter(|(name, mark)| {
            !name.test && mark.text == "!" && PRINTING.contains(&name.text.as_str())
        })
        .map(|(name, _)| {
            let rule = format!(
                "libraries do not print, but here is `{}!`: report through a callback or tracing",
                name.text
            );
            violation(&source.path, name, rule)
        })
        .collect()
}

/// `unsafe` beyond what its crate may hold, in tests as well.
fn unsafe_code(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (folder, places) in by_crate(sources) {
        let allowed =
            UNSAFE.iter().find(|(name, _)| *name == folder).map_or(0, |(_, allowed)| *allowed);
        let rule = match allowed {
            0 => format!("{folder} may not hold `unsafe`"),
            _ => format!("{folder} may hold `unsafe` in {allowed} place only"),
        };
        let beyond = places.into_iter().skip(allowed);
        found.extend(beyond.map(|(source, token)| violation(&source.path, token, rule.clone())));
    }
    found
}

/// The places of `unsafe`, crate by crate.
fn by_crate(sources: &[Source]) -> Vec<(String, Vec<(&Source, &Token)>)> {
    let mut crates: Vec<(String, Vec<(&Source, &Token)>)> = Vec::new();
    for source in sources {
        let folder = crate_folder(&source.path);
        let places = source
            .tokens
            .iter()
            .filter(|token| token.text == "unsafe")
            .map(|token| (source, token));
        match crates.last_mut() {
            Some((last, all)) if *last == folder => all.extend(places),
            _ => crates.push((folder, places.collect())),
        }
    }
    crates
}

/// `crates/name` or `xtask`.
fn crate_folder(path: &Path) -> String {
    let length = if path.starts_with("crates") { 2 } else { 1 };
    let parts: Vec<_> = path.iter().take(length).map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let source = source::read(path.into(), text).unwrap().0;
        violations(&[source]).into_iter().map(|violation| violation.line).collect()
    }

    const LIBRARY: &str = "crates/engine/src/lib.rs";

    #[test]
    fn libraries_read_no_environment() {
        for text in [
            "fn f() { std::env::var(\"HOME\"); }",
            "fn f() { env::vars_os() }",
            "use std::env::{self, var};",
            "use std::{env::set_var, fs};",
            "fn f() { EnvFilter::from_default_env() }",
        ] {
            assert_eq!(found(LIBRARY, text), [1], "{text}");
            assert_eq!(found("crates/cli/src/main.rs", text), [0; 0], "{text}");
            assert_eq!(
                found(LIBRARY, &format!("#[cfg(test)] mod tests {{ {text} }}")),
                [0; 0],
                "{text}"
            );
        }
        for text in [
            "// std::env::var\nconst V: &str = env!(\"CARGO_PKG_VERSION\");",
            "fn f() { std::env::current_exe(); Command::new(\"a\").env(\"A\", var) }",
            "fn from_env_of(x: u8) { let from_env = x; }",
        ] {
            assert_eq!(found(LIBRARY, text), [0; 0], "{text}");
        }
    }

    #[test]
    fn libraries_do_not_print() {
        assert_eq!(found(LIBRARY, "fn f() {\n  println!(\"a\");\n  std::dbg!(1);\n}"), [2, 3]);
        assert_eq!(found("xtask/src/main.rs", "fn f() { println!(\"a\") }"), [0; 0]);
        assert_eq!(
            found(
                LIBRARY,
                "/// ```\n/// println!(\"a\");\n/// ```\nfn print(x: bool) -> bool { !x }"
            ),
            [0; 0]
        );
        assert_eq!(found(LIBRARY, "#[test]\nfn f() { println!(\"a\") }"), [0; 0]);
    }

    #[test]
    fn unsafe_is_counted_by_crate() {
        let text = "// unsafe\nfn f() { unsafe { a() } }\nunsafe fn g() {}\nunsafe fn h() {}";
        assert_eq!(found("crates/runtime/src/lib.rs", text), [0; 0]);
        assert_eq!(found("crates/checkpoint/src/file.rs", text), [4]);
        assert_eq!(found(LIBRARY, text), [2, 3, 4]);
        assert_eq!(found(LIBRARY, "#[cfg(test)] mod tests { fn f() { unsafe { a() } } }"), [1]);
        let read = |path: &str| source::read(path.into(), "unsafe fn g() {}").unwrap().0;
        let thrice = ["a", "b", "c"].map(|n| read(&format!("crates/checkpoint/src/{n}.rs")));
        assert_eq!(violations(&thrice).len(), 1, "the limit is the crate's, not the file's");
    }
}
