//! What this machine says of itself: memory, load, processor, kernel.

use std::fs;
use std::thread;

/// The kernel's limit of receive buffers that are asked for without force.
pub const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

/// Memory that programs may still take, in bytes.
pub fn available_bytes() -> u64 {
    parse_available(&read("/proc/meminfo"))
}

/// [`RMEM_MAX`] in bytes.
pub fn rmem_max_bytes() -> u64 {
    first_number(&read(RMEM_MAX)).unwrap_or(0)
}

/// Programs that ran or waited to run, on average over the last minute.
pub fn load() -> f64 {
    first_number(&read("/proc/loadavg")).unwrap_or(0.0)
}

/// Cores that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(0, usize::from)
}

/// Model of the processor.
pub fn processor() -> String {
    parse_processor(&read("/proc/cpuinfo"))
}

/// Release of the kernel.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn parse_available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

fn parse_processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| "an unknown processor".to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn first_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(parse_available("MemFree: 1 kB\nMemAvailable:    2048 kB\n"), 2 << 20);
        assert_eq!(parse_available(""), 0);
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\n";
        assert_eq!(parse_processor(cpuinfo), "AMD EPYC");
        assert_eq!(parse_processor(""), "an unknown processor");
        assert_eq!(first_number("0.25 0.5 1/200 77\n"), Some(0.25));
        assert_eq!(first_number::<u64>("4194304\n"), Some(4_194_304));
    }

    #[test]
    fn this_machine_has_memory_a_kernel_and_cores() {
        assert!(available_bytes() > 1 << 20 && rmem_max_bytes() > 0 && cores() > 0);
        assert!(!kernel().is_empty());
    }
}
