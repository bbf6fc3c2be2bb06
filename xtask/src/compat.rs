//! `cargo xtask compat`: other people's clients, tests and tools, and a browser, against a server of ours. The
//! programs are in `compat/`; the packages they pin come from PyPI. Nobody needs this to build, run or test the product.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::{Installation, Profile, environment};
use crate::process;
use crate::workspace::{Tools, Workspace};

/// How long a server may take until it is ready, compiling included.
const PATIENCE: Duration = Duration::from_secs(180);

/// A program of `compat/` and the server it needs.
struct Suite {
    name: &'static str,
    what: &'static str,
    /// The longest sequence of the server, in tokens.
    context: usize,
    /// What the program is told besides the server's address and the model's name.
    arguments: fn(&Installation<'_>, &Path) -> Vec<String>,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "clients",
        what: "the clients openai, anthropic and litellm",
        context: 2048,
        arguments: |_, _| vec!["--context".to_owned(), "2048".to_owned()],
    },
    Suite {
        name: "openai_suite",
        what: "openai-python's own tests",
        context: 512,
        arguments: |_, _| Vec::new(),
    },
    Suite {
        name: "evaluation",
        what: "lm-eval's local-completions",
        context: 2048,
        arguments: |installation, _| {
            vec!["--gguf".to_owned(), installation.model().display().to_string()]
        },
    },
    Suite {
        name: "page",
        what: "the chat page in headless Chromium (Debian's package chromium)",
        context: 2048,
        arguments: |_, folder| {
            vec!["--screenshot".to_owned(), folder.join("page.png").display().to_string()]
        },
    },
];

/// Runs the suites named, or all; or only lists them.
pub fn run(workspace: &Workspace, names: &[String], list: bool) -> Result<()> {
    let chosen = chosen(names)?;
    if list {
        for suite in chosen {
            println!("{:<16} {}", suite.name, suite.what);
        }
        return Ok(());
    }
    let installation = Installation::prepare(workspace)?;
    installation.verify_model()?;
    let binary = installation.build(Profile::Release)?;
    installation.compiler(&binary)?;
    let compat = workspace.root().join("compat");
    let folder = workspace.root().join("target/compat");
    let python = provide(&compat, &folder)?;
    let mut failed = Vec::new();
    for suite in chosen {
        println!("== {}: {}", suite.name, suite.what);
        let server = Server::start(workspace, &installation, &binary, suite, &folder)?;
        let mut command = Command::new(&python);
        command.current_dir(&compat).arg(format!("{}.py", suite.name));
        command.args([&server.address, &server.model]);
        command.args((suite.arguments)(&installation, &folder));
        if process::run(&mut command).is_err() {
            failed.push(suite.name);
        }
    }
    match failed[..] {
        [] => Ok(()),
        _ => bail!(
            "these failed: {}; the servers' logs are in {}",
            failed.join(", "),
            folder.display()
        ),
    }
}

/// The Python environment: litellm pins packages more narrowly than it needs to, so it comes without.
fn provide(compat: &Path, folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("environment");
    let none = Tools::none();
    let python = environment::provide(&environment, &compat.join("requirements.txt"), &none, &[])?;
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.arg("--requirement").arg(compat.join("requirements-litellm.txt"));
    process::run_showing_errors(&mut command)?;
    Ok(python)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Suite>> {
    if let Some(unknown) = names.iter().find(|name| SUITES.iter().all(|suite| suite.name != **name))
    {
        let all: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        bail!("compat/ has no suite {unknown}: there are {}", all.join(", "));
    }
    let wanted = |suite: &&Suite| names.is_empty() || names.iter().any(|name| name == suite.name);
    Ok(SUITES.iter().filter(wanted).collect())
}

/// A server that runs until this is dropped.
struct Server {
    child: Child,
    address: String,
    model: String,
}

impl Server {
    fn start(
        workspace: &Workspace,
        installation: &Installation<'_>,
        binary: &Path,
        suite: &Suite,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{}.log", suite.name));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let model = installation.model();
        let mut command = Command::new(binary);
        command.arg("--data-folder").arg(workspace.data());
        command.arg("--cache-folder").arg(workspace.cache());
        command.arg("serve").arg(&model).args(["--port", "0"]);
        command.args(["--ctx-size", &suite.context.to_string()]);
        command.stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| process::describe(&command))?;
        let name = model.file_stem().context("the model has no name")?;
        let model = name.to_string_lossy().into_owned();
        let mut server = Self { child, address: String::new(), model };
        server.address = server.wait(&log)?;
        Ok(server)
    }

    /// Waits until the server is ready; its address.
    fn wait(&mut self, log: &Path) -> Result<String> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.lines().any(|line| line == "stablemate: ready") {
                return address(&text).context("the server did not say where it listens");
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended ({status}):\n{text}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server was not ready within {} s; see {}", PATIENCE.as_secs(), log.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a server's log.
fn address(log: &str) -> Option<String> {
    let line = log.lines().find_map(|line| line.strip_prefix("stablemate: listening at "))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_programs_of_compat() {
        let workspace = Workspace::find().unwrap();
        for suite in SUITES {
            let path = workspace.root().join(format!("compat/{}.py", suite.name));
            assert!(path.is_file(), "{}", path.display());
        }
        assert!(chosen(&["nothing".to_owned()]).is_err());
        assert_eq!(chosen(&["page".to_owned()]).unwrap().len(), 1);
    }

    #[test]
    fn the_address_is_in_the_log() {
        let log = "something\nstablemate: listening at http://127.0.0.1:4711\nstablemate: ready\n";
        assert_eq!(address(log).as_deref(), Some("http://127.0.0.1:4711"));
        assert_eq!(address("nothing"), None);
    }
}
