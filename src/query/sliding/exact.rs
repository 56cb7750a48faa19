//! A sum of doubles that forgets nothing and drifts nowhere: what was added and taken away again has
//! left no trace.
//!
//! The sum is kept as doubles that do not overlap, the smallest first, so adding is exact; it is
//! rounded once, when somebody asks (J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997;
//! the rounding as in Python's `math.fsum`). So it depends on what is in it alone, and not on the order, nor
//! on what was in it before. Most sums are one to three doubles. It refuses to know overflow: whoever adds
//! keeps to numbers of which there may be many ([`is_tame`]).

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exact {
    parts: Vec<f64>,
}

/// Whether 2^50 of them stay far from overflow.
pub(super) fn is_tame(value: f64) -> bool {
    value.abs() < 1e290
}

impl Exact {
    /// Adds a tame number; to take one away, its negative is added.
    pub(super) fn add(&mut self, value: f64) {
        let mut carried = value;
        self.parts.retain_mut(|part| {
            let (great, small) =
                if carried.abs() < part.abs() { (*part, carried) } else { (carried, *part) };
            let sum = great + small;
            *part = small - (sum - great);
            carried = sum;
            *part != 0.0
        });
        if carried != 0.0 {
            self.parts.push(carried);
        }
    }

    /// Adds what another one holds.
    pub(super) fn add_all(&mut self, other: &Self) {
        for part in &other.parts {
            self.add(*part);
        }
    }

    /// The double that is nearest to the sum; of two, the even one.
    pub(super) fn value(&self) -> f64 {
        let mut rest = self.parts.iter().rev().copied();
        let Some(mut sum) = rest.next() else { return 0.0 };
        while let Some(part) = rest.next() {
            let great = sum;
            sum = great + part;
            let lost = part - (sum - great);
            if lost == 0.0 {
                continue;
            }
            // Halfway between two doubles, what is smaller still decides.
            let decides = rest.next().is_some_and(|next| (next < 0.0) == (lost < 0.0));
            let up = sum + lost * 2.0;
            let is_half = (up - sum).to_bits() == (lost * 2.0).to_bits();
            if decides && is_half {
                sum = up;
            }
            break;
        }
        sum
    }
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "sums are exact, or rounded once"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> f64 {
        let mut sum = Exact::default();
        add(&mut sum, values);
        sum.value()
    }

    fn add(sum: &mut Exact, values: &[f64]) {
        for value in values {
            sum.add(*value);
        }
    }

    fn take(sum: &mut Exact, values: &[f64]) {
        for value in values {
            sum.add(-*value);
        }
    }

    #[test]
    fn is_rounded_once() {
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1e-16]), 10_000_000_000_000_002.0, "beyond the half: up");
        assert_eq!(sum(&[1e16, 1.0]), 1e16, "the half itself: to the even one");
        assert_eq!(sum(&[1e16, 1.0, 1e-16, -1e16]), 1.0);
    }

    #[test]
    fn a_spike_leaves_nothing_behind() {
        let mut sum = Exact::default();
        let quiet: Vec<f64> = (0..100).map(|at| f64::from(at) / 10.0).collect();
        add(&mut sum, &quiet);
        let before = sum.clone();
        for spike in [1e18, -1e288, 1e-300, 0.1, 1e18] {
            sum.add(spike);
            assert_ne!(sum, before);
            sum.add(-spike);
            assert_eq!(sum.value().to_bits(), before.value().to_bits());
        }
        take(&mut sum, &quiet);
        assert_eq!(sum, Exact::default());
    }

    proptest! {
        /// Fixed point with room for all of them is the oracle.
        #[test]
        fn is_the_nearest_double_in_any_order(
            mut terms in prop::collection::vec((-1_000_000_i64..1_000_000, 0..60_u32), 1..40),
        ) {
            let value = |(factor, power): (i64, u32)| factor as f64 * f64::from(power).exp2();
            let whole: i128 = terms.iter().map(|(factor, power)| i128::from(*factor) << power).sum();
            let values: Vec<_> = terms.iter().copied().map(value).collect();
            prop_assert_eq!(sum(&values), whole as f64);
            terms.sort_unstable();
            let values: Vec<_> = terms.iter().copied().map(value).collect();
            prop_assert_eq!(sum(&values), whole as f64);
        }

        #[test]
        fn what_was_taken_away_is_gone(
            stay in prop::collection::vec(-1e9..1e9_f64, 0..10),
            go in prop::collection::vec(prop::num::f64::NORMAL, 0..10),
        ) {
            let go: Vec<_> = go.into_iter().filter(|value| is_tame(*value)).collect();
            let mut both = Exact::default();
            add(&mut both, &go);
            add(&mut both, &stay);
            take(&mut both, &go);
            prop_assert_eq!(both.value().to_bits(), (sum(&stay) + 0.0).to_bits());
        }
    }
}
