//! A state as bytes, to be kept: all of it, so that the evaluation after a restart goes on as if nothing
//! had happened.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, [`VERSION`] |
//! | 1 | level, and which of the optional values follow |
//! | … | when it began (signed milliseconds), its values, what was seen last, both gates, for how long data was missing, changes |
//!
//! Numbers are those of [`varint`]. Any bytes are either a state that could have been written or an error;
//! it takes no more memory than [`limits::FLAP_CHANGES`] instants.

use super::{Flaps, Gate, Level, State};
use crate::limits;
use crate::query::{Observation, Reason};
use crate::time::{Span, Timestamp};
use crate::varint::{self, Reader, unzigzag, zigzag};

/// Of what is written. A later one is refused.
pub const VERSION: u8 = 1;

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A later program wrote them.
    #[error("the state of a rule was written by a later version ({0})")]
    Version(u8),
    /// Nobody wrote them like this.
    #[error("the state of a rule is damaged")]
    Damaged,
}

const LEVELS: [Level; 4] = [Level::Ok, Level::Warning, Level::Unknown, Level::Critical];

/// In the order of their numbers; a new one goes to the end.
const REASONS: [Reason; 7] = [
    Reason::Gap,
    Reason::NoReference,
    Reason::BelowFloor,
    Reason::WrongKind,
    Reason::Unreadable,
    Reason::OffSchedule,
    Reason::NothingToDivideBy,
];

impl State {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let values = [self.began, self.worst, self.value];
        out.extend([VERSION, number_of(&LEVELS, &self.level)]);
        out.push(flags([
            values[0].is_some(),
            values[1].is_some(),
            values[2].is_some(),
            self.missing.is_some(),
            self.flaps.is_flapping,
            self.flaps.insisted,
        ]));
        varint::put(out, zigzag(self.since.as_millis()));
        values.into_iter().flatten().for_each(|value| varint::put_double(out, value));
        put_observation(out, self.observation);
        put_gate(out, self.warning);
        put_gate(out, self.critical);
        self.missing.into_iter().for_each(|missing| put_span(out, missing));
        put_span(out, self.flaps.clock);
        put_span(out, self.flaps.critical);
        varint::put(out, self.flaps.changes.len() as u64);
        // How long ago: a small number whatever the clock shows.
        let clock = self.flaps.clock;
        self.flaps.changes.iter().for_each(|at| put_span(out, clock.minus(*at)));
    }

    /// The state that these bytes are, all of them.
    ///
    /// # Errors
    /// [`StateError`], where they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader::new(bytes);
        match reader.byte() {
            Some(VERSION) => {}
            Some(later) if later > VERSION => return Err(StateError::Version(later)),
            _ => return Err(StateError::Damaged),
        }
        let state = read(&mut reader).filter(|_| reader.is_empty());
        state.ok_or(StateError::Damaged)
    }
}

fn read(reader: &mut Reader<'_>) -> Option<State> {
    let level = *LEVELS.get(usize::from(reader.byte()?))?;
    let flags = reader.byte().filter(|flags| flags >> 6 == 0)?;
    let is_set = |bit: u8| flags & (1 << bit) != 0;
    let since = Timestamp::from_millis(unzigzag(reader.number()?));
    let mut value = |bit| if is_set(bit) { value(reader).map(Some) } else { Some(None) };
    let (began, worst, value) = (value(0)?, value(1)?, value(2)?);
    let observation = observation(reader)?;
    let (warning, critical) = (gate(reader)?, gate(reader)?);
    let missing = if is_set(3) { Some(span(reader)?) } else { None };
    let clock = span(reader)?;
    let critical_for = span(reader)?;
    let changes = changes(reader, clock)?;
    let (is_flapping, insisted) = (is_set(4), is_set(5));
    let flaps = Flaps { clock, changes, is_flapping, critical: critical_for, insisted };
    Some(State {
        level,
        since,
        began,
        worst,
        value,
        observation,
        warning,
        critical,
        missing,
        flaps,
    })
}

fn number_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let at = all.iter().position(|other| other == one);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

/// The first in the lowest bit.
fn flags<const N: usize>(all: [bool; N]) -> u8 {
    all.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag))
}

fn put_span(out: &mut Vec<u8>, span: Span) {
    varint::put(out, span.as_millis());
}

fn span(reader: &mut Reader<'_>) -> Option<Span> {
    Some(Span::from_millis(reader.number()?))
}

/// A value is never NaN.
fn value(reader: &mut Reader<'_>) -> Option<f64> {
    reader.double().filter(|value| !value.is_nan())
}

fn put_observation(out: &mut Vec<u8>, observation: Observation) {
    match observation {
        Observation::NeverSeen => out.push(0),
        Observation::Missing => out.push(1),
        Observation::AtLeast(bound) => {
            out.push(2);
            varint::put_double(out, bound);
        }
        Observation::Value { value, covered } => {
            out.push(3);
            varint::put_double(out, value);
            varint::put_double(out, covered);
        }
        Observation::Unjudged(reason) => out.extend([4, number_of(&REASONS, &reason)]),
    }
}

fn observation(reader: &mut Reader<'_>) -> Option<Observation> {
    Some(match reader.byte()? {
        0 => Observation::NeverSeen,
        1 => Observation::Missing,
        2 => Observation::AtLeast(value(reader)?),
        3 => Observation::Value { value: value(reader)?, covered: value(reader)? },
        4 => Observation::Unjudged(*REASONS.get(usize::from(reader.byte()?))?),
        _ => return None,
    })
}

fn put_gate(out: &mut Vec<u8>, gate: Gate) {
    out.push(flags([gate.firing, gate.held.is_some(), gate.beyond != 0]));
    gate.held.into_iter().for_each(|held| put_span(out, held));
    if gate.beyond != 0 {
        varint::put(out, gate.beyond);
    }
}

fn gate(reader: &mut Reader<'_>) -> Option<Gate> {
    let flags = reader.byte().filter(|flags| flags >> 3 == 0)?;
    let held = if flags & 2 != 0 { Some(span(reader)?) } else { None };
    let beyond = if flags & 4 != 0 { reader.number().filter(|beyond| *beyond != 0)? } else { 0 };
    Some(Gate { firing: flags & 1 != 0, held, beyond })
}

/// Oldest first, and none after `clock`.
fn changes(reader: &mut Reader<'_>, clock: Span) -> Option<Vec<Span>> {
    let most = u64::from(limits::FLAP_CHANGES) + 1;
    let count = reader.number().filter(|count| *count <= most)?;
    let ago = (0..count).map(|_| span(reader).filter(|ago| *ago <= clock));
    let changes: Vec<_> = ago.map(|ago| ago.map(|ago| clock.minus(ago))).collect::<Option<_>>()?;
    changes.is_sorted().then_some(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span() -> impl Strategy<Value = Span> {
        prop_oneof![0..100_000_u64, any::<u64>()].prop_map(Span::from_millis)
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![(-9..9_i32).prop_map(f64::from), any::<f64>(), Just(f64::INFINITY)]
            .prop_filter("a value is never NaN", |number| !number.is_nan())
    }

    fn observation() -> impl Strategy<Value = Observation> {
        prop_oneof![
            Just(Observation::NeverSeen),
            Just(Observation::Missing),
            number().prop_map(Observation::AtLeast),
            (number(), 0.0..1.0).prop_map(|(value, covered)| Observation::Value { value, covered }),
            (0..REASONS.len()).prop_map(|at| Observation::Unjudged(REASONS[at])),
        ]
    }

    fn gate() -> impl Strategy<Value = Gate> {
        (any::<bool>(), prop::option::of(span()), prop_oneof![Just(0), any::<u64>()])
            .prop_map(|(firing, held, beyond)| Gate { firing, held, beyond })
    }

    fn flaps() -> impl Strategy<Value = Flaps> {
        let most = usize::from(limits::FLAP_CHANGES) + 1;
        let changes = prop::collection::vec(span(), 0..=most);
        (changes, span(), any::<bool>(), any::<bool>()).prop_map(
            |(mut changes, critical, is_flapping, insisted)| {
                changes.sort_unstable();
                let clock = changes.last().copied().unwrap_or_default();
                Flaps { clock, changes, is_flapping, critical, insisted }
            },
        )
    }

    prop_compose! {
        fn state()(
            level in 0..LEVELS.len(),
            since: i64,
            values in [prop::option::of(number()), prop::option::of(number()), prop::option::of(number())],
            observation in observation(),
            gates in [gate(), gate()],
            missing in prop::option::of(span()),
            flaps in flaps(),
        ) -> State {
            let ([began, worst, value], [warning, critical]) = (values, gates);
            let (level, since) = (LEVELS[level], Timestamp::from_millis(since));
            State { level, since, began, worst, value, observation, warning, critical, missing, flaps }
        }
    }

    fn encoded(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_quiet_state_is_short() {
        let state = State::new(Timestamp::from_secs(1_767_571_200));
        assert_eq!(encoded(&state).len(), 15);
    }

    #[test]
    fn what_was_written_by_a_later_version_is_told() {
        let mut bytes = encoded(&State::new(Timestamp::EPOCH));
        bytes[0] = 2;
        assert_eq!(State::decode(&bytes), Err(StateError::Version(2)));
        assert_eq!(State::decode(&[]), Err(StateError::Damaged));
    }

    #[test]
    fn the_form_of_version_1_stays() {
        let bytes = [
            1, 3, 0b01_1111, 0, 0x30, 0x60, 0x28, 3, 0x28, 0x10, 0, 0b110, 0xd0, 0x0f, 5, 0xe8,
            0x07, 0x90, 0x4e, 0xe8, 0x07, 2, 0xd0, 0x0f, 0,
        ];
        let state = State::decode(&bytes).unwrap();
        assert_eq!(encoded(&state), bytes);
        insta::assert_debug_snapshot!(state);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn reads_what_it_wrote(state in state()) {
            let bytes = encoded(&state);
            prop_assert_eq!(State::decode(&bytes), Ok(state));
            for cut in 0..bytes.len() {
                prop_assert!(State::decode(&bytes[..cut]).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn any_bytes_are_a_state_or_an_error(
            state in state(),
            at in any::<prop::sample::Index>(),
            byte: u8,
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = encoded(&state);
            *at.get_mut(&mut bytes) = byte;
            for bytes in [bytes, [&[VERSION], &noise[..]].concat()] {
                if let Ok(state) = State::decode(&bytes) {
                    prop_assert_eq!(State::decode(&encoded(&state)), Ok(state));
                }
            }
        }
    }
}
