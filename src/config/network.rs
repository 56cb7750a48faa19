//! Networks from which something may be asked: `10.0.0.0/8`, or a single address.
//!
//! Names are refused: whoever answers for a name would decide who may ask.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// A single address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        Self { first: address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether an address is among them. One of IPv4 that came over a socket of IPv6 counts as what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.bits) == Some(self.first)
    }
}

/// The first address of the network of so many bits; `None` where an address has not so many.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    Some(match address {
        IpAddr::V4(address) => {
            let behind = 32u32.checked_sub(bits)?;
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let behind = 128u32.checked_sub(bits)?;
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    })
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.first.is_ipv4() { 32 } else { 128 };
        if self.bits == all { self.first.fmt(f) } else { write!(f, "{}/{}", self.first, self.bits) }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || "write an address, or a network like 10.0.0.0/8".to_owned();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => all,
            Some(bits) => {
                Some(bits).filter(is_number).and_then(|b| b.parse().ok()).ok_or_else(form)?
            }
        };
        let first = masked(address, bits).ok_or_else(|| format!("it has at most {all} bits"))?;
        if first != address {
            return Err(format!("with {bits} bits it begins at {first}: write {first}/{bits}"));
        }
        if address.to_canonical() != address {
            return Err(format!("write {} for it", address.to_canonical()));
        }
        Ok(Self { first, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_begins_with_its_bits() {
        for (network, within, outside) in [
            ("127.0.0.1", &["127.0.0.1", "::ffff:127.0.0.1"][..], &["127.0.0.2", "::1"][..]),
            ("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.255.255.255"]),
            ("192.168.4.0/22", &["192.168.7.255", "192.168.4.0"], &["192.168.8.0"]),
            ("0.0.0.0/0", &["1.2.3.4", "255.255.255.255"], &["::", "2001:db8::1"]),
            ("::1", &["::1"], &["::2", "0.0.0.1"]),
            ("2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::"]),
            ("::/0", &["::1", "fe80::1"], &["0.0.0.0", "::ffff:1.2.3.4"]),
        ] {
            let of: Network = network.parse().expect(network);
            assert_eq!(of.to_string(), network);
            let holds = |text: &&&str| of.contains(text.parse().expect(text));
            assert_eq!(within.iter().filter(holds).count(), within.len(), "{network}");
            assert_eq!(outside.iter().filter(holds).count(), 0, "{network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_may_be_meant() {
        let refused = |text: &str| text.parse::<Network>().expect_err(text);
        for text in
            ["", "localhost", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/+8", "10.0.0.0/8/8", "10/8"]
        {
            assert_eq!(refused(text), "write an address, or a network like 10.0.0.0/8", "{text}");
        }
        assert_eq!(refused("10.1.2.3/8"), "with 8 bits it begins at 10.0.0.0: write 10.0.0.0/8");
        assert_eq!(refused("10.0.0.0/33"), "it has at most 32 bits");
        assert_eq!(refused("::/129"), "it has at most 128 bits");
        assert_eq!(refused("::ffff:10.0.0.1"), "write 10.0.0.1 for it");
    }
}
