//! The resident memory of a process of this machine, from Linux's `/proc`.

use std::fs;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::LoadError;
use crate::error::parameter;

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Before the first request.
    pub at_start: u64,
    /// The most seen while the first fifth of the requests ended.
    pub warm: u64,
    /// The most seen in all.
    pub highest: u64,
    /// After the last request.
    pub at_end: u64,
}

impl Memory {
    /// Bytes by which the end lies above the warm-up.
    pub fn growth(&self) -> u64 {
        self.at_end.saturating_sub(self.warm)
    }
}

/// Looks at a process now and then.
pub struct Watch {
    process: u32,
    seen: Mutex<(Memory, Instant)>,
}

impl Watch {
    /// # Errors
    /// [`LoadError::Process`] if there is no such process or no `/proc`.
    pub fn new(process: u32) -> Result<Self, LoadError> {
        if process == 0 {
            return Err(parameter("the server's process", process, "the id of a process"));
        }
        let now = resident(process)?;
        let memory = Memory { at_start: now, warm: now, highest: now, at_end: now };
        Ok(Self { process, seen: Mutex::new((memory, Instant::now())) })
    }

    /// Looks, but not more than ten times a second. A process that has ended is no memory: the requests tell of it.
    pub fn look(&self, warm: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.1.elapsed() >= Duration::from_millis(100) {
            Self::note(self.process, &mut seen.0, warm);
            seen.1 = Instant::now();
        }
    }

    /// Looks a last time.
    pub fn finish(self) -> Memory {
        let (mut memory, _) = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        Self::note(self.process, &mut memory, true);
        memory
    }

    fn note(process: u32, memory: &mut Memory, warm: bool) {
        let Ok(now) = resident(process) else { return };
        memory.highest = memory.highest.max(now);
        if !warm {
            memory.warm = memory.warm.max(now);
        }
        memory.at_end = now;
    }
}

/// `VmRSS` of `/proc/<id>/status`, in bytes.
fn resident(process: u32) -> Result<u64, LoadError> {
    let path = format!("/proc/{process}/status");
    let wrong = |reason: String| LoadError::Process { process, path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number
        .and_then(|kibibytes| kibibytes.checked_mul(1024))
        .ok_or_else(|| wrong("it has no line `VmRSS: <number> kB`".to_owned()))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_grows() {
        let watch = Watch::new(std::process::id()).unwrap();
        let ballast = vec![1_u8; 64 << 20];
        let memory = watch.finish();
        assert!(ballast.iter().all(|byte| *byte == 1));
        assert!(memory.at_start > 0);
        assert!(memory.growth() > 32 << 20, "{memory:?}");
    }

    #[test]
    fn no_process() {
        assert!(matches!(Watch::new(u32::MAX), Err(LoadError::Process { .. })));
        assert!(matches!(Watch::new(0), Err(LoadError::Parameter { .. })));
    }
}
