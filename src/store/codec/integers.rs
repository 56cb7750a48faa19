//! A column of whole numbers, in whichever of some ways takes the fewest bytes.
//!
//! Numbers are `u64`, and arithmetic wraps: a negative number is its two's complement, and every column
//! comes back bit for bit. How many numbers there are is not in here; who reads it knows.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bits 0 and 1: the code, 0 constant, 1 Rice, 2 tabled ANS; the upper six bits: `k`, or the constant itself when it is less than 63 |
//! | | constant: a varint, where the upper six bits are 63; nothing follows |
//! | 1 | bits 0 to 3: the prediction; bit 7: scaled; the others are zero |
//! | | scaled: two varints, `base` and `unit`; each number is `base + unit × y`, and what follows is about `y` |
//! | | a varint `start`, except with prediction 0 |
//! | | the body behind its length: [`super::rice`] or [`super::tans`] |
//!
//! What is coded is a `u` for each number `y`, from which the prediction makes `y`:
//!
//! - 0 plain: `y = u`;
//! - 1 from the least: `y = start + u`;
//! - 2 around the mean: `y = start + d`, where here and below `d` is `u` read as zigzag;
//! - 3 + s, s from 0 to 6, around a running mean: `m` begins at `start × 2^s`; `y = (m >> s) + d`, the
//!   shift keeping the sign; then `m` becomes `m + d`. With s = 0 these are the differences to the number
//!   before; with s = 4 the mean weighs the last numbers by 1/16, which follows a day's season closely
//!   and costs counts around it 0.03 bits each more than their true mean would.

use super::Garbled;
use super::bits::{BitReader, BitWriter};
use super::bytes::{Input, put_sized, put_varint, unzigzag, zigzag};
use super::{rice, tans};

const CONSTANT: u8 = 0;
const RICE: u8 = 1;
const TANS: u8 = 2;
/// Constants from here on have a varint of their own.
const LONG_CONSTANT: u8 = 63;
const SCALED: u8 = 0x80;

/// Fewer numbers than this are not worth a table.
const TANS_NUMBERS: usize = 48;

/// How a number follows from the ones before it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prediction {
    Plain,
    Least(u64),
    Mean(u64),
    Running(RunningMean),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RunningMean {
    start: u64,
    shift: u8,
    /// The mean times 2^shift.
    sum: u64,
}

const RUNNING: u8 = 3;
const SHIFT_MAX: u8 = 6;

/// Appends a column.
pub(super) fn encode(numbers: &[u64], out: &mut Vec<u8>) {
    let Some((first, rest)) = numbers.split_first() else { return };
    if rest.iter().all(|number| number == first) {
        return put_constant(*first, out);
    }
    let (base, unit) = scale(numbers);
    if unit == 1 {
        return encode_unscaled(numbers, 0, &[], out);
    }
    let mut head = Vec::new();
    put_varint(&mut head, base);
    put_varint(&mut head, unit);
    let scaled: Vec<_> = numbers.iter().map(|number| number.wrapping_sub(base) / unit).collect();
    encode_unscaled(&scaled, SCALED, &head, out);
}

fn put_constant(number: u64, out: &mut Vec<u8>) {
    match u8::try_from(number) {
        Ok(short) if short < LONG_CONSTANT => out.push(CONSTANT | short << 2),
        _ => {
            out.push(CONSTANT | LONG_CONSTANT << 2);
            put_varint(out, number);
        }
    }
}

/// The least number, and the greatest unit that all distances to it are multiples of.
fn scale(numbers: &[u64]) -> (u64, u64) {
    let base = least(numbers);
    let mut unit = 0;
    for number in numbers {
        unit = divisor(number.wrapping_sub(base), unit);
        if unit == 1 {
            break;
        }
    }
    (base, unit.max(1))
}

/// The least as a signed number: columns that go below zero are more frequent than ones past 2^63.
fn least(numbers: &[u64]) -> u64 {
    numbers.iter().map(|number| number.cast_signed()).min().unwrap_or(0).cast_unsigned()
}

/// The greatest common divisor.
fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Appends a column that is not constant, with `scale` between the prediction and its start.
fn encode_unscaled(numbers: &[u64], scaled: u8, scale: &[u8], out: &mut Vec<u8>) {
    let prediction = Prediction::best(numbers);
    let mut coded = Vec::with_capacity(numbers.len());
    prediction.code(numbers, |u| coded.push(u));
    let (code, k, body) = best_body(&coded);
    out.push(code | k << 2);
    out.push(prediction.id() | scaled);
    out.extend_from_slice(scale);
    if let Some(start) = prediction.start() {
        put_varint(out, start);
    }
    put_sized(out, &body);
}

/// The shorter of both codes: which, its `k`, and the body.
fn best_body(coded: &[u64]) -> (u8, u8, Vec<u8>) {
    let sample: Vec<u64> = stretches(coded).flatten().copied().collect();
    let median = median_bits(coded);
    let near = |below: u8, above: u8| median.saturating_sub(below)..=(median + above).min(63);
    let rice_k = near(2, 1).min_by_key(|k| rice::cost(&sample, u32::from(*k))).unwrap_or(0);
    let mut body = Vec::new();
    if coded.len() >= TANS_NUMBERS {
        // Few values that lie far apart, as when increments are by a thousand, want a token each.
        let ks = (median > 3).then_some(0).into_iter().chain(near(3, 0));
        let times = coded.len() / sample.len().max(1);
        let k = ks.min_by_key(|k| tans::plan(&sample, u32::from(*k)).bits(times)).unwrap_or(0);
        let plan = tans::plan(coded, u32::from(k));
        if plan.bits(1) < rice::cost(coded, u32::from(rice_k)) {
            tans::encode(coded, &plan, &mut body);
            return (TANS, k, body);
        }
    }
    let mut writer = BitWriter::new(&mut body);
    rice::encode(coded, u32::from(rice_k), &mut writer);
    writer.finish();
    (RICE, rice_k, body)
}

/// The numbers by which a way to code them is chosen: all of few, and four stretches of many. Stretches
/// and not every tenth number, since a number is coded beside the one before it, and what
/// repeats itself would be seen at one of its phases alone.
fn stretches(numbers: &[u64]) -> impl Iterator<Item = &[u64]> {
    const STRETCH: usize = 128;
    const STRETCHES: usize = 4;
    let (every, len) = match numbers.len() / STRETCHES {
        quarter if quarter > STRETCH => (quarter, STRETCH),
        _ => (numbers.len().max(1), numbers.len()),
    };
    numbers.chunks(every).take(STRETCHES).map(move |part| part.get(..len).unwrap_or(part))
}

/// Bits of the number in the middle. Both codes are at their best near it, and unlike the mean it
/// does not follow a few that lie far out.
fn median_bits(coded: &[u64]) -> u8 {
    let mut counts = [0_usize; 65];
    for number in coded {
        if let Some(count) = counts.get_mut((64 - number.leading_zeros()) as usize) {
            *count += 1;
        }
    }
    let mut below = 0;
    let is_past_half = |count: &usize| {
        below += count;
        below * 2 > coded.len()
    };
    counts.iter().position(is_past_half).and_then(|bits| u8::try_from(bits).ok()).unwrap_or(0)
}

impl Prediction {
    /// The one that leaves the smallest numbers, by the sum of their logarithms.
    fn best(numbers: &[u64]) -> Self {
        let least = least(numbers);
        let fixed =
            [if least == 0 { Self::Plain } else { Self::Least(least) }, Self::Mean(mean(numbers))];
        let running = [0, 2, 3, 4, 5, 6].map(|shift| Self::running(numbers, shift));
        let cost = |prediction: &Self| {
            let mut sum = 0;
            for stretch in stretches(numbers) {
                prediction.begun_at(stretch).code(stretch, |u| sum += log2_sixteenths(u));
            }
            sum
        };
        fixed.into_iter().chain(running).min_by_key(cost).unwrap_or(Self::Plain)
    }

    fn running(numbers: &[u64], shift: u8) -> Self {
        let begin = numbers.get(..1 << shift).unwrap_or(numbers);
        Self::Running(RunningMean::new(mean(begin), shift))
    }

    /// The same way, for numbers that begin here.
    fn begun_at(self, numbers: &[u64]) -> Self {
        match self {
            Self::Running(mean) => Self::running(numbers, mean.shift),
            fixed => fixed,
        }
    }

    /// What is coded for each number.
    #[inline]
    fn code(self, numbers: &[u64], mut each: impl FnMut(u64)) {
        match self {
            Self::Plain => numbers.iter().for_each(|number| each(*number)),
            Self::Least(start) => numbers.iter().for_each(|n| each(n.wrapping_sub(start))),
            Self::Mean(start) => numbers.iter().for_each(|n| each(zigzag(n.wrapping_sub(start)))),
            Self::Running(mut mean) => {
                for number in numbers {
                    let difference = number.wrapping_sub(mean.now());
                    each(zigzag(difference));
                    mean.add(difference);
                }
            }
        }
    }

    /// Makes numbers of what was coded, in place. A running mean goes on with the next ones.
    fn decode(&mut self, numbers: &mut [u64]) {
        match self {
            Self::Plain => {}
            Self::Least(start) => numbers.iter_mut().for_each(|n| *n = n.wrapping_add(*start)),
            Self::Mean(start) => {
                for number in numbers {
                    *number = unzigzag(*number).wrapping_add(*start);
                }
            }
            Self::Running(mean) => {
                for number in numbers {
                    let difference = unzigzag(*number);
                    *number = mean.now().wrapping_add(difference);
                    mean.add(difference);
                }
            }
        }
    }

    fn id(&self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Least(_) => 1,
            Self::Mean(_) => 2,
            Self::Running(mean) => RUNNING + mean.shift,
        }
    }

    fn start(&self) -> Option<u64> {
        match self {
            Self::Plain => None,
            Self::Least(start) | Self::Mean(start) => Some(*start),
            Self::Running(mean) => Some(mean.start),
        }
    }

    fn read(id: u8, input: &mut Input<'_>) -> Result<Self, Garbled> {
        match id {
            0 => Ok(Self::Plain),
            1 => input.varint().map(Self::Least),
            2 => input.varint().map(Self::Mean),
            _ => {
                let shift = id.checked_sub(RUNNING).filter(|s| *s <= SHIFT_MAX).ok_or(Garbled)?;
                Ok(Self::Running(RunningMean::new(input.varint()?, shift)))
            }
        }
    }
}

impl RunningMean {
    fn new(start: u64, shift: u8) -> Self {
        Self { start, shift, sum: start << shift }
    }

    #[inline]
    fn now(&self) -> u64 {
        (self.sum.cast_signed() >> self.shift).cast_unsigned()
    }

    /// Moves towards a number that was so far from it.
    #[inline]
    fn add(&mut self, difference: u64) {
        self.sum = self.sum.wrapping_add(difference);
    }
}

/// The mean, of signed numbers.
fn mean(numbers: &[u64]) -> u64 {
    let sum: i128 = numbers.iter().map(|number| i128::from(number.cast_signed())).sum();
    let mean = sum / i128::try_from(numbers.len().max(1)).unwrap_or(1);
    i64::try_from(mean).unwrap_or(0).cast_unsigned()
}

/// 16 × log2(u + 1), between powers of two along a straight line.
#[inline]
fn log2_sixteenths(u: u64) -> u64 {
    let v = u.saturating_add(1);
    let lead = v.leading_zeros();
    let fraction = (v << lead) >> 59 & 15;
    u64::from(63 - lead) * 16 + fraction
}

/// A column as it lies there, passed over but not opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Packed<'a> {
    Constant(u64),
    Coded { code: u8, k: u8, prediction: Prediction, scale: Option<(u64, u64)>, body: &'a [u8] },
}

impl<'a> Packed<'a> {
    pub(super) fn read(input: &mut Input<'a>) -> Result<Self, Garbled> {
        let head = input.byte()?;
        let (code, k) = (head & 3, head >> 2);
        if code == CONSTANT {
            let constant = if k == LONG_CONSTANT { input.varint()? } else { u64::from(k) };
            return Ok(Self::Constant(constant));
        }
        let how = input.byte()?;
        let scale = match how & SCALED {
            0 => None,
            _ => Some((input.varint()?, input.varint()?)),
        };
        let prediction = Prediction::read(how & !SCALED, input)?;
        Ok(Self::Coded { code, k, prediction, scale, body: input.sized()? })
    }

    /// The column's numbers, of which there are `len`.
    pub(super) fn open(self, len: usize) -> Result<Integers<'a>, Garbled> {
        let coder = match self {
            Self::Constant(constant) => Coder::Constant(constant),
            Self::Coded { code: RICE, k, body, .. } => {
                Coder::Rice { reader: BitReader::new(body), k: u32::from(k) }
            }
            Self::Coded { code: TANS, k, body, .. } => {
                Coder::Tans(tans::Decoder::new(body, u32::from(k))?)
            }
            Self::Coded { .. } => return Err(Garbled),
        };
        let (prediction, scale) = match self {
            Self::Constant(_) => (Prediction::Plain, None),
            Self::Coded { prediction, scale, .. } => (prediction, scale),
        };
        Ok(Integers { left: len, coder, prediction, scale })
    }
}

/// A column's numbers, from the first to the last.
#[derive(Debug)]
pub(super) struct Integers<'a> {
    left: usize,
    coder: Coder<'a>,
    prediction: Prediction,
    scale: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Coder<'a> {
    Constant(u64),
    Rice { reader: BitReader<'a>, k: u32 },
    Tans(tans::Decoder<'a>),
}

impl Integers<'_> {
    /// Reads numbers into `out` as far as there are any and it has room; how many.
    pub(super) fn fill(&mut self, out: &mut [u64]) -> Result<usize, Garbled> {
        let len = out.len().min(self.left);
        let out = out.get_mut(..len).unwrap_or_default();
        match &mut self.coder {
            Coder::Constant(constant) => out.fill(*constant),
            Coder::Rice { reader, k } => rice::decode(reader, *k, out)?,
            Coder::Tans(decoder) => decoder.decode(out),
        }
        if self.coder.is_past_end() {
            return Err(Garbled);
        }
        self.prediction.decode(out);
        if let Some((base, unit)) = self.scale {
            for number in out {
                *number = number.wrapping_mul(unit).wrapping_add(base);
            }
        }
        self.left -= len;
        Ok(len)
    }
}

impl Coder<'_> {
    const fn is_past_end(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Rice { reader, .. } => reader.is_past_end(),
            Self::Tans(decoder) => decoder.is_past_end(),
        }
    }
}

/// Numbers of a column one by one, for columns that are read unevenly.
#[derive(Debug)]
pub(super) struct Pull<'a> {
    column: Integers<'a>,
    block: [u64; PULL_BLOCK],
    at: usize,
    len: usize,
}

const PULL_BLOCK: usize = 32;

impl<'a> Pull<'a> {
    pub(super) fn new(column: Integers<'a>) -> Self {
        Self { column, block: [0; PULL_BLOCK], at: 0, len: 0 }
    }

    /// The next number; garbled where there is none.
    #[inline]
    pub(super) fn next(&mut self) -> Result<u64, Garbled> {
        if self.at == self.len {
            self.len = self.column.fill(&mut self.block)?;
            self.at = 0;
        }
        let number = self.block.get(..self.len).and_then(|block| block.get(self.at));
        self.at += 1;
        number.copied().ok_or(Garbled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(numbers, &mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8], len: usize, block: usize) -> Result<Vec<u64>, Garbled> {
        let mut input = Input::new(bytes);
        let mut column = Packed::read(&mut input)?.open(len)?;
        assert!(input.is_empty());
        let mut back = vec![0; len];
        for part in back.chunks_mut(block) {
            assert_eq!(column.fill(part)?, part.len());
        }
        Ok(back)
    }

    #[track_caller]
    fn check(numbers: &[u64], bytes_max: usize) {
        let bytes = encoded(numbers);
        assert_eq!(decoded(&bytes, numbers.len(), 100).unwrap(), numbers);
        assert!(bytes.len() <= bytes_max, "{} bytes", bytes.len());
    }

    #[test]
    fn what_is_regular_takes_next_to_nothing() {
        check(&[7; 1000], 1);
        check(&[u64::MAX; 1000], 11);
        check(&(0..4000).collect::<Vec<_>>(), 50);
        check(&(0..4000).map(|n| n * 1000 + 5).collect::<Vec<_>>(), 50);
        check(&(0..4000).map(|n| 1000 * (n % 2)).collect::<Vec<_>>(), 4000 / 8 + 40);
    }

    #[test]
    fn one_that_lies_far_out_spoils_nothing() {
        let mut numbers: Vec<u64> = (0..1000).map(|n| n * n * 31 % 8).collect();
        numbers[500] = u64::MAX / 3;
        check(&numbers, 3 * 1000 / 8 + 60);
    }

    #[test]
    fn numbers_below_zero_are_as_cheap_as_those_above() {
        check(
            &(0..1000_u64).map(|n| (n * n * 31 % 8).wrapping_sub(4)).collect::<Vec<_>>(),
            3 * 1000 / 8 + 40,
        );
    }

    pub(in crate::store::codec) fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![4 => 0..20_u64, 2 => 0..5000_u64, 1 => any::<u64>()];
        let steps = prop::collection::vec(step, 1..400);
        (steps, any::<bool>(), 1..200_u64, any::<u64>()).prop_map(|(mut steps, sum, unit, base)| {
            let mut before = base;
            for step in &mut steps {
                before = before.wrapping_add(*step);
                *step = if sum { before } else { step.wrapping_mul(unit) };
            }
            steps
        })
    }

    proptest! {
        #[test]
        fn numbers_come_back(numbers in numbers(), block in 1..100_usize) {
            let bytes = encoded(&numbers);
            prop_assert_eq!(decoded(&bytes, numbers.len(), block).unwrap(), &numbers[..]);
            // Never much longer than as they are.
            prop_assert!(bytes.len() <= numbers.len() * 11 + 40);
        }
    }
}
