//! Tabled asymmetric numeral systems: many numbers at nearly their entropy, at some nanoseconds each.
//!
//! J. Duda, "Asymmetric numeral systems" (2009), in the form of Y. Collet's Finite State Entropy with
//! its spread of symbols. A number is split into a token and bits that are kept as they are:
//!
//! - `v = u >> k`; up to 15 the token is `v` itself, with the `k` lower bits of `u` as they are;
//! - above that, with `y = v - 15` and `e` the position of its highest bit, the token is `16 + e`, with
//!   the `e` lower bits of `y` and the `k` of `u` as they are (Elias gamma, so any `u64` has a token).
//!
//! A body, all of it bits as in [`super::bits`], in two parts: the length of the first as a varint,
//! the first, the second.
//!
//! 1. The highest token (7 bits); for each token up to it its weight, 0 where it does not occur, else
//!    1 to 41: 16 × 2^((weight − 1) ÷ 4). Weights come as differences to the one before, zigzag, Rice
//!    with k = 2, the first to 32. So a frequency is at most a tenth wrong, which costs 0.002 bits a
//!    number, and takes some five bits. Then two states (10 bits each) and the bits of all transitions.
//! 2. The bits that are kept as they are.
//!
//! The two states take turns: the first number is the first state's, the next the second's. The chain
//! of a table look-up, a shift and an addition then runs twice at once.

use super::Garbled;
use super::bits::{BitCursor, BitReader, BitWriter};
use super::bytes::{Input, put_sized, unzigzag, zigzag};
use super::rice;

const TABLE_LOG: u32 = 10;
const TABLE: usize = 1 << TABLE_LOG;
/// The same.
const TABLE_SHARES: u32 = 1 << TABLE_LOG;

/// Tokens that stand for one value of `v` each.
const DIRECT: u8 = 16;
const TOKENS: usize = DIRECT as usize + 64;

/// Weights from 1 on: 16 × 2^((weight − 1) ÷ 4), rounded.
const WEIGHTS: [u32; 41] = [
    16, 19, 23, 27, 32, 38, 45, 54, 64, 76, 91, 108, 128, 152, 181, 215, 256, 304, 362, 431, 512,
    609, 724, 861, 1024, 1218, 1448, 1722, 2048, 2435, 2896, 3444, 4096, 4871, 5793, 6889, 8192,
    9742, 11585, 13777, 16384,
];
const FIRST_WEIGHT: u64 = 32;
const WEIGHT_K: u32 = 2;

/// What is known of the numbers before they are coded.
#[derive(Debug)]
pub(super) struct Plan {
    k: u32,
    weights: Vec<u8>,
    shares: Vec<u32>,
    /// What the model takes, about, in bits.
    model: u64,
    /// What the numbers take.
    coded: u64,
}

impl Plan {
    /// What the body takes, about, in bits, when there are so many times as many numbers.
    pub(super) fn bits(&self, times: usize) -> u64 {
        self.model + self.coded * times as u64
    }
}

/// How the numbers would be coded with these low bits as they are.
pub(super) fn plan(numbers: &[u64], k: u32) -> Plan {
    let mut counts = [0_u32; TOKENS];
    let mut plain: u64 = 0;
    for number in numbers {
        let (token, extra) = split(*number, k);
        plain += u64::from(extra);
        if let Some(count) = counts.get_mut(token) {
            *count += 1;
        }
    }
    let top = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let counts = counts.get(..=top).unwrap_or_default();
    let weights: Vec<_> = counts.iter().map(|count| weight(*count, numbers.len())).collect();
    let shares = shares(&weights).expect("one token at least occurs");
    let coded: f64 = counts
        .iter()
        .zip(&shares)
        .filter(|(count, _)| **count > 0)
        .map(|(count, share)| f64::from(*count) * (f64::from(TABLE_LOG) - f64::from(*share).log2()))
        .sum();
    let model = 31 + 2 * u64::from(TABLE_LOG) + 5 * weights.len() as u64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    let coded = plain + coded as u64;
    Plan { k, weights, shares, model, coded }
}

/// The token of a number, and how many bits of it are kept as they are.
#[inline]
fn split(number: u64, k: u32) -> (usize, u32) {
    let v = number >> k;
    if v < DIRECT.into() {
        return (usize::try_from(v).unwrap_or(0), k);
    }
    let e = (v - u64::from(DIRECT - 1)).ilog2();
    (usize::from(DIRECT) + e as usize, k + e)
}

/// The weight that is nearest to so many of so many; 0 for none.
fn weight(count: u32, of: usize) -> u8 {
    if count == 0 {
        return 0;
    }
    // In 65,536ths of the greatest weight, so that whole numbers do; weights are far enough apart.
    let scaled = (u64::from(count) << 30) / (of.max(1) as u64);
    let nearer = |step: &u32| u64::from(*step) << 16 < scaled - scaled / 12;
    let below = WEIGHTS.iter().take_while(|step| nearer(step)).count();
    u8::try_from(below.min(WEIGHTS.len() - 1) + 1).unwrap_or(1)
}

/// How many of the table's entries each token has: its share by weight, but one at least.
///
/// None where no token has a weight. Only whole numbers, so that every machine comes to the same.
fn shares(weights: &[u8]) -> Option<Vec<u32>> {
    let size = |weight: &u8| {
        usize::from(*weight).checked_sub(1).and_then(|at| WEIGHTS.get(at)).copied().unwrap_or(0)
    };
    let total: u32 = weights.iter().map(size).sum();
    let share = |weight: &u8| match size(weight) {
        0 => 0,
        size => ((size * TABLE_SHARES + total / 2) / total).max(1),
    };
    let mut shares: Vec<u32> = weights.iter().map(share).collect();
    let mut sum: u32 = shares.iter().sum();
    while sum != TABLE_SHARES {
        let most = shares.iter_mut().max().filter(|share| **share > 0)?;
        if sum > TABLE_SHARES {
            *most -= 1;
            sum -= 1;
        } else {
            *most += 1;
            sum += 1;
        }
    }
    Some(shares)
}

/// The token of every entry: each token's entries spread over the table at equal distances.
fn spread(shares: &[u32]) -> [u8; TABLE] {
    const STEP: usize = (TABLE >> 1) + (TABLE >> 3) + 3;
    let mut tokens = [0; TABLE];
    let mut at = 0;
    for (token, share) in (0..).zip(shares) {
        for _ in 0..*share {
            if let Some(entry) = tokens.get_mut(at) {
                *entry = token;
            }
            at = (at + STEP) & (TABLE - 1);
        }
    }
    tokens
}

/// Appends a body that holds the numbers.
pub(super) fn encode(numbers: &[u64], plan: &Plan, out: &mut Vec<u8>) {
    let (states, moves) = transitions(numbers, plan);
    let mut first = Vec::new();
    let mut writer = BitWriter::new(&mut first);
    put_model(&plan.weights, &mut writer);
    for state in states {
        writer.put(u64::from(state), TABLE_LOG);
    }
    for (bits, width) in moves.iter().rev() {
        writer.put(u64::from(*bits), u32::from(*width));
    }
    writer.finish();
    put_sized(out, &first);
    let mut writer = BitWriter::new(out);
    for number in numbers {
        let (token, extra) = split(*number, plan.k);
        writer.put(number.wrapping_sub(least(token, plan.k)), extra);
    }
    writer.finish();
}

/// The states to begin decoding with, and the bits of each step, from the last number to the first.
fn transitions(numbers: &[u64], plan: &Plan) -> ([u32; 2], Vec<(u16, u8)>) {
    // For each token where its entries begin in `places`, and there the entries in their order.
    let mut begins = Vec::with_capacity(plan.shares.len());
    let mut sum = 0;
    for share in &plan.shares {
        begins.push(sum);
        sum += *share;
    }
    let mut places = [0_u32; TABLE];
    let mut next = begins.clone();
    for (entry, token) in (0..).zip(spread(&plan.shares)) {
        if let Some(at) = next.get_mut(usize::from(token)) {
            if let Some(place) = places.get_mut(*at as usize) {
                *place = entry;
            }
            *at += 1;
        }
    }
    let mut states = [0_u32; 2];
    let mut moves = Vec::with_capacity(numbers.len());
    for (at, number) in numbers.iter().enumerate().rev() {
        let (token, _) = split(*number, plan.k);
        let share = plan.shares.get(token).copied().unwrap_or(1);
        let begin = begins.get(token).copied().unwrap_or(0);
        let Some(state) = states.get_mut(at & 1) else { continue };
        let whole = *state + TABLE_SHARES;
        let mut width = whole.ilog2() - share.ilog2();
        if whole >> width < share {
            width -= 1;
        }
        let bits = whole & ((1 << width) - 1);
        moves.push(((bits & 0xffff) as u16, (width & 0xff) as u8));
        let place = (begin + (whole >> width) - share) as usize;
        *state = places.get(place).copied().unwrap_or(0);
    }
    (states, moves)
}

fn put_model(weights: &[u8], writer: &mut BitWriter<'_>) {
    writer.put(weights.len() as u64 - 1, 7);
    let mut before = FIRST_WEIGHT;
    for weight in weights {
        let weight = u64::from(*weight);
        rice::put(zigzag(weight.wrapping_sub(before)), WEIGHT_K, writer);
        before = weight;
    }
}

fn read_model(reader: &mut BitReader<'_>, k: u32) -> Result<Vec<u32>, Garbled> {
    reader.refill();
    let top = reader.take(7);
    if top >= u64::from(DIRECT) + 64 - u64::from(k) {
        return Err(Garbled);
    }
    let mut weights = Vec::with_capacity(TOKENS);
    let mut before = FIRST_WEIGHT;
    for _ in 0..=top {
        before = before.wrapping_add(unzigzag(rice::get(reader, WEIGHT_K)?));
        let weight = u8::try_from(before).ok().filter(|w| usize::from(*w) <= WEIGHTS.len());
        weights.push(weight.ok_or(Garbled)?);
    }
    shares(&weights).ok_or(Garbled)
}

/// The least number with this token.
fn least(token: usize, k: u32) -> u64 {
    match (token as u64).checked_sub(DIRECT.into()) {
        None => (token as u64) << k,
        Some(e) => (u64::from(DIRECT - 1) + (1 << (e & 63))) << k,
    }
}

/// Where a state leads.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    next: u16,
    width: u8,
    token: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct Token {
    least: u64,
    extra: u32,
}

/// Numbers that are decoded at once.
const BLOCK: usize = 128;

/// More than there are, so that a mask does for the check of bounds.
const TOKEN_ROOM: usize = 128;

#[derive(Debug)]
struct Table {
    entries: [Entry; TABLE],
    tokens: [Token; TOKEN_ROOM],
}

/// Numbers on their way out of a body.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    /// One allocation for a column of a chunk, of about six kilobytes.
    table: Box<Table>,
    /// The one whose turn it is, and the other.
    states: [usize; 2],
    moves: BitReader<'a>,
    plain: BitCursor<'a>,
}

impl<'a> Decoder<'a> {
    /// Reads the model; `k` is at most 63.
    pub(super) fn new(body: &'a [u8], k: u32) -> Result<Self, Garbled> {
        let mut input = Input::new(body);
        let mut moves = BitReader::new(input.sized()?);
        let shares = read_model(&mut moves, k)?;
        let mut state = || {
            moves.refill();
            usize::try_from(moves.take(TABLE_LOG)).map_err(|_| Garbled)
        };
        let states = [state()?, state()?];
        Ok(Self { table: table(&shares, k), states, moves, plain: BitCursor::new(input.rest()) })
    }

    /// Reads as many numbers as `out` has room for.
    ///
    /// In two passes over a block, each of which has few enough variables for the registers.
    pub(super) fn decode(&mut self, out: &mut [u64]) {
        let mut tokens = [0_u8; BLOCK];
        for out in out.chunks_mut(BLOCK) {
            let tokens = tokens.get_mut(..out.len()).unwrap_or_default();
            self.decode_tokens(tokens);
            self.decode_plain(tokens, out);
        }
    }

    fn decode_tokens(&mut self, tokens: &mut [u8]) {
        let entries = &self.table.entries;
        let mut moves = self.moves;
        let [mut one, mut other] = self.states;
        let mut pairs = tokens.chunks_exact_mut(2);
        for pair in &mut pairs {
            if let [a, b] = pair {
                moves.refill();
                *a = step(entries, &mut one, &mut moves);
                *b = step(entries, &mut other, &mut moves);
            }
        }
        if let [last] = pairs.into_remainder() {
            moves.refill();
            *last = step(entries, &mut one, &mut moves);
            std::mem::swap(&mut one, &mut other);
        }
        self.states = [one, other];
        self.moves = moves;
    }

    fn decode_plain(&mut self, tokens: &[u8], out: &mut [u64]) {
        let mut plain = self.plain;
        for (out, token) in out.iter_mut().zip(tokens) {
            let token = self.table.tokens.get(usize::from(*token) & (TOKEN_ROOM - 1));
            let Token { least, extra } = token.copied().unwrap_or_default();
            *out = least.wrapping_add(plain.take(extra));
        }
        self.plain = plain;
    }

    /// Whether more was taken than there was.
    pub(super) const fn is_past_end(&self) -> bool {
        self.moves.is_past_end() || self.plain.is_past_end()
    }
}

/// The token of this state; there are enough `moves` for the next one.
#[inline]
fn step(entries: &[Entry; TABLE], state: &mut usize, moves: &mut BitReader<'_>) -> u8 {
    let entry = entries.get(*state & (TABLE - 1)).copied().unwrap_or_default();
    let bits = moves.take(u32::from(entry.width));
    *state = usize::from(entry.next) + usize::try_from(bits).unwrap_or(0);
    entry.token
}

fn table(shares: &[u32], k: u32) -> Box<Table> {
    let mut table = Box::new(Table {
        entries: [Entry::default(); TABLE],
        tokens: [Token::default(); TOKEN_ROOM],
    });
    let mut next = [0_u32; TOKEN_ROOM];
    for (to, share) in next.iter_mut().zip(shares) {
        *to = *share;
    }
    for (entry, token) in table.entries.iter_mut().zip(spread(shares)) {
        let Some(count) = next.get_mut(usize::from(token)) else { continue };
        let width = TABLE_LOG - count.ilog2().min(TABLE_LOG);
        let next = (*count << width).wrapping_sub(TABLE_SHARES);
        *entry = Entry { next: (next & 0xffff) as u16, width: (width & 0xff) as u8, token };
        *count += 1;
    }
    for ((at, token), _) in table.tokens.iter_mut().enumerate().zip(shares) {
        let e = u32::try_from(at).unwrap_or(0).saturating_sub(DIRECT.into());
        *token = Token { least: least(at, k), extra: k + e };
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn coded(numbers: &[u64], k: u32) -> Vec<u8> {
        let mut body = Vec::new();
        encode(numbers, &plan(numbers, k), &mut body);
        body
    }

    fn decoded(body: &[u8], k: u32, len: usize, block: usize) -> Vec<u64> {
        let mut decoder = Decoder::new(body, k).unwrap();
        let mut back = vec![0; len];
        back.chunks_mut(block).for_each(|part| decoder.decode(part));
        assert!(!decoder.is_past_end());
        back
    }

    #[test]
    fn weights_are_what_the_formula_says() {
        for (at, weight) in WEIGHTS.iter().enumerate() {
            let exact = 16.0 * (f64::from(u8::try_from(at).unwrap()) / 4.0).exp2();
            assert!((f64::from(*weight) - exact).abs() <= 0.5, "{at}");
        }
    }

    #[test]
    fn the_nearest_weight_is_taken() {
        assert_eq!([0, 1, 500, 1000].map(|count| weight(count, 1000)), [0, 1, 37, 41]);
    }

    #[test]
    fn shares_fill_the_table_whatever_the_weights() {
        for weights in [vec![41], vec![1; 80], vec![0, 0, 7], [vec![41], vec![1; 79]].concat()] {
            let shares = shares(&weights).unwrap();
            assert_eq!(shares.iter().sum::<u32>(), 1024);
            assert!(shares.iter().zip(&weights).all(|(s, w)| (*s > 0) == (*w > 0)));
        }
        assert_eq!(shares(&[0, 0]), None);
    }

    #[test]
    fn a_skewed_source_comes_close_to_its_entropy() {
        // One in fifty is a one, spread evenly: 0.1414 bits each.
        let numbers: Vec<u64> = (0..4000).map(|at| u64::from(at % 50 == 0)).collect();
        let bits = coded(&numbers, 0).len() * 8;
        assert!((565..640).contains(&bits), "{bits}");
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            numbers in prop::collection::vec(
                prop_oneof![4 => 0..40_u64, 1 => 0..10_000_u64, 1 => any::<u64>()], 1..600),
            k in 0..64_u32,
            block in 1..70_usize,
        ) {
            let body = coded(&numbers, k);
            prop_assert_eq!(decoded(&body, k, numbers.len(), block), numbers);
        }

        #[test]
        fn any_body_is_read_or_refused(
            body in prop::collection::vec(any::<u8>(), 0..200), k in 0..64_u32,
        ) {
            if let Ok(mut decoder) = Decoder::new(&body, k) {
                decoder.decode(&mut [0; 300]);
            }
        }
    }
}
