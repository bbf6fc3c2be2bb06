//! Running the compiler as a child process.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::diagnostics::{self, Diagnostic};
use crate::error::{Error, Result};
use crate::target::Target;
use crate::toolchain::Toolchain;

/// The most errors of one compilation that are reported.
const REPORTED: usize = 5;

/// How a compilation that failed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The compiler refused the text.
    Rejected,
    /// The compiler was ended by this signal: a fault of the compiler's.
    Crashed(i32),
    /// The compiler reported success, but wrote nothing.
    NoOutput,
}

/// A compilation that failed.
#[derive(Clone, Debug)]
pub struct CompileFailure {
    /// How it ended.
    pub outcome: Outcome,
    /// The target compiled for.
    pub target: Target,
    /// The first errors.
    pub diagnostics: Vec<Diagnostic>,
    /// A copy of the text, for a report.
    pub input: PathBuf,
}

impl fmt::Display for CompileFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Rejected => {
                write!(f, "the text does not compile for {}", self.target)?;
            }
            Outcome::Crashed(signal) => write!(
                f,
                "the IREE compiler crashed (signal {signal}) compiling for {}",
                self.target
            )?,
            Outcome::NoOutput => {
                write!(f, "the IREE compiler wrote no module for {}", self.target)?
            }
        }
        for diagnostic in &self.diagnostics {
            write!(f, "\n{diagnostic}")?;
        }
        write!(f, "\nThe text is kept in {}", self.input.display())
    }
}

impl std::error::Error for CompileFailure {}

/// Compiles `text` to the file `module` inside `scratch`, an empty folder that is the
/// compiler's own; on failure the text is kept as `kept_input`.
pub(crate) fn compile(
    toolchain: &Toolchain,
    text: &str,
    target: &Target,
    scratch: &Path,
    kept_input: &Path,
) -> Result<PathBuf> {
    // Bare names, and the working directory: no path of this machine gets into the module.
    let (input, output) = ("module.mlir", "module.vmfb");
    let input_path = scratch.join(input);
    let output_path = scratch.join(output);
    fs::write(&input_path, text).map_err(Error::file("write", &input_path))?;
    let program =
        toolchain.compiler().canonicalize().map_err(Error::file("find", &toolchain.compiler()))?;
    let temporary = scratch.canonicalize().map_err(Error::file("find", scratch))?;
    let mut command = Command::new(&program);
    command
        .current_dir(scratch)
        // What a killed compiler leaves behind goes away with the scratch folder.
        .env("TMPDIR", &temporary)
        .arg(input)
        .args(["-o", output])
        .args(target.flags());
    tracing::debug!(?command, "compiling");
    let ended = self::output(&mut command).map_err(Error::file("run", &program))?;

    let written = fs::metadata(&output_path).is_ok_and(|metadata| metadata.len() > 0);
    let outcome = match outcome(ended.status) {
        None if written => return Ok(output_path),
        None => Outcome::NoOutput,
        Some(outcome) => outcome,
    };
    let said = String::from_utf8_lossy(&ended.stderr);
    let kept = fs::write(kept_input, text).map_err(Error::file("write", kept_input));
    if let Err(error) = &kept {
        // The compiler's own complaint matters more.
        tracing::warn!(%error, "the text of a failed compilation could not be kept");
    }
    Err(Error::Compile(Box::new(CompileFailure {
        outcome,
        target: target.clone(),
        diagnostics: diagnostics::parse(&said, text, REPORTED),
        input: kept_input.to_path_buf(),
    })))
}

/// `None` for success.
fn outcome(status: ExitStatus) -> Option<Outcome> {
    match (status.success(), status.signal()) {
        (true, _) => None,
        (false, Some(signal)) => Some(Outcome::Crashed(signal)),
        (false, None) => Some(Outcome::Rejected),
    }
}

/// All children that run.
static CHILDREN: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// A running child that does not outlive us.
struct Running(Arc<Mutex<Child>>);

impl Running {
    fn new(child: Child) -> Self {
        let child = Arc::new(Mutex::new(child));
        let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|other| other.strong_count() > 0);
        children.push(Arc::downgrade(&child));
        Self(child)
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut child = self.lock();
        // Both fail when it has ended already, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Kills the compilers that run: for a program that ends while one of its threads compiles.
pub fn end_compilers() {
    let children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    for child in children.iter().filter_map(Weak::upgrade) {
        // It fails when it has ended already.
        let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }
}

/// Runs a program to its end, with no input, and returns what it said. It is killed if this
/// thread unwinds.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::new(spawn(command)?);
    let (stdout, stderr) = {
        let mut child = running.lock();
        (child.stdout.take(), child.stderr.take())
    };
    // Both pipes are emptied at once: a full one would stop the child.
    let (stdout, stderr) = thread::scope(|scope| {
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = read_all(stderr);
        (stdout.join(), stderr)
    });
    let stdout = stdout.map_err(|_| io::Error::other("the reading thread panicked"))??;
    // The pipes are closed: the child has ended, or is about to.
    let status = running.lock().wait()?;
    Ok(Output { status, stdout, stderr: stderr? })
}

fn read_all(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut contents)?;
    }
    Ok(contents)
}

/// Starts a program. "Text file busy" is waited out: it appears when a program was written just now
/// and another thread has forked meanwhile, whose child holds our file until it executes.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..100 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Output {
        output(Command::new("/bin/sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn outcomes() {
        assert_eq!(outcome(shell("exit 0").status), None);
        assert_eq!(outcome(shell("exit 3").status), Some(Outcome::Rejected));
        let crashed = outcome(shell("kill -SEGV $$").status);
        assert_eq!(crashed, Some(Outcome::Crashed(11)));
    }

    #[test]
    fn much_output_on_both_pipes_does_not_stop_the_child() {
        let output = shell("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 0");
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 300_000));
    }

    #[test]
    fn a_child_is_killed_when_dropped() {
        let mut command = Command::new("/bin/sleep");
        let child = command.arg("1000").spawn().unwrap();
        let id = child.id();
        drop(Running::new(child));
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn a_crash_is_told_as_one() {
        let failure = CompileFailure {
            outcome: Outcome::Crashed(11),
            target: Target::Host,
            diagnostics: Vec::new(),
            input: "/tmp/x.mlir".into(),
        };
        assert_eq!(
            failure.to_string(),
            "the IREE compiler crashed (signal 11) compiling for host\nThe text is kept in /tmp/x.mlir"
        );
    }
}
