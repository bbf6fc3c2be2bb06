//! What else the machine does: whether a measurement can be trusted, and a neighbour that keeps one core busy.
//!
//! Linux counts the time of each process and of all cores in hundredths of a second (`/proc/PID/stat`, `/proc/stat`).

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The unit of `/proc`, in seconds: fixed by Linux's interface.
const TICK: f64 = 0.01;

/// The name of the processor.
pub fn processor() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// Whether the processor has tiles (AMX).
pub fn has_tiles() -> bool {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    information.split_whitespace().any(|word| word == "amx_int8")
}

/// How many cores may be used.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Computing time since some moment.
pub struct Watch {
    start: Instant,
    machine: f64,
    /// Each process and its time at the start.
    processes: Vec<(u32, f64)>,
}

/// What was computed while one process was measured, in cores: 1 is one core, all the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// By processes outside the comparison.
    pub others: f64,
    /// By the sides that should have been waiting.
    pub waiting: f64,
}

impl Watch {
    /// Begins, with the processes of all sides.
    pub fn start(processes: impl Iterator<Item = u32>) -> Self {
        let processes = processes.map(|process| (process, time_of(process))).collect();
        Self { start: Instant::now(), machine: time_of_all(), processes }
    }

    /// Ends; the process at index `measured` was the one to work, the others waited.
    pub fn stop(&self, measured: usize) -> Load {
        let seconds = self.start.elapsed().as_secs_f64().max(TICK);
        let spent = |(process, before): &(u32, f64)| time_of(*process) - before;
        let spent: Vec<f64> = self.processes.iter().map(spent).collect();
        let sides: f64 = spent.iter().sum();
        let waiting = sides - spent[measured];
        let others = time_of_all() - self.machine - sides;
        Load { others: others.max(0.0) / seconds, waiting: waiting / seconds }
    }
}

fn time_of(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    process_ticks(&text).unwrap_or(0) as f64 * TICK
}

/// User and system time of a process and its threads: the 14th and 15th field. The second is the program's name in
/// parentheses, which may hold anything.
fn process_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn time_of_all() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    machine_ticks(&text).unwrap_or(0) as f64 * TICK
}

/// All time of all cores but idle and waiting for disks (the fourth and fifth); time that a hypervisor took for other
/// machines counts. The ninth and tenth are part of the first two.
fn machine_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(ticks.iter().take(8).sum::<u64>() - ticks.iter().skip(3).take(2).sum::<u64>())
}

/// A child that keeps one core busy until it is dropped.
pub struct Neighbour(Child);

impl Neighbour {
    /// Starts one on the last core.
    pub fn start() -> Result<Self> {
        // It looks now and then whether it is still wanted, should we be killed before we can end it.
        const SPIN: &str =
            "while kill -0 \"$PPID\"; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done";
        let core = (cores() - 1).to_string();
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core, "sh", "-c", SPIN]);
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run taskset (Debian's package is util-linux)")?;
        let mut neighbour = Self(child);
        thread::sleep(Duration::from_millis(200));
        match neighbour.0.try_wait()? {
            None => Ok(neighbour),
            Some(status) => bail!("taskset --cpu-list {core} sh ended at once ({status})"),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Nothing to be done about one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_do_not_move_the_fields() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 17 5 0 0 20 0 1 0 100";
        assert_eq!(process_ticks(stat), Some(22));
        assert_eq!(process_ticks("42 (sh"), None);
    }

    #[test]
    fn idle_time_is_not_counted() {
        let stat = "cpu  100 1 20 9000 300 3 4 5 50 60\ncpu0 1 1 1 1\n";
        assert_eq!(machine_ticks(stat), Some(133));
        assert_eq!(machine_ticks("intr 1"), None);
    }

    #[test]
    fn a_neighbour_computes_until_it_is_dropped() {
        let neighbour = Neighbour::start().unwrap();
        let process = neighbour.0.id();
        let watch = Watch::start([0, process].into_iter());
        thread::sleep(Duration::from_millis(300));
        let load = watch.stop(0);
        // Other tests compute on the same core.
        assert!(load.waiting > 0.05, "{load:?}");
        drop(neighbour);
        assert_eq!(time_of(process), 0.0);
    }
}
