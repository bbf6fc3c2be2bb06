//! `cargo xtask compat`: other people's clients, tests and tools, and a browser, against a server of ours. The
//! programs are in `compat/`; the packages they pin come from PyPI. Nobody needs this to build, run or test the product.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::install::environment::{self, Compilation};
use crate::install::{Installation, Profile};
use crate::process;
use crate::workspace::{Tools, Workspace};

/// How long a server may take until it is ready, compiling included.
const PATIENCE: Duration = Duration::from_secs(180);

/// What runs a program of `compat/`, and where its packages are pinned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Runner {
    /// Python with `requirements.txt`.
    Python,
    /// Python with `requirements-agents.txt`, whose packages want others than those of the clients.
    Agents,
    /// Node with `node/package-lock.json`.
    Node,
}

/// A program of `compat/` and the server it needs.
struct Suite {
    name: &'static str,
    runner: Runner,
    what: &'static str,
    /// Options of the server; none for a program that starts its own.
    server: Option<&'static [&'static str]>,
    /// What the program is told besides the server's address and the model's name.
    arguments: fn(&Setting<'_>) -> Vec<PathBuf>,
}

/// What the programs' arguments come from.
struct Setting<'s> {
    workspace: &'s Workspace,
    binary: &'s Path,
    model: &'s Path,
    /// Where logs and pictures go.
    folder: &'s Path,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "clients",
        runner: Runner::Python,
        what: "the clients openai, anthropic and litellm",
        server: Some(&["--ctx-size", "2048"]),
        arguments: |_| vec!["--context".into(), "2048".into()],
    },
    Suite {
        name: "agents",
        runner: Runner::Agents,
        what: "agent frameworks and programs for Python, and recorded shapes of requests",
        server: Some(&["--ctx-size", "8192"]),
        arguments: |_| Vec::new(),
    },
    Suite {
        name: "node/agents",
        runner: Runner::Node,
        what: "clients of npm, Codex CLI and opencode (needs node and npm)",
        server: Some(&["--ctx-size", "32768", "--max-tokens", "128"]),
        arguments: |_| Vec::new(),
    },
    Suite {
        name: "openai_suite",
        runner: Runner::Python,
        what: "openai-python's own tests",
        server: Some(&["--ctx-size", "512"]),
        arguments: |_| Vec::new(),
    },
    Suite {
        name: "evaluation",
        runner: Runner::Python,
        what: "lm-eval's local-completions",
        server: Some(&["--ctx-size", "2048"]),
        arguments: |setting| vec!["--gguf".into(), setting.model.into()],
    },
    Suite {
        name: "schema",
        runner: Runner::Python,
        what: "schemathesis on /openapi.json",
        server: Some(&["--ctx-size", "256", "--max-tokens", "4", "--parallel", "4"]),
        arguments: |_| Vec::new(),
    },
    Suite {
        name: "llama_suite",
        runner: Runner::Python,
        what: "llama.cpp's server tests",
        server: None,
        arguments: |setting| {
            let (data, cache) = (setting.workspace.data(), setting.workspace.cache());
            let log = setting.folder.join("llama_suite.log");
            let options: [PathBuf; 6] =
                ["--data-folder".into(), data, "--cache-folder".into(), cache, "--log".into(), log];
            [&[setting.binary.into(), setting.model.into()], &options[..]].concat()
        },
    },
    Suite {
        name: "page",
        runner: Runner::Python,
        what: "the chat page in headless Chromium (Debian's package chromium)",
        server: Some(&["--ctx-size", "2048"]),
        arguments: |setting| vec!["--screenshot".into(), setting.folder.join("page.png")],
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
    let needs = |runner: Runner| chosen.iter().any(|suite| suite.runner == runner);
    let python = needs(Runner::Python).then(|| provide(&compat, &folder)).transpose()?;
    let agents = needs(Runner::Agents).then(|| agents(&compat, &folder)).transpose()?;
    if needs(Runner::Node) {
        packages(&compat)?;
    }
    let model = installation.model();
    let setting = Setting { workspace, binary: &binary, model: &model, folder: &folder };
    let mut failed = Vec::new();
    for suite in chosen {
        println!("== {}: {}", suite.name, suite.what);
        let log = suite.name.replace('/', "_");
        let server = suite.server.map(|options| Server::start(&setting, &log, options));
        let server = server.transpose()?;
        let (program, ending) = match suite.runner {
            Runner::Python => (python.clone().unwrap_or_default(), "py"),
            Runner::Agents => (agents.clone().unwrap_or_default(), "py"),
            Runner::Node => ("node".into(), "mjs"),
        };
        let mut command = Command::new(program);
        command.current_dir(&compat).arg(format!("{}.{ending}", suite.name));
        if let Some(server) = &server {
            command.args([&server.address, &server.model]);
        }
        command.args((suite.arguments)(&setting));
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
    let requirements = compat.join("requirements.txt");
    let python = environment::provide(&environment, &requirements, &none, &Compilation::default())?;
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    command.arg("--requirement").arg(compat.join("requirements-litellm.txt"));
    process::run_showing_errors(&mut command)?;
    Ok(python)
}

/// The Python environment of agent frameworks.
fn agents(compat: &Path, folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("agents");
    let requirements = compat.join("requirements-agents.txt");
    environment::provide(&environment, &requirements, &Tools::none(), &Compilation::default())
}

/// The packages of npm. Scripts of packages are not run, but opencode's, which puts its program in place.
fn packages(compat: &Path) -> Result<()> {
    let npm = |arguments: &[&str]| {
        let mut command = Command::new("npm");
        command.current_dir(compat.join("node")).args(arguments);
        process::run_showing_errors(&mut command)
    };
    npm(&["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    npm(&["rebuild", "opencode-ai", "--foreground-scripts"])
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
    fn start(setting: &Setting<'_>, name: &str, options: &[&str]) -> Result<Self> {
        let log = setting.folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(setting.binary);
        command.arg("--data-folder").arg(setting.workspace.data());
        command.arg("--cache-folder").arg(setting.workspace.cache());
        command.arg("serve").arg(setting.model).args(["--port", "0"]).args(options);
        command.stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| process::describe(&command))?;
        let stem = setting.model.file_stem().context("the model has no name")?;
        let model = stem.to_string_lossy().into_owned();
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
            let ending = if suite.runner == Runner::Node { "mjs" } else { "py" };
            let path = workspace.root().join(format!("compat/{}.{ending}", suite.name));
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
