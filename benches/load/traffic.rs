//! The bytes to send, made before the clock starts: which keys, in which order, in which batches.
//!
//! The same for every server and every run: the draws come from a fixed seed. A table of n keys is
//! drawn from at least n times before the draws repeat; a shorter cycle would keep a large table's
//! working set in the processor's cache and make every server look better than it is.

use std::iter;

use crate::workloads::{Request, Spread, Workload};

/// Long enough for a name with two or three parts, as counters have.
pub(crate) const KEY_BYTES: usize = 35;

const KEY_PREFIX: &str = "bench.counter.";
const DRAWS_MIN: usize = 20_000;
const ZIPF_EXPONENT: f64 = 0.99;

pub(crate) struct Traffic {
    bytes: Vec<u8>,
    batch_bytes: usize,
    draws: Vec<u32>,
    batch_draws: usize,
}

impl Traffic {
    pub(crate) fn of(workload: &Workload) -> Self {
        let batch_draws = workload.per_write * workload.request.keys();
        let keys = usize::try_from(workload.keys).expect("a key's number fits an index");
        let count = keys.max(DRAWS_MIN).next_multiple_of(batch_draws);
        let draws = draw(workload, count);
        let mut bytes = Vec::new();
        for request in draws.chunks_exact(workload.request.keys()) {
            write_request(&mut bytes, workload.request, request);
        }
        let batch_bytes = bytes.len() / (count / batch_draws);
        Self { bytes, batch_bytes, draws, batch_draws }
    }

    /// Batches without end, beginning after the first `sent`.
    pub(crate) fn batches_after(&self, sent: u64) -> impl Iterator<Item = &[u8]> {
        let skipped =
            usize::try_from(sent % self.cycle()).expect("less than the batches in memory");
        self.bytes.chunks_exact(self.batch_bytes).cycle().skip(skipped)
    }

    /// How often each of `keys` was named in the first `sent` batches.
    pub(crate) fn named(&self, keys: u32, sent: u64) -> Vec<u64> {
        let mut counts = vec![0; usize::try_from(keys).expect("a key's number fits an index")];
        let (cycles, rest) = (sent / self.cycle(), sent % self.cycle());
        for (batch, position) in self.draws.chunks_exact(self.batch_draws).zip(0..) {
            let times = cycles + u64::from(position < rest);
            for &key in batch {
                if let Some(count) = counts.get_mut(key as usize) {
                    *count += times;
                }
            }
        }
        counts
    }

    fn cycle(&self) -> u64 {
        (self.draws.len() / self.batch_draws) as u64
    }
}

pub(crate) fn key(number: u32) -> String {
    let digits = KEY_BYTES - KEY_PREFIX.len();
    format!("{KEY_PREFIX}{number:0digits$}")
}

/// The inverse of [`key`].
pub(crate) fn key_number(key: &str) -> Option<u32> {
    key.strip_prefix(KEY_PREFIX)?.parse().ok()
}

fn write_request(bytes: &mut Vec<u8>, request: Request, keys: &[u32]) {
    bytes.extend_from_slice(match request {
        Request::Incr | Request::IncrNoreply => b"incr",
        Request::Get => b"get",
    });
    for &number in keys {
        let key = key(number);
        assert_eq!(key.len(), KEY_BYTES, "every key has the length that the figures are for");
        bytes.push(b' ');
        bytes.extend_from_slice(key.as_bytes());
    }
    bytes.extend_from_slice(match request {
        Request::Incr => b" 1\r\n",
        Request::IncrNoreply => b" 1 noreply\r\n",
        Request::Get => b"\r\n",
    });
}

fn draw(workload: &Workload, count: usize) -> Vec<u32> {
    let mut random = SplitMix64(0x7461_6c6c_7964);
    match workload.spread {
        Spread::Uniform => iter::repeat_with(|| random.below(workload.keys)).take(count).collect(),
        Spread::Zipf => {
            let ranks = Zipf::new(workload.keys);
            let draw = || scatter(ranks.rank(random.unit()), workload.keys);
            iter::repeat_with(draw).take(count).collect()
        }
    }
}

/// Gives rank to key one to one, since the multiplier is a prime that no table's size contains.
/// Without it the most wanted keys would be those preloaded first, side by side in memory.
fn scatter(rank: u32, keys: u32) -> u32 {
    let number = u64::from(rank) * 611_953 % u64::from(keys);
    u32::try_from(number).expect("a remainder is less than its divisor")
}

/// Draws by binary search in the cumulative weights: 8 bytes a key and 20 steps a draw, which is
/// nothing before the clock starts, and exact where rejection sampling needs an approximation.
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(keys: u32) -> Self {
        let mut sum = 0.0;
        let weight = |rank: u32| f64::from(rank).powf(-ZIPF_EXPONENT);
        let accumulate = |rank| {
            sum += weight(rank);
            sum
        };
        Self { cumulative: (1..=keys).map(accumulate).collect() }
    }

    /// The rank, from zero, at which the share `unit` of all weight is reached.
    fn rank(&self, unit: f64) -> u32 {
        let target = unit * self.cumulative.last().copied().unwrap_or_default();
        let rank = self.cumulative.partition_point(|&sum| sum <= target);
        u32::try_from(rank.min(self.cumulative.len() - 1)).expect("there are u32 keys")
    }
}

/// Sebastiano Vigna's splitmix64 (public domain): enough for choosing keys, and no dependency.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform up to a bias of 2^-32, by the upper half of a product.
    fn below(&mut self, bound: u32) -> u32 {
        let product = (self.next() >> 32) * u64::from(bound);
        u32::try_from(product >> 32).expect("the upper half of 64 bits")
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
