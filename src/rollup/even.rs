//! A sum that is known for a stretch alone, spread evenly over its seconds.
//!
//! Of `seconds` seconds, the first `n` have `⌊sum · n ÷ seconds⌋`: so parts come to the whole however it
//! is cut, and no two seconds differ by more than one.

use super::Counts;

/// What falls into the seconds from the `from`-th up to the `to`-th; `None` where that is nothing.
#[must_use]
pub fn share(sum: u64, seconds: u64, from: u64, to: u64) -> Option<Counts> {
    let (seconds, to) = (seconds.max(1), to.min(seconds.max(1)));
    let width = to.checked_sub(from).filter(|width| *width > 0)?;
    let before = |n: u64| u64::try_from(u128::from(sum) * u128::from(n) / u128::from(seconds));
    let part = before(to).unwrap_or(sum) - before(from).unwrap_or(sum);
    let least = sum / seconds;
    // So many of the seconds have one more than the least.
    let more = part - least * width;
    let touched = if least == 0 { more } else { width };
    let min = if least == 0 || more == width { least + 1 } else { least };
    let max = if more > 0 { least + 1 } else { least };
    let touched = u32::try_from(touched).unwrap_or(u32::MAX);
    (part > 0).then_some(Counts { sum: part, count: part, touched, min, max, last: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_few_are_spread_and_many_differ_by_one() {
        let counts = |sum, touched, min, max| {
            Some(Counts { sum, count: sum, touched, min, max, last: None })
        };
        assert_eq!(share(0, 60, 0, 60), None);
        assert_eq!(share(3, 60, 0, 60), counts(3, 3, 1, 1));
        assert_eq!(share(60, 60, 0, 60), counts(60, 60, 1, 1));
        assert_eq!(share(61, 60, 0, 60), counts(61, 60, 1, 2));
        assert_eq!(share(61, 60, 59, 60), counts(2, 1, 2, 2));
        assert_eq!(share(u64::MAX, 1, 0, 1), counts(u64::MAX, 1, u64::MAX, u64::MAX));
    }

    proptest! {
        /// Cut anywhere, a stretch holds what its seconds hold.
        #[test]
        fn parts_come_to_the_whole(
            sum in prop_oneof![0..200_u64, any::<u64>()],
            seconds in 1..100_u64,
            cut in 0..100_u64,
        ) {
            let cut = cut.min(seconds);
            let single = |from: u64, to: u64| {
                (from..to).filter_map(|at| share(sum, seconds, at, at + 1)).reduce(Counts::then)
            };
            for (from, to) in [(0, cut), (cut, seconds), (0, seconds)] {
                prop_assert_eq!(share(sum, seconds, from, to), single(from, to));
            }
            let whole = share(sum, seconds, 0, seconds).map_or(0, |counts| counts.sum);
            prop_assert_eq!(whole, sum);
        }
    }
}
