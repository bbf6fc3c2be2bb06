//! Large files, written by all cores and never held in memory: a head, and stretches filled independently.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};

use crate::synth::fill::{Fill, mix};

/// About how many bytes are made at a time.
const PIECE: usize = 1 << 20;

/// A stretch of the file.
pub struct Region {
    /// Where it begins, from the beginning of the file.
    pub offset: u64,
    /// How long it is: a multiple of the fill's unit.
    pub bytes: usize,
    /// What its random numbers begin with.
    pub seed: u64,
    /// What it is filled with.
    pub fill: Fill,
}

/// A file to write.
pub struct Layout {
    /// The first bytes.
    pub head: Vec<u8>,
    /// What follows; holes between regions are zero.
    pub regions: Vec<Region>,
}

impl Layout {
    /// The length of the file.
    pub fn length(&self) -> u64 {
        let ends = self.regions.iter().map(|region| region.offset + region.bytes as u64);
        ends.max().unwrap_or(0).max(self.head.len() as u64)
    }

    /// Whether this very file is there already: the same head, which names every tensor, and the same length.
    ///
    /// Files get their name only when they are whole.
    pub fn is_at(&self, path: &Path) -> bool {
        let mut head = vec![0; self.head.len()];
        path.metadata().is_ok_and(|data| data.len() == self.length())
            && File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok()
            && head == self.head
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let write = || -> std::io::Result<()> {
            file.set_len(self.length())?;
            file.write_all_at(&self.head, 0)?;
            self.write_regions(&file)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_regions(&self, file: &File) -> std::io::Result<()> {
        let pieces: Vec<Piece> = self.regions.iter().flat_map(pieces).collect();
        let next = AtomicUsize::new(0);
        let work = || -> std::io::Result<()> {
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                bytes.resize(piece.bytes, 0);
                piece.fill.write(piece.seed, &mut bytes);
                file.write_all_at(&bytes, piece.offset)?;
            }
            Ok(())
        };
        let workers = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

/// A part of a region that is made at once. Its seed is its own, so that any thread can make it.
struct Piece<'region> {
    offset: u64,
    bytes: usize,
    seed: u64,
    fill: &'region Fill,
}

fn pieces(region: &Region) -> impl Iterator<Item = Piece<'_>> {
    let unit = region.fill.unit().max(1);
    let size = (PIECE / unit).max(1) * unit;
    (0..region.bytes.div_ceil(size)).map(move |index| Piece {
        offset: region.offset + (index * size) as u64,
        bytes: size.min(region.bytes - index * size),
        seed: mix(region.seed.wrapping_add(index as u64)),
        fill: &region.fill,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let fill = Fill::Codes;
        let region = |offset, bytes, seed| Region { offset, bytes, seed, fill: fill.clone() };
        let fixed = Region { offset: 8, bytes: 3, seed: 0, fill: Fill::Bytes(vec![1, 2, 3]) };
        Layout {
            head: b"head".to_vec(),
            regions: vec![fixed, region(16, 3 * PIECE + 64, 1), region(4 * PIECE as u64, 80, 2)],
        }
    }

    #[test]
    fn a_file_is_the_same_each_time_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["one", "two"].map(|name| folder.path().join(name));
        for path in &paths {
            assert!(!layout().is_at(path));
            layout().write(path).unwrap();
            assert!(layout().is_at(path));
        }
        let [one, two] = paths.map(|path| std::fs::read(path).unwrap());
        assert!(one == two);
        assert_eq!(one.len() as u64, layout().length());
        assert_eq!(&one[..16], b"head\0\0\0\0\x01\x02\x03\0\0\0\0\0");
        // Pieces of a region have numbers of their own.
        assert_ne!(one[16..80], one[16 + PIECE..80 + PIECE]);
        assert!(one[4 * PIECE..].iter().any(|byte| *byte != 0));
    }

    #[test]
    fn another_head_or_length_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        layout().write(&path).unwrap();
        let other_head = Layout { head: b"HEAD".to_vec(), ..layout() };
        assert!(!other_head.is_at(&path));
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        assert!(!layout().is_at(&path));
    }
}
