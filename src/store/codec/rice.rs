//! Rice codes: a number's upper part in unary, its lowest `k` bits as they are.
//!
//! S. Golomb, "Run-length encodings" (1966), with the divisor a power of two as R. Rice has it (1971).
//! Nothing has to be said about the numbers but `k`, so it is the code for few numbers; where there
//! are many, [`super::tans`] comes closer to their entropy.
//!
//! A number `u` is `u >> k` zeros, a one, and its lowest `k` bits. With [`ESCAPE`] zeros and a one come
//! 64 bits as they are, so that no number takes more than 88 bits.

use super::Garbled;
use super::bits::{BitReader, BitWriter};

const ESCAPE: u32 = 23;

/// Bits that the numbers take.
pub(super) fn cost(numbers: &[u64], k: u32) -> u64 {
    numbers.iter().map(|number| u64::from(bits(*number, k))).sum()
}

fn bits(number: u64, k: u32) -> u32 {
    match u32::try_from(number >> k) {
        Ok(upper) if upper < ESCAPE => upper + 1 + k,
        _ => ESCAPE + 1 + 64,
    }
}

/// Appends the numbers; `k` is at most 63.
pub(super) fn encode(numbers: &[u64], k: u32, writer: &mut BitWriter<'_>) {
    for number in numbers {
        put(*number, k, writer);
    }
}

/// Appends one number.
pub(super) fn put(number: u64, k: u32, writer: &mut BitWriter<'_>) {
    match u32::try_from(number >> k) {
        Ok(upper) if upper < ESCAPE => {
            writer.put(1 << upper, upper + 1);
            writer.put(number & ((1 << k) - 1), k);
        }
        _ => {
            writer.put(1 << ESCAPE, ESCAPE + 1);
            writer.put(number, 64);
        }
    }
}

/// Reads as many numbers as `out` has room for.
pub(super) fn decode(reader: &mut BitReader<'_>, k: u32, out: &mut [u64]) -> Result<(), Garbled> {
    // A copy stays in registers.
    let mut local = *reader;
    for number in out {
        *number = get(&mut local, k)?;
    }
    *reader = local;
    Ok(())
}

/// Reads one number; `k` is at most 63.
#[inline]
pub(super) fn get(reader: &mut BitReader<'_>, k: u32) -> Result<u64, Garbled> {
    reader.refill();
    let upper = reader.peek().trailing_zeros();
    if upper < ESCAPE {
        reader.skip(upper + 1);
        let lower = if k <= 32 { reader.take(k) } else { reader.take_any(k) };
        return Ok(u64::from(upper) << k | lower);
    }
    if upper > ESCAPE {
        return Err(Garbled);
    }
    reader.skip(ESCAPE + 1);
    Ok(reader.take_any(64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_at_the_cost_that_was_told(
            numbers in prop::collection::vec(prop_oneof![0..100_u64, any::<u64>()], 0..100),
            k in 0..64_u32,
        ) {
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            encode(&numbers, k, &mut writer);
            writer.finish();
            prop_assert_eq!(bytes.len() as u64, cost(&numbers, k).div_ceil(8));
            let mut reader = BitReader::new(&bytes);
            let mut back = vec![0; numbers.len()];
            prop_assert_eq!(decode(&mut reader, k, &mut back), Ok(()));
            prop_assert_eq!(back, numbers);
            prop_assert!(!reader.is_past_end());
        }
    }
}
