//! Reading the compiler's wheel: a zip file whose `RECORD` lists each member's SHA-256.
//!
//! Source: the "Binary distribution format" specification of the Python packaging guide.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::VERSION;
use super::manifest::InstalledFile;
use crate::error::{Error, Result};
use crate::files;

/// The project's name as its metadata spells it.
const PROJECT: &str = "iree-base-compiler";

/// The folder of the members we need; their names in the installation are relative to it.
const LIBRARIES: &str = "iree/compiler/_mlir_libs/";

/// The members without which nothing compiles: the programs `iree-compile` and `iree-lld` (which links
/// the CPU code) are small and load the library from their own folder.
const REQUIRED: [&str; 3] = ["iree-compile", "iree-lld", "libIREECompiler.so"];

/// Bitcode that the `rocm` target links; the other targets need no further files.
const PLATFORM_LIBRARIES: &str = "iree_platform_libs/";

/// The largest text member (metadata) that is read; the real ones have 20 KB.
const TEXT_LIMIT: u64 = 4 << 20;

/// The largest file that is unpacked; the real library has 336 MB.
const FILE_LIMIT: u64 = 4 << 30;

/// An opened wheel whose name, version and machine have been checked.
pub(super) struct Wheel {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// The SHA-256 (as `RECORD` writes it) and size by member name.
    record: HashMap<String, (String, u64)>,
}

impl Wheel {
    /// Opens the wheel at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        let archive = ZipArchive::new(BufReader::new(file))
            .map_err(|error| wrong(path, format!("it is not a wheel ({error})")))?;
        let mut wheel = Self { path: path.to_path_buf(), archive, record: HashMap::new() };
        let folder = wheel.check_metadata()?;
        wheel.check_machine(&folder)?;
        wheel.read_record(&folder)?;
        Ok(wheel)
    }

    /// The members to install, by their name in the installation, with their size.
    pub(super) fn needed(&self) -> Result<Vec<(String, u64)>> {
        let mut needed = Vec::new();
        for name in REQUIRED {
            let (_, bytes) = self.record.get(&member(name)).ok_or_else(|| {
                wrong(&self.path, format!("its RECORD lists no {}", member(name)))
            })?;
            needed.push((name.to_owned(), *bytes));
        }
        let mut platform: Vec<_> = self
            .record
            .iter()
            .filter_map(|(path, (_, bytes))| {
                let name = path.strip_prefix(LIBRARIES)?;
                let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
                (name.starts_with(PLATFORM_LIBRARIES) && plain && !name.contains(".."))
                    .then(|| (name.to_owned(), *bytes))
            })
            .collect();
        platform.sort();
        needed.extend(platform);
        if let Some((name, bytes)) = needed.iter().find(|(_, bytes)| *bytes > FILE_LIMIT) {
            return Err(wrong(&self.path, format!("{name} has {bytes} bytes")));
        }
        Ok(needed)
    }

    /// Unpacks the member `name` to `target`, checking it against `RECORD`; `wrote` is told of
    /// every block written.
    pub(super) fn unpack(
        &mut self,
        name: &str,
        target: &Path,
        wrote: &mut dyn FnMut(u64),
    ) -> Result<InstalledFile> {
        let path = self.path.clone();
        let (recorded, recorded_bytes) = self
            .record
            .get(&member(name))
            .cloned()
            .ok_or_else(|| wrong(&path, format!("its RECORD lists no {}", member(name))))?;
        let mut source = self
            .archive
            .by_name(&member(name))
            .map_err(|error| wrong(&path, format!("{}: {error}", member(name))))?;
        let mut file = File::create_new(target).map_err(Error::file("write", target))?;
        let mut hasher = Sha256::new();
        let mut block = vec![0; files::BLOCK];
        let mut bytes = 0;
        loop {
            let count = source
                .read(&mut block)
                .map_err(|error| wrong(&path, format!("{}: {error}", member(name))))?;
            let Some(read) = block.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            bytes += count as u64;
            if bytes > recorded_bytes {
                break;
            }
            hasher.update(read);
            file.write_all(read).map_err(Error::file("write", target))?;
            wrote(count as u64);
        }
        let digest = hasher.finalize();
        if bytes != recorded_bytes || BASE64_URL_SAFE_NO_PAD.encode(digest) != recorded {
            return Err(wrong(
                &path,
                format!(
                    "{} is not what its RECORD says: the file is damaged; get it again",
                    member(name)
                ),
            ));
        }
        file.sync_all().map_err(Error::file("write", target))?;
        Ok(InstalledFile { path: name.to_owned(), bytes, sha256: files::hexadecimal(&digest) })
    }

    /// Checks the project's name and version; returns the folder of the metadata, with its slash.
    fn check_metadata(&mut self) -> Result<String> {
        let name = self
            .archive
            .file_names()
            .filter_map(std::result::Result::ok)
            .find(|name| name.ends_with(".dist-info/METADATA") && name.matches('/').count() == 1)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| wrong(&self.path, "it has no .dist-info/METADATA".to_owned()))?;
        let text = self.text(&name)?;
        let field = |field: &str| {
            text.lines()
                .take_while(|line| !line.is_empty())
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))
                .unwrap_or("unknown")
                .to_owned()
        };
        let (project, version) = (field("Name"), field("Version"));
        if project != PROJECT || version != VERSION {
            return Err(wrong(
                &self.path,
                format!("it is {project} {version}; this program needs {PROJECT} {VERSION}"),
            ));
        }
        Ok(name.trim_end_matches("METADATA").to_owned())
    }

    /// Checks that one of the wheel's tags is for this machine.
    fn check_machine(&mut self, folder: &str) -> Result<()> {
        let text = self.text(&format!("{folder}WHEEL"))?;
        let tags: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("Tag: ")).collect();
        let machine = std::env::consts::ARCH;
        if tags.iter().any(|tag| tag.contains("linux") && tag.ends_with(machine)) {
            return Ok(());
        }
        Err(wrong(
            &self.path,
            format!("it is for {}; this machine is linux {machine}", tags.join(", ")),
        ))
    }

    fn read_record(&mut self, folder: &str) -> Result<()> {
        let text = self.text(&format!("{folder}RECORD"))?;
        for line in text.lines() {
            // Names with commas are quoted; none that we need has one.
            let mut fields = line.rsplitn(3, ',');
            let (size, hash, name) = (fields.next(), fields.next(), fields.next());
            if let (Some(Ok(size)), Some(hash), Some(name)) = (
                size.map(str::parse::<u64>),
                hash.and_then(|hash| hash.strip_prefix("sha256=")),
                name,
            ) {
                self.record.insert(name.to_owned(), (hash.to_owned(), size));
            }
        }
        Ok(())
    }

    /// A small text member.
    fn text(&mut self, name: &str) -> Result<String> {
        let path = self.path.clone();
        let unreadable = |reason: String| wrong(&path, format!("{name}: {reason}"));
        let mut source =
            self.archive.by_name(name).map_err(|error| unreadable(error.to_string()))?;
        if source.size() > TEXT_LIMIT {
            return Err(unreadable(format!("it has {} bytes", source.size())));
        }
        let mut text = String::new();
        source
            .by_ref()
            .take(TEXT_LIMIT)
            .read_to_string(&mut text)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(text)
    }
}

/// A member's name inside the wheel.
fn member(name: &str) -> String {
    format!("{LIBRARIES}{name}")
}

fn wrong(wheel: &Path, reason: String) -> Error {
    Error::Wheel { wheel: wheel.to_path_buf(), reason }
}
