//! `cargo xtask fixtures`: makes the reference answers again, with the Python programs of `oracle/` and the packages
//! they pin. Nobody needs this to build, run or test the product: the answers are committed.

use std::process::Command;

use anyhow::{Result, bail};

use crate::install::environment::{self, Compilation};
use crate::process;
use crate::workspace::{Tools, Workspace};

/// The programs in the order in which they run, and what each makes. `oracle/README.md` says more.
const PROGRAMS: &[(&str, &str)] = &[
    ("weights.py", "nothing: checks the function that fills the tiny models"),
    ("make_fixtures.py", "fixtures/<case>/"),
    ("smollm2.py", "fixtures/smollm2/"),
    ("gguf_blocks.py", "fixtures/gguf_blocks.json"),
    ("tokenizers_fixtures.py", "fixtures/tokenizers/<kind>/"),
    ("chat_templates.py", "fixtures/chat_templates.json"),
    ("mlx_quantize.py", "fixtures/mlx/"),
];

/// Runs the programs named, or all; or only lists them.
pub fn run(workspace: &Workspace, names: &[String], list: bool) -> Result<()> {
    let chosen = chosen(names)?;
    if list {
        println!(
            "In oracle/, with the packages of requirements.txt (about 6 GB, in target/oracle):"
        );
        for (name, makes) in chosen {
            println!("  {name:<24} makes {makes}");
        }
        return Ok(());
    }
    let oracle = workspace.root().join("oracle");
    let folder = workspace.root().join("target/oracle");
    let requirements = oracle.join("requirements.txt");
    let python =
        environment::provide(&folder, &requirements, &Tools::none(), &Compilation::default())?;
    for (name, makes) in chosen {
        eprintln!("oracle/{name} makes {makes}");
        process::run(Command::new(&python).arg(name).current_dir(&oracle))?;
    }
    eprintln!("What has changed (nothing, if all is well):");
    process::run(
        Command::new("git").args(["status", "--short", "fixtures"]).current_dir(workspace.root()),
    )
}

fn chosen(names: &[String]) -> Result<Vec<(&'static str, &'static str)>> {
    let known = |name: &str| PROGRAMS.iter().any(|(program, _)| *program == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = PROGRAMS.iter().map(|(program, _)| *program).collect();
        bail!("oracle/ has no program {unknown} that makes fixtures: there are {}", all.join(", "));
    }
    Ok(PROGRAMS
        .iter()
        .filter(|(name, _)| names.is_empty() || names.iter().any(|one| one == name))
        .copied()
        .collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn programs_are_chosen_by_name_in_their_own_order() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(chosen(&[]).unwrap().len(), PROGRAMS.len());
        let some = chosen(&names(&["smollm2.py", "weights.py"])).unwrap();
        assert_eq!(
            some.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["weights.py", "smollm2.py"]
        );
        let error = chosen(&names(&["cases.py"])).unwrap_err().to_string();
        assert!(error.contains("no program cases.py") && error.contains("smollm2.py"), "{error}");
    }

    #[test]
    fn every_program_exists() {
        let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("oracle");
        for (name, _) in PROGRAMS {
            assert!(oracle.join(name).is_file(), "oracle/{name}");
        }
    }
}
