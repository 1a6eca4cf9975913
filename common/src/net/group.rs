//! Multicast groups as people write them: `239.192.70.70:7070`, `[ff15::7070]:7070`.
//!
//! Not here: joining one, which is [`Network::join_group`](super::Network::join_group).
//! Invariant: what [`parse_group`] returns is a multicast address with a port.

use std::net::SocketAddr;

/// A text that names no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Neither `ADDRESS:PORT` nor `[ADDRESS]:PORT`.
    #[error(
        "{0:?} is not a group: give ADDRESS:PORT such as 239.192.70.70:7070 or [ff15::7070]:7070"
    )]
    Syntax(String),
    /// A well-formed address to which no one can listen together.
    #[error(
        "{0} is not a multicast address: \
         IPv4 groups lie in 224.0.0.0 to 239.255.255.255, IPv6 groups begin with ff"
    )]
    NotMulticast(SocketAddr),
    /// Port zero.
    #[error("group {0} has port 0: give the port, as in 239.192.70.70:7070")]
    NoPort(SocketAddr),
}

/// The group that `text` names.
///
/// # Errors
/// See [`GroupError`]; each is one line that a person can act on.
pub fn parse_group(text: &str) -> Result<SocketAddr, GroupError> {
    let group: SocketAddr = text.parse().map_err(|_| GroupError::Syntax(text.to_owned()))?;
    if !group.ip().is_multicast() {
        return Err(GroupError::NotMulticast(group));
    }
    if group.port() == 0 {
        return Err(GroupError::NoPort(group));
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_families_are_read() {
        let group = parse_group("239.192.70.70:7070").unwrap();
        assert_eq!(group, SocketAddr::from(([239, 192, 70, 70], 7070)));
        let group = parse_group("[ff15::7070]:7070").unwrap();
        assert_eq!(group, SocketAddr::from(([0xff15, 0, 0, 0, 0, 0, 0, 0x7070], 7070)));
    }

    #[test]
    fn what_is_no_group_is_refused_with_one_line_that_says_why() {
        for (text, message) in [
            (
                "192.0.2.1:7070",
                "192.0.2.1:7070 is not a multicast address: IPv4 groups lie in 224.0.0.0 to \
                 239.255.255.255, IPv6 groups begin with ff",
            ),
            (
                "239.192.70.70",
                "\"239.192.70.70\" is not a group: give ADDRESS:PORT such as 239.192.70.70:7070 \
                 or [ff15::7070]:7070",
            ),
            (
                "239.192.70.70:0",
                "group 239.192.70.70:0 has port 0: give the port, as in 239.192.70.70:7070",
            ),
        ] {
            assert_eq!(parse_group(text).unwrap_err().to_string(), message);
        }
        for text in
            ["", "ff15::7070:7070", "[::1]:7070", "shop.example:7070", "239.192.70.70:70700"]
        {
            assert!(parse_group(text).is_err(), "{text}");
        }
    }
}
