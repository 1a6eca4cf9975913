//! Socket buffers: what the kernel granted, and what to set where that is too little.
//!
//! Not here: asking for them (`socket`).

use crate::units::ByteSize;

/// Socket buffers in bytes, as asked for or as granted: without the kernel's own bookkeeping, which
/// it pays for by doubling what it grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// For datagrams that wait to be read.
    pub receive_bytes: usize,
    /// For datagrams that wait to leave.
    pub send_bytes: usize,
}

impl Buffers {
    /// The line for the log where these are less than `wanted`: what is granted, what follows from
    /// it, and the settings that grant all of it.
    pub fn complaint(&self, wanted: &Self) -> Option<String> {
        let receive = ("receive", "r", self.receive_bytes, wanted.receive_bytes);
        let send = ("send", "w", self.send_bytes, wanted.send_bytes);
        let short: Vec<_> =
            [receive, send].into_iter().filter(|(.., granted, wanted)| granted < wanted).collect();
        if short.is_empty() {
            return None;
        }
        let size = |bytes: usize| ByteSize(bytes as u64);
        let granted = short.iter().map(|(what, _, granted, wanted)| {
            format!("a {what} buffer of {} instead of {}", size(*granted), size(*wanted))
        });
        let settings =
            short.iter().map(|(_, way, _, wanted)| format!("net.core.{way}mem_max={wanted}"));
        Some(format!(
            "the kernel grants {}, so bursts of datagrams may be lost: sysctl -w {}",
            granted.collect::<Vec<_>>().join(" and "),
            settings.collect::<Vec<_>>().join(" ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffers(receive_bytes: usize, send_bytes: usize) -> Buffers {
        Buffers { receive_bytes, send_bytes }
    }

    #[test]
    fn what_is_granted_less_than_wanted_is_named_with_the_setting_that_mends_it() {
        let wanted = buffers(16 << 20, 1 << 20);
        assert_eq!(wanted.complaint(&wanted), None);
        assert_eq!(
            buffers(212_992, 1 << 20).complaint(&wanted).as_deref(),
            Some(
                "the kernel grants a receive buffer of 208 KiB instead of 16.0 MiB, so bursts of \
                 datagrams may be lost: sysctl -w net.core.rmem_max=16777216"
            )
        );
        let line = buffers(212_992, 212_992).complaint(&wanted).unwrap();
        assert!(line.contains(" and a send buffer of 208 KiB instead of 1.00 MiB, so"), "{line}");
        assert!(line.ends_with("net.core.rmem_max=16777216 net.core.wmem_max=1048576"), "{line}");
    }
}
