//! Which crate may use which: the arrows of the architecture, and the outside crates that belong to one place only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::checks::Violation;
use crate::process;
use crate::workspace::{Tools, Workspace};

/// Every crate of the workspace and the crates of the workspace it may be built from.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("stablemate-encodings", &[]),
    ("stablemate-kernels", &["stablemate-encodings"]),
    ("stablemate-graph", &[]),
    ("stablemate-checkpoint", &["stablemate-encodings"]),
    ("stablemate-text", &["stablemate-checkpoint"]),
    ("stablemate-models", &["stablemate-graph", "stablemate-checkpoint", "stablemate-encodings"]),
    ("stablemate-runtime", &["stablemate-graph"]),
    ("stablemate-engine", &[]),
    ("stablemate-load", &[]),
    ("stablemate-grammar", &["stablemate-text", "stablemate-engine"]),
    ("stablemate-conversation", &["stablemate-text", "stablemate-grammar"]),
    (
        "stablemate-server",
        &["stablemate-engine", "stablemate-text", "stablemate-grammar", "stablemate-conversation"],
    ),
    (
        "stablemate",
        &[
            "stablemate-encodings",
            "stablemate-kernels",
            "stablemate-graph",
            "stablemate-checkpoint",
            "stablemate-text",
            "stablemate-models",
            "stablemate-runtime",
            "stablemate-engine",
            "stablemate-grammar",
        ],
    ),
    ("stablemate-cli", &["stablemate", "stablemate-server", "stablemate-load"]),
    ("stablemate-fixtures", &["stablemate-checkpoint"]),
    ("xtask", &["stablemate-fixtures"]),
];

/// Programs and not libraries: not even tests may use them as a library.
const PROGRAMS: &[&str] = &["stablemate-cli", "xtask"];

/// Outside crates that only these crates may use, be it in tests.
const CONFINED: &[(&str, &[&str])] = &[
    ("eerie", &["stablemate-runtime"]),
    ("eerie-sys", &["stablemate-runtime"]),
    ("llguidance", &["stablemate-grammar"]),
    ("toktrie", &["stablemate-grammar"]),
    ("tokenizers", &["stablemate-text"]),
    ("minijinja", &["stablemate-text"]),
    ("minijinja-contrib", &["stablemate-text"]),
    ("axum", &["stablemate-server"]),
    ("axum-server", &["stablemate-server"]),
    ("tower-http", &["stablemate-server"]),
    ("utoipa", &["stablemate-server"]),
    ("utoipa-axum", &["stablemate-server"]),
    ("tokio", &["stablemate-server", "stablemate-cli"]),
    ("clap", &["stablemate-cli", "xtask"]),
];

/// A crate of the workspace.
#[derive(Debug, PartialEq)]
struct Package {
    name: String,
    manifest: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, PartialEq)]
struct Dependency {
    name: String,
    /// For tests, examples and benchmarks alone.
    development: bool,
}

/// Every dependency that goes against the tables above.
pub fn check(workspace: &Workspace, tools: &Tools) -> Result<Vec<Violation>> {
    let mut command = tools.cargo(workspace)?;
    command.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata = serde_json::from_slice(&process::output(&mut command)?)
        .context("cargo metadata printed no JSON")?;
    let packages = packages(&metadata).context("cargo metadata has another form than expected")?;
    Ok(violations(&packages, workspace.root()))
}

/// The workspace's packages in what `cargo metadata --no-deps` prints; `None` if that has another form.
fn packages(metadata: &Value) -> Option<Vec<Package>> {
    let package = |package: &Value| {
        let dependencies = package["dependencies"].as_array()?.iter().map(|dependency| {
            Some(Dependency {
                name: dependency["name"].as_str()?.to_owned(),
                development: dependency["kind"].as_str() == Some("dev"),
            })
        });
        Some(Package {
            name: package["name"].as_str()?.to_owned(),
            manifest: package["manifest_path"].as_str()?.into(),
            dependencies: dependencies.collect::<Option<_>>()?,
        })
    };
    metadata["packages"].as_array()?.iter().map(package).collect()
}

fn violations(packages: &[Package], root: &Path) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        let manifest = fs::read_to_string(&package.manifest).unwrap_or_default();
        let mut add = |line, rule| {
            let file = package.manifest.strip_prefix(root).unwrap_or(&package.manifest).to_owned();
            violations.push(Violation { file, line, rule });
        };
        let Some(allowed) = row(DIRECTIONS, &package.name) else {
            let rule = format!(
                "{} has no row in the table of directions (xtask/src/checks/directions.rs)",
                package.name
            );
            add(line_of(&manifest, "name"), rule);
            continue;
        };
        for dependency in &package.dependencies {
            if let Some(rule) = broken_rule(package, dependency, allowed, packages) {
                add(line_of(&manifest, &dependency.name), rule);
            }
        }
    }
    violations
}

/// What a dependency breaks, if it breaks anything.
fn broken_rule(
    package: &Package,
    dependency: &Dependency,
    allowed: &[&str],
    packages: &[Package],
) -> Option<String> {
    let (user, used) = (package.name.as_str(), dependency.name.as_str());
    if let Some(places) = row(CONFINED, used) {
        return (!places.contains(&user))
            .then(|| format!("{used} may be used by {} only, not by {user}", places.join(", ")));
    }
    if !packages.iter().any(|package| package.name == used) {
        return None;
    }
    if dependency.development {
        let program = PROGRAMS.contains(&used);
        return program.then(|| {
            format!("{used} is a program: the tests of {user} may not use it as a library")
        });
    }
    (!allowed.contains(&used)).then(|| match allowed {
        [] => format!("{user} may use no crate of this workspace, but uses {used}"),
        _ => format!("{user} may use {} only, but uses {used}", allowed.join(", ")),
    })
}

fn row<'table>(
    table: &'table [(&str, &'table [&'table str])],
    name: &str,
) -> Option<&'table [&'table str]> {
    table.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
}

/// The first line of a manifest that begins with a key (`key = …`, `key.workspace = …`, `[dependencies.key]`); else 1.
fn line_of(manifest: &str, key: &str) -> usize {
    let begins = |line: &str| {
        let line = line.trim_start();
        let rest = line
            .strip_prefix(key)
            .or_else(|| line.strip_prefix('[')?.split_once(key).map(|(_, rest)| rest));
        rest.is_some_and(|rest| rest.starts_with([' ', '.', '=', ']']))
    };
    manifest.lines().position(begins).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|&(name, development)| Dependency { name: name.to_owned(), development })
            .collect();
        Package {
            name: name.to_owned(),
            manifest: "/w/crates/some/Cargo.toml".into(),
            dependencies,
        }
    }

    fn rules(packages: &[Package]) -> Vec<String> {
        violations(packages, Path::new("/w")).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn the_architecture_passes() {
        let packages: Vec<Package> = DIRECTIONS
            .iter()
            .map(|(name, allowed)| {
                package(name, &allowed.iter().map(|name| (*name, false)).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(rules(&packages), [""; 0]);
    }

    #[test]
    fn an_arrow_the_wrong_way_is_named() {
        let packages = [
            package("stablemate-graph", &[("stablemate-models", false)]),
            package("stablemate-models", &[]),
        ];
        assert_eq!(
            rules(&packages),
            ["stablemate-graph may use no crate of this workspace, but uses stablemate-models"]
        );
        let packages = [
            package("stablemate-cli", &[("stablemate-graph", false)]),
            package("stablemate-graph", &[]),
        ];
        assert_eq!(
            rules(&packages),
            [
                "stablemate-cli may use stablemate, stablemate-server, stablemate-load only, but uses stablemate-graph"
            ]
        );
    }

    #[test]
    fn tests_may_use_fixtures_but_products_may_not() {
        let fixtures = package("stablemate-fixtures", &[]);
        assert_eq!(
            rules(&[package("stablemate-models", &[("stablemate-fixtures", true)]), fixtures]),
            [""; 0]
        );
        let fixtures = package("stablemate-fixtures", &[]);
        assert_eq!(
            rules(&[package("stablemate-models", &[("stablemate-fixtures", false)]), fixtures])
                .len(),
            1
        );
        let packages =
            [package("stablemate", &[("stablemate-cli", true)]), package("stablemate-cli", &[])];
        assert!(rules(&packages)[0].contains("is a program"), "{:?}", rules(&packages));
    }

    #[test]
    fn outside_crates_are_free_unless_confined() {
        assert_eq!(
            rules(&[package("stablemate-text", &[("tokenizers", false), ("serde", false)])]),
            [""; 0]
        );
        for development in [false, true] {
            let found = rules(&[package("stablemate-models", &[("tokenizers", development)])]);
            assert_eq!(
                found,
                ["tokenizers may be used by stablemate-text only, not by stablemate-models"]
            );
        }
    }

    #[test]
    fn a_crate_nobody_entered_in_the_table_is_refused() {
        assert!(rules(&[package("stablemate-new", &[])])[0].contains("no row in the table"));
    }

    #[test]
    fn metadata_is_read() {
        let metadata = json!({"packages": [{
            "name": "stablemate-models",
            "manifest_path": "/w/crates/some/Cargo.toml",
            "dependencies": [{"name": "stablemate-graph", "kind": null}, {"name": "insta", "kind": "dev"}],
        }]});
        let expected =
            package("stablemate-models", &[("stablemate-graph", false), ("insta", true)]);
        assert_eq!(packages(&metadata), Some(vec![expected]));
        assert_eq!(packages(&json!({"packages": [{"name": 1}]})), None);
        assert_eq!(packages(&json!({})), None);
    }

    #[test]
    fn the_line_of_a_dependency() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nserde_json = \"1\"\nserde.workspace = true\n[dependencies.zip]\n";
        assert_eq!(line_of(manifest, "serde"), 5);
        assert_eq!(line_of(manifest, "serde_json"), 4);
        assert_eq!(line_of(manifest, "zip"), 6);
        assert_eq!(line_of(manifest, "absent"), 1);
    }
}
