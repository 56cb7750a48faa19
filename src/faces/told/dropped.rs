//! How many datagrams the system has dropped: its own count, by socket.
//!
//! Source of the form: Linux, `net/ipv4/udp.c`: a line for each socket of the process' network, of which the tenth
//! word is its inode and the last one the count, 32 bits that wrap. A receiver could be told of it with each
//! datagram that does arrive (`SO_RXQ_OVFL`), which says nothing once none does.

/// The lists of UDP over IPv4 and IPv6.
const LISTS: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];

/// What was dropped at some sockets.
#[derive(Debug)]
pub(super) struct Losses {
    /// Inodes, and what each had dropped when it was last looked at.
    sockets: Vec<(u64, u32)>,
}

impl Losses {
    /// Of sockets that have dropped nothing yet.
    pub(super) fn new(inodes: &[u64]) -> Self {
        Self { sockets: inodes.iter().map(|inode| (*inode, 0)).collect() }
    }

    /// What was dropped since it was last asked.
    #[expect(
        clippy::disallowed_methods,
        reason = "the system tells it in no other way that a program without `unsafe` could ask; it waits for no disk"
    )]
    pub(super) fn since_last(&mut self) -> u64 {
        if self.sockets.is_empty() {
            return 0;
        }
        // Where there is no list, as without IPv6, there is nothing to be told.
        LISTS
            .iter()
            .filter_map(|list| std::fs::read_to_string(list).ok())
            .map(|list| self.read(&list))
            .sum()
    }

    fn read(&mut self, list: &str) -> u64 {
        let mut lost = 0;
        for line in list.lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(inode) = words.nth(9).and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            let found = self.sockets.iter_mut().find(|(socket, _)| *socket == inode);
            let (Some((_, before)), Some(now)) =
                (found, words.last().and_then(|word| word.parse().ok()))
            else {
                continue;
            };
            lost += u64::from(u32::wrapping_sub(now, *before));
            *before = now;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_read_by_socket() {
        let list = |first: u32, second: u32| {
            format!(
                "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
                 \x20 123: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 {first}\n\
                 \x20 124: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 {second}\n\
                 garbled\n"
            )
        };
        let mut losses = Losses::new(&[4711, 4713]);
        assert_eq!(losses.read(&list(5, 100)), 5);
        assert_eq!(losses.read(&list(5, 200)), 0);
        assert_eq!(losses.read(&list(u32::MAX, 0)), u64::from(u32::MAX) - 5);
        assert_eq!(losses.read(&list(2, 0)), 3, "it wraps");
    }
}
