//! Rust files as tokens with their lines: comments and the insides of strings are gone, and it is known which tokens
//! are compiled for tests alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A file, its name relative to the workspace.
pub struct Source {
    /// The path, relative to the workspace.
    pub path: PathBuf,
    /// How many lines it has.
    pub lines: usize,
    /// All tokens in order; groups are flattened into their delimiters and what is between them.
    pub tokens: Vec<Token>,
}

/// A token that rules can be about.
#[derive(Clone, Debug)]
pub struct Token {
    /// An identifier or keyword; a punctuation character; an opening or closing delimiter. Literals are `""`.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
    /// Whether it is compiled for tests, benchmarks or examples alone.
    pub test: bool,
}

/// Reads every Rust file of the workspace's crates.
pub fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut paths)?;
    }
    paths.sort();
    let mut sources = Vec::new();
    let mut test_modules = BTreeSet::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let (source, modules) = read(relative, &text)?;
        sources.push(source);
        test_modules.extend(modules);
    }
    for source in &mut sources {
        if is_test_file(&source.path)
            || test_modules.iter().any(|module| is_of_module(&source.path, module))
        {
            source.tokens.iter_mut().for_each(|token| token.test = true);
        }
    }
    Ok(sources)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Reads one file. Also returns the modules it declares for tests alone, as paths without `.rs`.
pub fn read(path: PathBuf, text: &str) -> Result<(Source, Vec<PathBuf>)> {
    let stream = TokenStream::from_str(text).map_err(|error| {
        let start = error.span().start();
        anyhow!("{}:{}: {error}", path.display(), start.line)
    })?;
    let mut reader =
        Reader { tokens: Vec::new(), modules: Vec::new(), folder: module_folder(&path) };
    reader.flatten(stream, false);
    let source = Source { lines: text.lines().count(), path, tokens: reader.tokens };
    Ok((source, reader.modules))
}

/// Where the files of the modules that a file declares are.
fn module_folder(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| path.ends_with(name));
    if is_root { parent.to_owned() } else { path.with_extension("") }
}

/// By cargo's own layout: tests, benchmarks and examples are programs apart.
fn is_test_file(path: &Path) -> bool {
    let below_crate = path.components().skip_while(|part| part.as_os_str() == "crates").nth(1);
    below_crate.is_some_and(|part| {
        ["tests", "benches", "examples"].iter().any(|name| part.as_os_str() == *name)
    })
}

fn is_of_module(path: &Path, module: &Path) -> bool {
    path.with_extension("") == module || path.starts_with(module)
}

struct Reader {
    tokens: Vec<Token>,
    modules: Vec<PathBuf>,
    folder: PathBuf,
}

impl Reader {
    fn push(&mut self, text: impl Into<String>, line: usize, test: bool) {
        self.tokens.push(Token { text: text.into(), line, test });
    }

    fn flatten(&mut self, stream: TokenStream, test: bool) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        // The item after `#[cfg(test)]` reaches to its `;` or to its first `{…}`.
        let mut test_item = false;
        for (index, tree) in trees.iter().enumerate() {
            let line = tree.span().start().line;
            let test_here = test || test_item;
            match tree {
                TokenTree::Ident(name) => self.push(name.to_string(), line, test_here),
                TokenTree::Literal(_) => self.push("", line, test_here),
                TokenTree::Punct(mark) => {
                    self.push(mark.as_char(), line, test_here);
                    if test_item && mark.as_char() == ';' {
                        self.declare(&trees[..index]);
                        test_item = false;
                    }
                }
                TokenTree::Group(group) => {
                    let (open, close) = delimiters(group.delimiter());
                    self.push(open, line, test_here);
                    self.flatten(group.stream(), test_here);
                    self.push(close, group.span_close().start().line, test_here);
                    match group.delimiter() {
                        Delimiter::Bracket if follows_hash(&trees, index) => {
                            test_item |= is_for_tests(group.stream())
                        }
                        Delimiter::Brace => test_item = false,
                        _ => {}
                    }
                }
            }
        }
    }

    /// Notes the module if what comes before a `;` is `mod name`.
    fn declare(&mut self, before: &[TokenTree]) {
        if let [.., TokenTree::Ident(keyword), TokenTree::Ident(name)] = before
            && keyword == "mod"
        {
            self.modules.push(self.folder.join(name.to_string()));
        }
    }
}

fn delimiters(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

fn follows_hash(trees: &[TokenTree], index: usize) -> bool {
    index > 0 && matches!(&trees[index - 1], TokenTree::Punct(mark) if mark.as_char() == '#')
}

/// Whether an attribute is `test` or a `cfg` that holds only under test: `cfg(test)`, `cfg(all(test, …))`.
fn is_for_tests(attribute: TokenStream) -> bool {
    let text: String = attribute.to_string().chars().filter(|c| !c.is_whitespace()).collect();
    text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        read("crates/a/src/lib.rs".into(), text).unwrap().0.tokens
    }

    fn tested(text: &str, name: &str) -> bool {
        tokens(text).iter().find(|token| token.text == name).expect(name).test
    }

    #[test]
    fn comments_and_strings_are_no_tokens() {
        let found =
            tokens("// unsafe\n/* unsafe */ /// unsafe\nfn f() { \"unsafe\"; r#\"unsafe\"#; 'u' }");
        assert!(found.iter().all(|token| token.text != "unsafe"));
        let f = found.iter().find(|token| token.text == "f").unwrap();
        assert_eq!(f.line, 3);
    }

    #[test]
    fn what_is_for_tests_ends_with_its_item() {
        let text = "fn a() {}\n#[cfg(test)]\nmod b { fn c() {} }\nfn d() {}\n#[cfg(test)] use e::{f};\n#[test] fn g() { h(1); i() }\nfn j() {}";
        for (name, test) in [
            ("a", false),
            ("b", true),
            ("c", true),
            ("d", false),
            ("f", true),
            ("h", true),
            ("i", true),
            ("j", false),
        ] {
            assert_eq!(tested(text, name), test, "{name}");
        }
        assert!(!tested("#[cfg(not(test))] fn a() {}", "a"));
        assert!(!tested("#[cfg(any(test, unix))] fn a() {}", "a"));
        assert!(tested("#[cfg(all(test, unix))] #[allow(dead_code)] fn a() {}", "a"));
    }

    #[test]
    fn modules_for_tests_are_found_in_their_files() {
        let modules =
            |path: &str| read(path.into(), "#[cfg(test)]\nmod checks;\nmod other;").unwrap().1;
        assert_eq!(modules("crates/a/src/lib.rs"), [Path::new("crates/a/src/checks")]);
        assert_eq!(modules("crates/a/src/b.rs"), [Path::new("crates/a/src/b/checks")]);
        let module = Path::new("crates/a/src/checks");
        assert!(is_of_module(Path::new("crates/a/src/checks.rs"), module));
        assert!(is_of_module(Path::new("crates/a/src/checks/mod.rs"), module));
        assert!(!is_of_module(Path::new("crates/a/src/checks2.rs"), module));
    }

    #[test]
    fn test_programs_are_known_by_their_folder() {
        for path in ["crates/a/tests/b.rs", "crates/a/examples/b.rs", "xtask/benches/b.rs"] {
            assert!(is_test_file(Path::new(path)), "{path}");
        }
        for path in ["crates/a/src/tests/b.rs", "crates/tests/src/b.rs", "xtask/src/test.rs"] {
            assert!(!is_test_file(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_no_rust_is_named() {
        let error = read("crates/a/src/lib.rs".into(), "fn a() {\n(").err().unwrap().to_string();
        assert!(error.starts_with("crates/a/src/lib.rs:"), "{error}");
    }
}
