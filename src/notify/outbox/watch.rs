//! Whether the disk is nearly full, and whether anything is kept, told second by second.
//!
//! Both have to stand for some seconds without a break before it is told, and be well for some before that is over. They
//! are counted, not measured, so a machine that stood still or a clock that leapt tells nobody anything.

use super::Outbox;
use super::alarm::Trouble;
use crate::limits;
use crate::time::Timestamp;

/// How it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What the file system of the data directory has free for us and in all, in bytes, where that is known.
    pub disk: Option<(u64, u64)>,
    /// Something of what brings things to the disk fails, or hangs.
    pub is_failing: bool,
}

/// For how many seconds in a row it has been so.
#[derive(Debug, Default)]
pub(super) struct Watch {
    low: u64,
    roomy: u64,
    failing: u64,
    well: u64,
}

/// Seconds in which the disk is low, or nothing is kept, before it is told, and in which it is well before
/// that is over.
const LOW: u64 = 5;
const FAILING: u64 = 15;
const WELL: u64 = 10;

impl Outbox {
    /// Takes in how it is in this second; whether somebody is to be told.
    pub fn watch(&mut self, now_is: Condition, now: Timestamp) -> bool {
        let before = self.next;
        let watch = &mut self.alarm.watch;
        let count = |of: &mut u64, is_so: bool| *of = if is_so { *of + 1 } else { 0 };
        count(&mut watch.failing, now_is.is_failing);
        count(&mut watch.well, !now_is.is_failing);
        let (failing, well) = (watch.failing, watch.well);
        if let Some((free, size)) = now_is.disk {
            let low = limits::disk_low(size);
            count(&mut watch.low, free < low);
            count(&mut watch.roomy, free >= low.saturating_mul(2));
            let (is_low, is_roomy, megabytes) =
                (watch.low == LOW, watch.roomy >= WELL, free / 1_000_000);
            if is_low && self.alarm.raised(Trouble::Disk).is_none() {
                self.raise(Trouble::Disk, None, |_| megabytes, now);
            } else if is_roomy {
                self.lower(Trouble::Disk, |_| megabytes, now);
            }
        }
        if failing == FAILING && self.alarm.raised(Trouble::Store).is_none() {
            self.raise(Trouble::Store, None, |_| failing, now);
        } else if well >= WELL {
            let since = self.alarm.raised(Trouble::Store).map(|raised| raised.since);
            let lasted = since.map_or(0, |since| now.since(since).as_millis() / 1000);
            self.lower(Trouble::Store, |_| lasted, now);
        }
        self.tell_rest(now);
        self.next > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Contact};
    use crate::store::{Facts, Table};

    const GB: u64 = 1_000_000_000;

    fn config() -> Config {
        let contact = |name: &str| Contact {
            name: name.to_owned(),
            email: vec![name.to_owned()],
            webhook: None,
        };
        let contacts = vec![contact("oncall"), contact("lead")];
        let mut config = Config { contacts, ..Config::default() };
        config.notify.default = vec!["oncall".to_owned()];
        config
    }

    /// What is told while it is so for so many seconds.
    fn seconds(outbox: &mut Outbox, at: &mut i64, secs: u64, now_is: Condition) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..secs {
            *at += 1;
            let now = Timestamp::from_secs(*at);
            let is_told = outbox.watch(now_is, now);
            let out = outbox.due(now, 100);
            assert_eq!(is_told, !out.is_empty());
            for delivery in out {
                let notice = &delivery.message.notices[0];
                let (name, kind) = (&notice.rule.name, notice.kind.word());
                let value = notice.rule.unit.say(notice.value.unwrap());
                told.push(format!("{at} {} {name} {kind} {value}", delivery.recipient.shown()));
                outbox.settle(delivery.id, &crate::notify::Outcome::Delivered, now);
            }
        }
        told
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_told_once_and_that_there_is_room_again() {
        let (mut outbox, mut at) = (Outbox::of(&config()), 0);
        let disk = |free| Condition { disk: Some((free, 10 * GB)), is_failing: false };
        let none = [""; 0];
        assert_eq!(seconds(&mut outbox, &mut at, 60, disk(GB)), none);
        assert_eq!(seconds(&mut outbox, &mut at, 4, disk(GB / 3)), none, "for a moment");
        assert_eq!(seconds(&mut outbox, &mut at, 1, disk(GB)), none);
        let low = seconds(&mut outbox, &mut at, 100, disk(GB / 3));
        assert_eq!(low, ["70 oncall tallyd-disk firing 333 MB free"]);
        assert_eq!(seconds(&mut outbox, &mut at, 60, disk(GB * 6 / 10)), none, "hardly any");
        assert_eq!(seconds(&mut outbox, &mut at, 60, disk(GB / 3)), none, "it was told");
        let roomy = seconds(&mut outbox, &mut at, 60, disk(GB));
        assert_eq!(roomy, ["295 oncall tallyd-disk recovered 1000 MB free"]);
        // On a large disk a twentieth is a lot.
        let large = |free| Condition { disk: Some((free, 10_000 * GB)), is_failing: false };
        assert_eq!(seconds(&mut outbox, &mut at, 60, large(3 * GB)), none);
        assert_eq!(seconds(&mut outbox, &mut at, 60, large(GB)).len(), 1);
        let unknown = Condition { disk: None, is_failing: false };
        assert_eq!(seconds(&mut outbox, &mut at, 60, unknown), none);
    }

    #[test]
    fn that_nothing_is_kept_is_told_and_its_end_is_told_by_the_next_process() {
        let (mut outbox, mut at) = (Outbox::of(&config()), 0);
        let (fails, well) = (Condition { disk: None, is_failing: true }, Condition::default());
        for _ in 0..10 {
            assert_eq!(seconds(&mut outbox, &mut at, 14, fails), [""; 0], "once in a while");
            assert_eq!(seconds(&mut outbox, &mut at, 1, well), [""; 0]);
        }
        let told = seconds(&mut outbox, &mut at, 60, fails);
        assert_eq!(told, ["165 oncall tallyd-store firing 15 s"]);
        let (mut facts, mut table) = (Facts::new(1), Table::default());
        outbox.note(&mut facts);
        table.apply(&facts);
        let mut again = Outbox::of(&config());
        assert_eq!(again.recall(&table, 1), 0);
        assert_eq!(seconds(&mut again, &mut at, 60, fails), [""; 0], "they know");
        again.saved(u64::MAX);
        let told = seconds(&mut again, &mut at, 60, well);
        assert_eq!(told, ["280 oncall tallyd-store recovered 115 s"]);
    }
    /// What waits, by what it says.
    fn waiting(outbox: &Outbox) -> std::collections::BTreeMap<String, usize> {
        let mut all = std::collections::BTreeMap::new();
        for one in outbox.iter() {
            let notice = &one.message.notices[0];
            *all.entry(format!("{} {}", notice.rule.name, notice.kind.word())).or_default() += 1;
        }
        all
    }

    #[test]
    fn what_finds_no_room_even_in_the_room_for_it_is_told_when_there_is_some() {
        let contact = |n: u32| Contact {
            name: n.to_string(),
            email: vec![format!("{n}@example.com")],
            webhook: None,
        };
        let mut config = Config { contacts: (0..70).map(contact).collect(), ..Config::default() };
        config.notify.default = (0..70).map(|n| n.to_string()).collect();
        let (mut outbox, now) = (Outbox::of(&config), Timestamp::from_secs(1));
        let watch = |outbox: &mut Outbox, is: Condition| _ = outbox.watch(is, now);
        let disk = |free, is_failing| Condition { disk: Some((free, 10 * GB)), is_failing };
        (0..LOW).for_each(|_| watch(&mut outbox, disk(0, false)));
        for n in (0..8).cycle() {
            let to = crate::notify::Recipient::Email(format!("other-{n}@example.com"));
            if !outbox.queue(crate::notify::tests::message(&["i1"]), to, now) {
                break;
            }
        }
        (0..FAILING).for_each(|_| watch(&mut outbox, disk(GB, true)));
        let count = |outbox: &Outbox, what: &str| waiting(outbox).get(what).copied().unwrap_or(0);
        assert_eq!(count(&outbox, "tallyd-outbox firing"), 70);
        assert_eq!(count(&outbox, "tallyd-store firing"), 30, "{:?}", waiting(&outbox));
        assert_eq!(count(&outbox, "tallyd-disk recovered"), 0, "not told to some alone");
        while count(&outbox, "tallyd-disk recovered") == 0 {
            let delivery = outbox.due(now, 1).remove(0);
            outbox.settle(delivery.id, &crate::notify::Outcome::Delivered, now);
            watch(&mut outbox, disk(GB, true));
            assert!(outbox.len() <= limits::OUTBOX + limits::OUTBOX_ALARMS);
        }
        assert_eq!(count(&outbox, "tallyd-store firing"), 70);
        assert_eq!(count(&outbox, "tallyd-disk recovered"), 70);
    }
}
