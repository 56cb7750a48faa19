//! A hash that stays the same over restarts, versions and machines.
//!
//! It names things to other programs: a mail by its recipient, an alert by its labels. It is no
//! protection against anybody.

/// FNV-1a over the parts, each followed by the byte 255, which UTF-8 never holds: so `["ab", "c"]`
/// and `["a", "bc"]` differ. Over sorted label names and values this is the fingerprint that
/// Prometheus and Alertmanager compute (`model.LabelSet.Fingerprint`).
pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    parts.into_iter().fold(OFFSET, |hash, part| step(part.bytes().fold(hash, step), 0xff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_fnv_1a_with_a_mark_after_each_part() {
        assert_eq!(of([]), 0xcbf2_9ce4_8422_2325, "the offset basis");
        // Over the bytes "a" and 255, computed by hand from the published constants.
        let a = (0xcbf2_9ce4_8422_2325_u64 ^ 0x61).wrapping_mul(0x0100_0000_01b3);
        assert_eq!(a, 0xaf63_dc4c_8601_ec8c, "the published value of \"a\"");
        assert_eq!(of(["a"]), (a ^ 0xff).wrapping_mul(0x0100_0000_01b3));
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
    }
}
