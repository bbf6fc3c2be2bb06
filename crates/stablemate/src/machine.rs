//! What this machine has: cores, memory, and how much of it this process took.

/// Bytes of this machine's memory, where the system tells.
pub(crate) fn total() -> Option<usize> {
    field("/proc/meminfo", "MemTotal:")
}

/// The most bytes of memory that this process has held at one time, pages of mapped files among them,
/// where the system tells.
pub fn peak_resident() -> Option<usize> {
    field("/proc/self/status", "VmHWM:")
}

/// Lets [`peak_resident`] begin anew at what is held now, where the system allows it.
pub(crate) fn forget_peak() {
    // Where it does not, the peak says more than it should, and nothing else happens.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Bytes of memory that this process holds now, where the system tells.
pub fn resident() -> Option<usize> {
    field("/proc/self/status", "VmRSS:")
}

/// The number of kibibytes after `name` in a file of lines such as `MemTotal: 24567 kB`.
fn field(file: &str, name: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: usize = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Cores that this process may use: siblings of one core count once, since they share what computes.
pub(crate) fn physical_cores() -> usize {
    // It fails where the system does not tell; one thread always works.
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, available)
}
