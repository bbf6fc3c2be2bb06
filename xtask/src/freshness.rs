//! Keeps cargo from building IREE's runtime anew each time.
//!
//! The build script of eerie-sys 0.5.0 asks cargo to watch a folder that the script itself writes to. Cargo compares
//! the times of what it watches with the moment the script began, so the script's own output always looks like a
//! change: every cargo command would run it again and recompile all that depends on it, half a minute each time.
//! Giving that output the time of the script's beginning says what is true: nothing has changed since.
//! Only what lies in the script's own output folder is touched; changed sources are noticed as ever.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The package whose build script watches its own output.
const PACKAGE: &str = "eerie-sys-";

/// Settles every build of the runtime under the target folder this program was built into. To be called after every
/// cargo command that may have built it, and before the first: plain cargo may have.
pub fn settle() {
    let settled = std::env::current_exe().and_then(|program| {
        // <target>/<profile>/xtask
        program.parent().and_then(Path::parent).map_or(Ok(()), settle_in)
    });
    if let Err(error) = settled {
        eprintln!(
            "warning: cargo will build IREE's runtime again, as its build cannot be dated back: {error}"
        );
    }
}

fn settle_in(target: &Path) -> io::Result<()> {
    for profile in children(target)? {
        for run in children(&profile.join("build"))? {
            let name = run.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PACKAGE) {
                settle_run(&run)?;
            }
        }
    }
    Ok(())
}

/// Settles one run of the build script: its folder holds `output`, what it printed, dated back by cargo to the
/// script's beginning, and `out`, what it made.
fn settle_run(run: &Path) -> io::Result<()> {
    let printed = run.join("output");
    if !printed.is_file() {
        return Ok(());
    }
    let begun = printed.metadata()?.modified()?;
    let made = run.join("out");
    for watched in watched(&fs::read_to_string(&printed)?).filter(|path| path.starts_with(&made)) {
        date_back(&watched, begun)?;
    }
    Ok(())
}

/// The paths a build script asks cargo to watch.
fn watched(printed: &str) -> impl Iterator<Item = PathBuf> {
    printed.lines().filter_map(|line| {
        line.strip_prefix("cargo::")
            .or_else(|| line.strip_prefix("cargo:"))?
            .strip_prefix("rerun-if-changed=")
            .map(PathBuf::from)
    })
}

/// Gives everything under a path that is newer than a time that time. A path that is gone is left to cargo.
fn date_back(path: &Path, time: SystemTime) -> io::Result<()> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if metadata.is_dir() {
        for child in children(path)? {
            date_back(&child, time)?;
        }
    }
    if !metadata.is_symlink() && metadata.modified()? > time {
        File::open(path)?.set_modified(time)?;
    }
    Ok(())
}

/// What a folder holds; nothing when there is no such folder.
fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    folder.read_dir()?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn file(path: &Path, text: &str, time: SystemTime) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        File::open(path).unwrap().set_modified(time).unwrap();
    }

    fn time(path: &Path) -> SystemTime {
        path.metadata().unwrap().modified().unwrap()
    }

    #[test]
    fn own_output_is_dated_back_and_nothing_else() {
        let target = tempfile::tempdir().unwrap();
        let run = target.path().join("debug/build/eerie-sys-0123");
        let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let (before, after) = (begun - Duration::from_secs(9), begun + Duration::from_secs(9));
        let source = target.path().join("source.h");
        let out = run.join("out/made");
        let other = run.join("out/other");
        for path in [&source, &other, &out.join("new.h")] {
            file(path, "", after);
        }
        file(&out.join("old.h"), "", before);
        let printed = format!(
            "cargo:rerun-if-changed={}\ncargo::rerun-if-changed={}\nx\ncargo:rerun-if-changed={}\n",
            source.display(),
            out.display(),
            run.join("out/gone").display(),
        );
        file(&run.join("output"), &printed, begun);
        // A package of another name, and the folder where the script itself was compiled.
        let stranger = target.path().join("debug/build/other-0123/out/made/new.h");
        file(&stranger, "", after);
        fs::create_dir_all(target.path().join("debug/build/eerie-sys-4567")).unwrap();

        settle_in(target.path()).unwrap();
        assert_eq!(time(&out.join("new.h")), begun);
        assert_eq!(time(&out), begun, "folders count as well");
        assert_eq!(time(&out.join("old.h")), before);
        for path in [&source, &other, &stranger] {
            assert_eq!(time(path), after, "{}", path.display());
        }
    }

    #[test]
    fn no_target_folder_is_no_error() {
        settle_in(Path::new("/nonexistent")).unwrap();
    }
}
