//! Running other programs: what was run is always shown, and a failure carries the last lines they said.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How many of a program's last lines an error repeats.
const TAIL: usize = 12;

/// The first executable of that name in the folders, as a shell would find it.
pub fn find_program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A command as one could type it: program and arguments, quoted where a shell needs it.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // The cargo that started us is known by its full path; nobody types that.
    let shown =
        if program.ends_with("bin/cargo") { OsStr::new("cargo") } else { program.as_os_str() };
    let mut text = quoted(shown);
    for argument in command.get_args() {
        let _ = write!(text, " {}", quoted(argument));
    }
    text
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a command on our own terminal.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", describe(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", describe(command));
    }
    Ok(())
}

/// Runs a command that installs something: all it says goes to our stderr, and the last lines into the error.
///
/// Its stdout goes straight to our stderr, so that it still sees a terminal there and may show its progress.
pub fn run_showing_errors(command: &mut Command) -> Result<()> {
    let mut child = command
        .stdout(Stdio::from(io::stderr()))
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", describe(command)))?;
    let mut last = VecDeque::with_capacity(TAIL);
    if let Some(errors) = child.stderr.take() {
        for line in BufReader::new(errors).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            eprintln!("{line}");
            if last.len() == TAIL {
                last.pop_front();
            }
            last.push_back(line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let said = Vec::from(last).join("\n  ");
        bail!("{} failed ({status}); it said last:\n  {said}", describe(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed; `None` when it cannot be run or fails.
pub fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, its errors on our terminal, and returns what it printed.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", describe(command)))?;
    if !output.status.success() {
        bail!("{} failed ({})", describe(command), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_one_would_type_them() {
        let mut command = Command::new("/home/me/.rustup/toolchains/stable/bin/cargo");
        command.args(["run", "--release", "it's so", ""]);
        assert_eq!(describe(&command), r"cargo run --release 'it'\''s so' ''");
        assert_eq!(describe(&Command::new("/usr/bin/python3")), "/usr/bin/python3");
    }

    #[test]
    fn a_failure_repeats_what_the_program_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 100 >&2; exit 3"]);
        let message = run_showing_errors(&mut command).unwrap_err().to_string();
        assert!(message.contains("exit status: 3"), "{message}");
        assert!(message.ends_with("\n  99\n  100"), "{message}");
        assert!(!message.contains("\n  88\n"), "{message}");
        assert!(run_showing_errors(&mut Command::new("true")).is_ok());
    }

    #[test]
    fn programs_are_found_like_a_shell_does() {
        let folders = ["/nonexistent".into(), "/bin".into(), "/usr/bin".into()];
        assert!(find_program("sh", &folders).is_some());
        assert_eq!(find_program("sh", &["/nonexistent".into()]), None);
        // A folder of that name, or a file one may not execute, is no program.
        assert_eq!(find_program("etc", &["/".into()]), None);
        assert_eq!(find_program("passwd", &["/etc".into()]), None);
    }
}
