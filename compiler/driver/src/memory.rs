//! What the process takes beside its tensors: looked at, and given back after compiling.

use std::sync::OnceLock;

/// About what the process itself takes once its programs are compiled: pages of the binary, plans, machine code, stacks, what
/// the allocator cannot use. The programs of `tests/speed` take 24 to 38 MB.
pub const PROCESS_BYTES: usize = 26_000_000;

static COLLECT: OnceLock<fn()> = OnceLock::new();

/// How the allocator gives back what is free. The library leaves its program's allocator alone; the binary knows its own.
pub fn collect_by(collect: fn()) {
    COLLECT.get_or_init(|| collect);
}

/// Gives back to the system what the compiler freed, before tensors need it.
pub fn collect() {
    if let Some(collect) = COLLECT.get() {
        collect();
    }
}

/// The largest resident set of this process, in MB, where the system tells.
pub fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}
