//! The data set: a day of a thousand series of the kinds that such a program sees, the same for a seed.
//!
//! One number for each slot of ten seconds: for a counter the increments, for a gauge its value in
//! hundredths. The shares are 20 % idle, 30 % rare, 20 % slow, 15 % steady and 5 % busy counters,
//! and 10 % gauges. An idle series has one increment, at the day's beginning, or nobody would know it.

use std::f64::consts::TAU;

/// Seconds of a slot.
pub(crate) const SLOT_SECS: u64 = 10;
/// Slots of a day.
pub(crate) const SLOTS: usize = 8640;

/// What a series is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Idle,
    Rare,
    Slow,
    Steady,
    Busy,
    Gauge,
}

impl Class {
    pub(crate) const ALL: [Self; 6] =
        [Self::Idle, Self::Rare, Self::Slow, Self::Steady, Self::Busy, Self::Gauge];

    /// How many in a hundred.
    pub(crate) const fn share(self) -> usize {
        match self {
            Self::Idle | Self::Slow => 20,
            Self::Rare => 30,
            Self::Steady => 15,
            Self::Busy => 5,
            Self::Gauge => 10,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Rare => "Poisson 0.01",
            Self::Slow => "Poisson 0.5",
            Self::Steady => "Poisson 20",
            Self::Busy => "Poisson 5000",
            Self::Gauge => "gauge",
        }
    }

    /// Bytes of a sample that are issued as the aim.
    pub(crate) const fn aim(self) -> f64 {
        match self {
            Self::Idle => 0.005,
            Self::Rare => 0.025,
            Self::Slow => 0.21,
            Self::Steady => 0.57,
            Self::Busy => 1.12,
            Self::Gauge => 1.05,
        }
    }

    /// The mean number of increments in a slot.
    fn rate(self, slot: usize) -> f64 {
        match self {
            Self::Idle | Self::Gauge => 0.0,
            Self::Rare => 0.01,
            Self::Slow => 0.5,
            Self::Steady => 20.0,
            Self::Busy => 5000.0 * (1.0 + 0.5 * (TAU * slot as f64 / SLOTS as f64).sin()),
        }
    }

    /// Bits of information in a sample, by the distribution that it is drawn from.
    pub(crate) fn entropy_bits(self) -> f64 {
        match self {
            Self::Idle => 0.0,
            Self::Gauge => bits((-400..=400).map(|step| {
                let edge = |half: f64| normal_below((f64::from(step) + half) / GAUGE_STEP);
                edge(0.5) - edge(-0.5)
            })),
            _ => {
                // The season is smooth: one slot in 96 shows it.
                let rates = (0..SLOTS).step_by(96).map(|slot| poisson_bits(self.rate(slot)));
                rates.sum::<f64>() / SLOTS.div_ceil(96) as f64
            }
        }
    }
}

/// Standard deviation of a gauge's step, in hundredths.
const GAUGE_STEP: f64 = 50.0;

fn poisson_bits(rate: f64) -> f64 {
    let most = (rate + 12.0 * rate.sqrt() + 20.0) as u32;
    let mut log = -rate;
    bits((0..most).map(|count| {
        if count > 0 {
            log += rate.ln() - f64::from(count).ln();
        }
        log.exp()
    }))
}

fn bits(shares: impl Iterator<Item = f64>) -> f64 {
    shares.filter(|share| *share > 0.0).map(|share| -share * share.log2()).sum()
}

/// How much of the normal distribution lies below; Abramowitz and Stegun 26.2.17, to seven digits.
fn normal_below(x: f64) -> f64 {
    if x < 0.0 {
        return 1.0 - normal_below(-x);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * x);
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    1.0 - (-x * x / 2.0).exp() / TAU.sqrt() * sum
}

/// A series of the set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) class: Class,
    seed: u64,
    /// Its place in the set.
    number: usize,
}

impl Series {
    /// Its name, with a tag of a hundred values that is the same in every run.
    pub(crate) fn name(&self) -> String {
        let kind = if self.class == Class::Gauge { "gauge" } else { "counter" };
        format!("shop.{kind}.{:06};host=web-{:02}", self.number, self.number % 100)
    }

    /// What happened in each slot of the day.
    pub(crate) fn samples(&self) -> Vec<i64> {
        self.drawn(1)
    }

    /// A day that is as likely, second by second.
    pub(crate) fn seconds(&self) -> Vec<i64> {
        self.drawn(SLOT_SECS as usize)
    }

    /// So many numbers in each slot, that come together to what a slot has.
    fn drawn(&self, parts: usize) -> Vec<i64> {
        let mut drawing = self.begin();
        (0..SLOTS * parts).map(|_| drawing.next(parts)).collect()
    }

    /// The same numbers one by one, for as many days as one likes.
    pub(crate) fn begin(&self) -> Drawing {
        Drawing { class: self.class, random: Random(self.seed), value: 100_000, drawn: 0 }
    }
}

/// A series that goes on.
#[derive(Debug)]
pub(crate) struct Drawing {
    class: Class,
    random: Random,
    /// What a gauge shows.
    value: i64,
    drawn: usize,
}

impl Drawing {
    /// The next number, of so many in each slot.
    pub(crate) fn next(&mut self, parts: usize) -> i64 {
        let at = self.drawn;
        self.drawn += 1;
        match self.class {
            Class::Gauge => {
                let step = self.random.normal() * GAUGE_STEP / (parts as f64).sqrt();
                self.value += step.round() as i64;
                self.value
            }
            Class::Idle => i64::from(at == 0),
            class => self.random.poisson(class.rate(at / parts % SLOTS) / parts as f64),
        }
    }
}

/// So many series, in the shares above, in an order without one.
pub(crate) fn set(count: usize, seed: u64) -> Vec<Series> {
    let shares = Class::ALL.iter().flat_map(|class| std::iter::repeat_n(*class, class.share()));
    let classes: Vec<Class> = shares.collect();
    // 37 and 100 have no common divisor, so a hundred neighbours have every share.
    let class = |number: usize| classes[number * 37 % 100];
    (0..count)
        .map(|number| Series { class: class(number), seed: mixed(seed, number as u64), number })
        .collect()
}

fn mixed(seed: u64, number: u64) -> u64 {
    let mut random = Random(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    random.next()
}

/// `SplitMix64` (G. Steele and others, 2014): what it yields is the same on every machine.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Box and Muller's.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Knuth's product of uniform numbers; for large rates, the normal distribution that is
    /// indistinguishable from it, rounded.
    fn poisson(&mut self, rate: f64) -> i64 {
        if rate > 400.0 {
            return (rate + rate.sqrt() * self.normal()).round().max(0.0) as i64;
        }
        let end = (-rate).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > end {
            product *= self.unit();
            count += 1;
        }
        count
    }
}
