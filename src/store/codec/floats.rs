//! A column of floating-point numbers, each beside a reference that the reader knows already.
//!
//! Every `f64` comes back bit for bit, NaN and negative zero too. The reference is the number that is
//! likely to be near: a window's last value, for its least. A column without one has 0.0 for it.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bits 0 and 1: the mode; the upper six bits: its parameter |
//! | | 0 constant: 8 bytes, the number's bits, little-endian |
//! | | 1 decimal, parameter the exponent `e` up to 15: two columns of [`super::integers`], `n` and `d` |
//! | | 2 bits, parameter the shift `s`: one column `n` |
//!
//! - **Decimal**: what people measure has few decimals. The number is `m ÷ 10^e`, rounded once, and `d`
//!   added to its bits as an integer; `m = n + r`, where `r` is the reference times 10^e and half of one
//!   away from zero, cut off to an integer. As both are exact, the quotient is the double that is nearest
//!   to the decimal, just as when it is parsed, and `d` is 0. (The idea of ALP, A. Afroozeh and others,
//!   2023; where ALP has a list of exceptions, here `d` is large. Sums of decimals, which are off
//!   by an ulp or two, then need no exception.)
//! - **Bits**: the bits as an integer are the reference's bits plus `n × 2^s`. Their differences are small
//!   where the numbers are near each other, as the XOR in Gorilla (T. Pelkonen and others, 2015) has many
//!   zeros, and `s` takes away the zeros at the end that numbers with few binary digits have.

use super::Garbled;
use super::bytes::{Input, zigzag};
use super::integers::{self, Packed, Pull};

const CONSTANT: u8 = 0;
const DECIMAL: u8 = 1;
const BITS: u8 = 2;

const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// As many ulps beside a decimal are still one.
const NEAR_ULPS: u64 = 16;

/// Appends a column of `(number, reference)`.
pub(super) fn encode(numbers: &[(f64, f64)], out: &mut Vec<u8>) {
    let Some((first, _)) = numbers.first() else { return };
    if numbers.iter().all(|(number, _)| number.to_bits() == first.to_bits()) {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return;
    }
    let bits = encode_bits(numbers);
    let decimal = exponent(numbers).map(|exponent| encode_decimal(numbers, exponent));
    match decimal {
        Some(decimal) if decimal.len() <= bits.len() => out.extend_from_slice(&decimal),
        _ => out.extend_from_slice(&bits),
    }
}

fn encode_bits(numbers: &[(f64, f64)]) -> Vec<u8> {
    let differences = || numbers.iter().map(|(n, r)| n.to_bits().wrapping_sub(r.to_bits()));
    let all = differences().fold(0, |all, difference| all | difference);
    let shift = all.trailing_zeros() & 63;
    let shifted: Vec<_> =
        differences().map(|d| (d.cast_signed() >> shift).cast_unsigned()).collect();
    let mut out = vec![BITS | ((shift as u8) << 2)];
    integers::encode(&shifted, &mut out);
    out
}

fn encode_decimal(numbers: &[(f64, f64)], exponent: u8) -> Vec<u8> {
    let power = power(exponent);
    let mut out = vec![DECIMAL | exponent << 2];
    let units = numbers.iter().map(|(n, r)| scaled(*n, power).wrapping_sub(scaled(*r, power)));
    integers::encode(&units.map(i64::cast_unsigned).collect::<Vec<_>>(), &mut out);
    let ulps = numbers.iter().map(|(n, _)| ulps(*n, power));
    integers::encode(&ulps.collect::<Vec<_>>(), &mut out);
    out
}

/// The least exponent with which nearly all numbers are decimals. Trying one ends at the first few that
/// are not, so that all of them together take no longer than the one that is right.
fn exponent(numbers: &[(f64, f64)]) -> Option<u8> {
    let is_far = |number: f64, power: f64| zigzag(ulps(number, power)) > 2 * NEAR_ULPS;
    (0..16).find(|exponent| {
        let power = power(*exponent);
        let mut may_miss = numbers.len() / 16;
        numbers.iter().all(|(number, _)| {
            let misses = usize::from(is_far(*number, power));
            let is_near = may_miss >= misses;
            may_miss = may_miss.saturating_sub(misses);
            is_near
        })
    })
}

fn power(exponent: u8) -> f64 {
    POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0)
}

/// How many units of one over `power`, about. It is the same on every machine, and that is all it has
/// to be: a number beyond 2^63 or none at all comes to some integer too.
#[inline]
fn scaled(number: f64, power: f64) -> i64 {
    let product = number * power;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it saturates, and what it misses is in `d`"
    )]
    let units = (product + 0.5_f64.copysign(product)) as i64;
    units
}

/// That many units.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "what it misses is in `d`")]
fn unscaled(units: i64, power: f64) -> f64 {
    units as f64 / power
}

/// What has to be added to the bits of the decimal to come to the number.
fn ulps(number: f64, power: f64) -> u64 {
    number.to_bits().wrapping_sub(unscaled(scaled(number, power), power).to_bits())
}

/// A column as it lies there, passed over but not opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum PackedFloats<'a> {
    Constant(f64),
    Decimal { power: f64, units: Packed<'a>, ulps: Packed<'a> },
    Bits { shift: u8, bits: Packed<'a> },
}

impl<'a> PackedFloats<'a> {
    pub(super) fn read(input: &mut Input<'a>) -> Result<Self, Garbled> {
        let head = input.byte()?;
        match (head & 3, head >> 2) {
            (CONSTANT, 0) => Ok(Self::Constant(f64::from_bits(input.u64()?))),
            (DECIMAL, exponent) => {
                let power = POWERS.get(usize::from(exponent)).copied().ok_or(Garbled)?;
                Ok(Self::Decimal { power, units: Packed::read(input)?, ulps: Packed::read(input)? })
            }
            (BITS, shift) => Ok(Self::Bits { shift, bits: Packed::read(input)? }),
            _ => Err(Garbled),
        }
    }

    /// The numbers one by one, of which there are `len`.
    pub(super) fn open(self, len: usize) -> Result<PullFloats<'a>, Garbled> {
        let pull = |packed: Packed<'a>| Ok(Pull::new(packed.open(len)?));
        Ok(match self {
            Self::Constant(number) => PullFloats::Constant(number),
            Self::Decimal { power, units, ulps } => {
                PullFloats::Decimal { power, units: pull(units)?, ulps: pull(ulps)? }
            }
            Self::Bits { shift, bits } => PullFloats::Bits { shift, bits: pull(bits)? },
        })
    }
}

/// A column's numbers one by one.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for a column of a chunk, on the stack")]
pub(super) enum PullFloats<'a> {
    Constant(f64),
    Decimal { power: f64, units: Pull<'a>, ulps: Pull<'a> },
    Bits { shift: u8, bits: Pull<'a> },
}

impl PullFloats<'_> {
    /// The next number, which has this reference; garbled where there is none.
    #[inline]
    pub(super) fn next(&mut self, reference: f64) -> Result<f64, Garbled> {
        Ok(match self {
            Self::Constant(number) => *number,
            Self::Decimal { power, units, ulps } => {
                let units = units.next()?.cast_signed().wrapping_add(scaled(reference, *power));
                f64::from_bits(unscaled(units, *power).to_bits().wrapping_add(ulps.next()?))
            }
            Self::Bits { shift, bits } => {
                f64::from_bits(reference.to_bits().wrapping_add(bits.next()? << *shift))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(numbers: &[(f64, f64)]) -> usize {
        let mut bytes = Vec::new();
        encode(numbers, &mut bytes);
        let mut input = Input::new(&bytes);
        let packed = PackedFloats::read(&mut input).unwrap();
        assert!(input.is_empty());
        let mut pull = packed.open(numbers.len()).unwrap();
        for (at, (number, reference)) in numbers.iter().enumerate() {
            let back = pull.next(*reference).unwrap();
            assert_eq!(back.to_bits(), number.to_bits(), "{number:e} at {at}");
        }
        bytes.len()
    }

    fn alone(numbers: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        numbers.into_iter().map(|number| (number, 0.0)).collect()
    }

    #[test]
    fn decimals_take_what_their_digits_take() {
        let walk = |at: i32| f64::from(2000 + at * at * 31 % 16) / 100.0;
        assert!(check(&alone((0..1000).map(walk))) < 4 * 1000 / 8 + 50);
    }

    #[test]
    fn sums_of_decimals_are_nearly_decimals() {
        let mut sum = 0.0;
        let sums: Vec<_> = (0..1000)
            .map(|at| {
                sum += f64::from(at % 7) / 10.0;
                sum
            })
            .collect();
        assert!(check(&alone(sums)) < 1000);
    }

    #[test]
    fn binary_fractions_lose_their_zeros() {
        let numbers =
            (0..1000_u32).map(|at| f64::from(at.wrapping_mul(2_654_435_761)) * 2f64.powi(-40));
        assert!(check(&alone(numbers)) < 5 * 1000);
    }

    #[test]
    fn what_is_near_its_reference_is_cheap() {
        let pairs: Vec<_> = (0..1000_i32)
            .map(|at| (f64::from(at.wrapping_mul(40_503) % 65_536) / 100.0, at % 4))
            .map(|(number, off)| (number + f64::from(off) / 100.0, number))
            .collect();
        assert!(check(&pairs) < 600);
    }

    #[test]
    fn the_odd_ones_come_back_bit_for_bit() {
        let odd = [
            0.0,
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::from_bits(u64::MAX),
            1e300,
            -1e-300,
            0.1,
            2e53,
        ];
        check(&alone(odd));
        for one in odd {
            check(&alone([one]));
            check(&alone(std::iter::repeat_n(12.5, 100).chain([one])));
            check(&[(one, 1.5), (1.5, one), (one, one), (0.25, f64::NAN)]);
        }
    }

    proptest! {
        #[test]
        fn any_bits_come_back(
            pairs in prop::collection::vec((any::<u64>(), any::<u64>()), 1..200), near: bool,
        ) {
            let float = f64::from_bits;
            let pairs: Vec<_> = pairs
                .into_iter()
                .map(|(n, r)| (float(if near { r ^ (n % 64) } else { n }), float(r)))
                .collect();
            check(&pairs);
        }

        #[test]
        fn decimals_come_back(
            units in prop::collection::vec(-1_000_000_000..1_000_000_000_i32, 1..300),
            exponent in 0..12_i32, odd: Option<f64>,
        ) {
            let numbers = units.iter().map(|n| f64::from(*n) / 10_f64.powi(exponent));
            check(&alone(numbers.chain(odd)));
        }
    }
}
