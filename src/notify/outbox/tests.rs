//! The queue under a given clock.

use super::*;
use crate::notify::tests::message;
use crate::notify::{Audit, Incidents, Moment};
use crate::rules::Rules;
use crate::store::{Facts, Table};

const HOUR: i64 = 3600;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn mail(to: &str) -> Recipient {
    Recipient::Email(to.to_owned())
}

fn later() -> Outcome {
    Outcome::Later { reason: "busy".to_owned(), after: None }
}

fn due(outbox: &mut Outbox, secs: i64) -> Vec<u64> {
    outbox.due(at(secs), 100).into_iter().map(|delivery| delivery.id.0).collect()
}

#[test]
fn hands_each_delivery_out_once_until_it_is_settled() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.queue(message(&["i1"]), mail("b"), at(0));
    assert_eq!(due(&mut outbox, 0), [1, 2]);
    assert_eq!(due(&mut outbox, 0), [0; 0]);
    assert_eq!(outbox.settle(DeliveryId(1), &Outcome::Delivered, at(1)), Verdict::Done);
    let refused = Outcome::Refused { reason: "no such user".to_owned() };
    assert_eq!(outbox.settle(DeliveryId(2), &refused, at(1)), Verdict::GivenUp);
    assert!(outbox.is_empty());
    let tally = Tally { delivered: 1, failed: 1, ..Tally::default() };
    assert_eq!(outbox.tally(), tally);
}

#[test]
fn order_holds_per_recipient_and_incident() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.queue(message(&["i2"]), mail("a"), at(0));
    outbox.queue(message(&["i1"]), mail("b"), at(0));
    outbox.queue(message(&["i2", "i3"]), mail("a"), at(0));
    assert_eq!(due(&mut outbox, 0), [1, 3, 4]);
    outbox.settle(DeliveryId(1), &later(), at(0));
    assert_eq!(due(&mut outbox, 1), [0; 0], "the second waits for the first to be tried again");
    outbox.settle(DeliveryId(3), &Outcome::Delivered, at(1));
    assert_eq!(outbox.next_due().map(Timestamp::as_secs), Some(0), "the fifth is free now");
    assert_eq!(due(&mut outbox, 10), [1, 5]);
    assert_eq!(outbox.next_due(), None, "the second is held back, and has no time of its own");
    outbox.settle(DeliveryId(1), &Outcome::Delivered, at(10));
    assert_eq!(due(&mut outbox, 10), [2]);
}

#[test]
fn waits_longer_each_time_and_gives_up_after_a_day() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    let mut now = at(0);
    let mut waits = Vec::new();
    loop {
        assert_eq!(outbox.due(now, 1).len(), 1);
        match outbox.settle(DeliveryId(1), &later(), now) {
            Verdict::Again(due) => {
                waits.push(due.since(now).as_millis());
                now = due;
            }
            verdict => {
                assert_eq!(verdict, Verdict::GivenUp);
                break;
            }
        }
    }
    for (wait, base) in waits.iter().zip([5, 10, 20, 40, 80, 160, 320, 600, 600]) {
        assert!((base * 1000..=base * 1200).contains(wait), "{wait} after {base}");
    }
    assert!((22 * HOUR..=24 * HOUR).contains(&now.as_secs()), "gave up at {now}");
}

#[test]
fn the_other_side_may_ask_for_more_patience() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), Recipient::Webhook("w".to_owned()), at(0));
    outbox.due(at(0), 1);
    let after = Some(Span::from_secs(100));
    let outcome = Outcome::Later { reason: "429".to_owned(), after };
    assert_eq!(outbox.settle(DeliveryId(1), &outcome, at(0)), Verdict::Again(at(100)));
    assert_eq!(outbox.next_due(), Some(at(100)));
}

/// Contacts with a mailbox each, of the same name; the first is told by default, `backup` what others
/// could not be.
fn configured(names: &[&str]) -> Outbox {
    Outbox::of(&config(names))
}

/// The same, and who says what is passed on.
fn with_incidents(names: &[&str]) -> (Outbox, Incidents) {
    (configured(names), Incidents::new(&config(names)))
}

fn pass_on(outbox: &mut Outbox, incidents: &mut Incidents, now: Timestamp) -> Vec<Arc<Message>> {
    let rules = Rules::new(&[], &Config::default().tiers, now);
    incidents.pass_on(&mut Moment { now, rules: &rules, outbox, audit: &mut Audit::default() })
}

fn config(names: &[&str]) -> Config {
    let contact = |name: &&str| crate::config::Contact {
        name: (*name).to_owned(),
        email: vec![(*name).to_owned()],
        webhook: None,
    };
    let contacts = names.iter().map(contact).collect();
    let mut config = Config { contacts, ..Config::default() };
    config.notify.default = names.first().map(|name| (*name).to_owned()).into_iter().collect();
    config.notify.fallback = vec!["backup".to_owned()];
    config
}

fn message_for(contact: &str, incident: &str) -> Arc<Message> {
    let contact = contact.to_owned();
    Arc::new(Message { contact, ..Message::clone(&message(&[incident])) })
}

/// What waits: to whom, and what the first notice of it says.
fn waiting(outbox: &Outbox) -> Vec<String> {
    let say = |one: Queued| {
        let notice = &one.message.notices[0];
        let (kind, value) = (notice.kind.word(), notice.value.unwrap_or_default());
        format!("{} {} {kind} {value}", one.recipient.shown(), notice.rule.name)
    };
    outbox.iter().map(say).collect()
}

#[test]
fn nobody_takes_the_room_of_others() {
    let mut outbox = Outbox::new(Span::DAY);
    let message = message(&["i1"]);
    for _ in 0..limits::OUTBOX_EACH {
        assert!(outbox.queue(Arc::clone(&message), mail("dead"), at(0)));
    }
    assert!(!outbox.queue(Arc::clone(&message), mail("dead"), at(0)));
    assert!(outbox.queue(Arc::clone(&message), mail("alive"), at(0)));
    assert_eq!((outbox.len(), outbox.tally().overflowed), (limits::OUTBOX_EACH + 1, 1));
    let lost = Lost {
        message: "m-1".to_owned(),
        contact: "oncall".to_owned(),
        recipient: mail("dead"),
        notices: 1,
    };
    assert_eq!(outbox.take_lost(), [lost]);
}

#[test]
fn is_bounded_and_says_so() {
    let mut outbox = configured(&["oncall", "pager", "backup"]);
    let recipients: Vec<_> = (0..4).map(|to| mail(&to.to_string())).collect();
    for to in recipients.iter().cycle().take(limits::OUTBOX) {
        assert!(outbox.queue(message(&["i1"]), to.clone(), at(0)));
    }
    for second in 1..=3 {
        assert!(!outbox.queue(message_for("pager", "i2"), mail("pager"), at(second)));
    }
    assert_eq!(outbox.tally().overflowed, 3);
    assert_eq!(outbox.take_lost().len(), 3);
    let told = waiting(&outbox).split_off(limits::OUTBOX);
    let began = ["oncall tallyd-outbox firing 1", "pager tallyd-outbox firing 1"];
    assert_eq!(told, began, "on-call, and who lost something, in room of its own, and once");
    // As what waits is delivered, the alarm ends, and says how much was lost.
    let (mut now, mut told) = (10, Vec::new());
    while !outbox.is_empty() {
        let out = outbox.due(at(now), limits::COURIERS);
        assert!(!out.is_empty());
        for delivery in out {
            let notice = &delivery.message.notices[0];
            if notice.rule.name == "tallyd-outbox" {
                let (to, kind) = (delivery.recipient.shown(), notice.kind.word());
                told.push(format!("{to} {kind} {}", notice.value.unwrap()));
            }
            outbox.settle(delivery.id, &Outcome::Delivered, at(now));
        }
        now += 1;
    }
    let expect = ["oncall firing 1", "pager firing 1", "oncall recovered 3", "pager recovered 3"];
    assert_eq!(told, expect);
}

#[test]
fn that_it_is_full_outlives_the_process() {
    let mut outbox = configured(&["oncall"]);
    let one = message(&["i1"]);
    while outbox.queue(Arc::clone(&one), mail("dead"), at(0)) {}
    let (mut facts, mut table) = (Facts::new(1), Table::default());
    outbox.note(&mut facts);
    table.apply(&facts);
    let mut again = configured(&["oncall"]);
    assert_eq!(again.recall(&table, 1), 0);
    assert_eq!(again.len(), limits::OUTBOX_EACH + 1);
    again.settle_alarm(at(5));
    assert_eq!(again.len(), limits::OUTBOX_EACH + 1, "not while there is no room");
    let gone: Vec<_> = again.waiting.keys().copied().take(limits::OUTBOX_EACH / 2).collect();
    for id in gone {
        again.settle(id, &Outcome::Delivered, at(6));
    }
    assert_eq!(waiting(&again).last().unwrap(), "oncall tallyd-outbox recovered 1");
}

#[test]
fn what_nobody_got_is_passed_on_once_and_never_to_who_lost_it() {
    let (mut outbox, mut incidents) = with_incidents(&["oncall", "backup"]);
    outbox.queue(message_for("oncall", "i1"), mail("oncall"), at(0));
    let refused = Outcome::Refused { reason: "no such user".to_owned() };
    outbox.due(at(0), 1);
    outbox.settle(DeliveryId(1), &refused, at(1));
    let passed = pass_on(&mut outbox, &mut incidents, at(1));
    let undelivered = passed[0].undelivered.as_ref().unwrap();
    assert_eq!(
        (&*passed[0].contact, &*undelivered.contact, &*undelivered.reason),
        ("backup", "oncall", "no such user")
    );
    assert_ne!(passed[0].id, "m-1");
    assert_eq!(outbox.due(at(1), 1)[0].recipient, mail("backup"));
    outbox.settle(DeliveryId(2), &refused, at(2));
    pass_on(&mut outbox, &mut incidents, at(2));
    assert!(outbox.is_empty(), "it ends there");
    // Nor is what was its own.
    outbox.queue(message_for("backup", "i1"), mail("backup"), at(3));
    outbox.due(at(3), 1);
    outbox.settle(DeliveryId(3), &refused, at(3));
    pass_on(&mut outbox, &mut incidents, at(3));
    assert!(outbox.is_empty());
    assert_eq!(outbox.tally().failed, 3);
}

#[test]
fn one_that_cannot_be_reached_is_told_to_others_when_it_is_given_up() {
    let (mut outbox, mut incidents) = with_incidents(&["oncall", "backup"]);
    outbox.queue(message_for("oncall", "i1"), mail("oncall"), at(0));
    let mut now = at(0);
    while let Some(delivery) = outbox.due(now, 1).first() {
        if delivery.recipient == mail("backup") {
            break;
        }
        outbox.settle(delivery.id, &later(), now);
        pass_on(&mut outbox, &mut incidents, now);
        now = outbox.next_due().unwrap();
    }
    assert!((23 * HOUR..=24 * HOUR).contains(&now.as_secs()), "{now}");
}

#[test]
fn that_somebody_looks_after_it_goes_to_who_keeps_a_record() {
    let webhook = crate::config::Webhook {
        url: crate::config::Secret::new("http://127.0.0.1:9/"),
        format: crate::config::WebhookFormat::PagerDuty {
            routing_key: crate::config::Secret::new("k"),
        },
        secret: None,
        ca_pem: None,
        headers: BTreeMap::new(),
    };
    let contact = |name: &str, webhook| crate::config::Contact {
        name: name.to_owned(),
        email: vec![format!("{name}@example.com")],
        webhook,
    };
    let contacts = vec![contact("pager", Some(webhook)), contact("oncall", None)];
    let mut outbox = Outbox::of(&Config { contacts, ..Config::default() });
    let notice = message(&["i1"]).notices[0].clone();
    let told = ["oncall".to_owned(), "pager".to_owned(), "gone".to_owned()];
    outbox.acknowledge(&notice, told.iter(), at(1));
    let queued: Vec<_> = outbox.iter().map(|one| one.recipient).collect();
    assert_eq!(queued, [Recipient::Webhook("pager".to_owned())]);
}

#[test]
fn a_test_is_taken_back_where_it_would_stay_open() {
    let webhook = |format| crate::config::Webhook {
        url: crate::config::Secret::new("http://127.0.0.1:9/"),
        format,
        secret: None,
        ca_pem: None,
        headers: BTreeMap::new(),
    };
    let key = crate::config::Secret::new("k");
    let contact = |name: &str, format| crate::config::Contact {
        name: name.to_owned(),
        email: vec![format!("{name}@example.com")],
        webhook: Some(webhook(format)),
    };
    let contacts = vec![
        contact("pager", crate::config::WebhookFormat::PagerDuty { routing_key: key }),
        contact("hub", crate::config::WebhookFormat::Alertmanager),
        contact("chat", crate::config::WebhookFormat::Slack),
    ];
    let config = Config { contacts, ..Config::default() };
    let rules = Rules::new(&[], &config.tiers, at(0));
    let (mut outbox, mut incidents) = (Outbox::of(&config), Incidents::new(&config));
    for name in ["pager", "hub", "chat"] {
        let audit = &mut Audit::default();
        let mut moment = Moment { now: at(0), rules: &rules, outbox: &mut outbox, audit };
        incidents.test(name, &mut moment).unwrap();
    }
    for delivery in outbox.due(at(0), 100) {
        // What was not taken is open nowhere.
        let is_busy = delivery.recipient == Recipient::Webhook("hub".to_owned());
        let outcome = if is_busy { later() } else { Outcome::Delivered };
        outbox.settle(delivery.id, &outcome, at(1));
    }
    assert_eq!(waiting(&outbox), ["pager test recovered 1"]);
    assert!(outbox.iter().all(|one| one.message.id.ends_with("-over")));
    // It is known again after a start, and tried until it is taken.
    let (mut facts, mut table) = (Facts::new(1), Table::default());
    outbox.note(&mut facts);
    table.apply(&facts);
    let mut again = Outbox::of(&config);
    assert_eq!(again.recall(&table, 1), 0);
    assert!(again.due(at(60), 100).is_empty());
    let delivery = again.due(at(61), 100).remove(0);
    assert!(delivery.message.is_test && delivery.message.is_all_over());
    assert!(matches!(again.settle(delivery.id, &later(), at(61)), Verdict::Again(_)));
    let delivery = again.due(at(80), 100).remove(0);
    again.settle(delivery.id, &Outcome::Delivered, at(80));
    assert!(again.is_empty());
}

#[test]
fn couriers_are_shared_among_recipients() {
    let mut outbox = Outbox::new(Span::DAY);
    for number in 0..200 {
        outbox.queue(message(&[&format!("i{number}")]), mail("slow"), at(0));
    }
    outbox.queue(message(&["i1"]), mail("quick"), at(0));
    let out = outbox.due(at(0), limits::COURIERS);
    let slow: Vec<_> = out.iter().filter(|one| one.recipient == mail("slow")).collect();
    assert_eq!((slow.len(), out.len()), (limits::COURIERS_EACH, limits::COURIERS_EACH + 1));
    assert_eq!(outbox.next_due(), None, "the rest waits for the end of one");
    // One that fails has a single courier from then on.
    for delivery in &slow {
        outbox.settle(delivery.id, &later(), at(30));
    }
    assert_eq!(outbox.due(at(30), limits::COURIERS).len(), 1);
    // Until it answers.
    let id = outbox.iter().position(|one| one.is_out && one.recipient == mail("slow"));
    assert_eq!(id, Some(4));
    outbox.settle(DeliveryId(5), &Outcome::Delivered, at(31));
    assert_eq!(outbox.due(at(31), limits::COURIERS).len(), limits::COURIERS_EACH);
}

#[test]
fn any_number_of_mailboxes_behind_a_relay_that_hangs_leave_couriers_to_webhooks() {
    let mut outbox = Outbox::new(Span::DAY);
    for number in 0..200 {
        outbox.queue(message(&["i1"]), mail(&number.to_string()), at(0));
    }
    let hook = Recipient::Webhook("hub".to_owned());
    outbox.queue(message(&["i1"]), hook.clone(), at(0));
    let out = outbox.due(at(0), limits::COURIERS);
    assert_eq!(out.len(), limits::COURIERS_MAIL + 1);
    assert!(out.iter().any(|delivery| delivery.recipient == hook));
    for delivery in out {
        outbox.settle(delivery.id, &later(), at(30));
    }
    let first = outbox.due(at(31), limits::COURIERS).len();
    assert_eq!(first, limits::COURIERS_MAIL, "those that were not tried yet");
}

#[test]
fn who_answers_again_gets_the_rest_at_once_and_in_order() {
    let mut outbox = Outbox::new(Span::DAY);
    for number in 0..20 {
        outbox.queue(message(&[&format!("i{number}")]), mail("a"), at(0));
    }
    outbox.queue(message(&["i1"]), mail("b"), at(0));
    // An hour without an answer; then waits are some ten minutes.
    let mut now = 0;
    while now < HOUR {
        for delivery in outbox.due(at(now), 100) {
            let after = (delivery.id.0 == 7).then_some(Span::from_secs(3000));
            let outcome = Outcome::Later { reason: "busy".to_owned(), after };
            outbox.settle(delivery.id, &outcome, at(now));
        }
        now = outbox.next_due().unwrap().as_secs() + 1;
    }
    let first = due(&mut outbox, now);
    let taken = first.iter().copied().find(|id| *id != 21).unwrap();
    for id in first {
        let outcome = if id == taken { Outcome::Delivered } else { later() };
        outbox.settle(DeliveryId(id), &outcome, at(now));
    }
    let mut got = Vec::new();
    while let Some(delivery) = outbox.due(at(now + 1), 1).pop() {
        got.push(delivery.id.0);
        outbox.settle(delivery.id, &Outcome::Delivered, at(now + 1));
    }
    let expect: Vec<_> = (1..=20).filter(|id| *id != taken && *id != 7).collect();
    assert_eq!(got, expect, "all but those that are not for it, and what it asked to wait with");
    assert!(outbox.iter().any(|one| one.recipient == mail("b")));
}

#[test]
fn who_takes_some_and_not_others_is_not_asked_without_end() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["poison"]), mail("a"), at(0));
    let mut attempts = 0;
    for now in 0..HOUR {
        outbox.queue(message(&[&format!("i{now}")]), mail("a"), at(now));
        for delivery in outbox.due(at(now), 100) {
            let is_poison = delivery.id.0 == 1;
            attempts += u64::from(is_poison);
            let outcome = if is_poison { later() } else { Outcome::Delivered };
            outbox.settle(delivery.id, &outcome, at(now));
        }
    }
    assert!(attempts < 80, "{attempts} in an hour");
    assert!(outbox.len() < 5, "nobody waits for it: {}", outbox.len());
}

#[test]
fn what_was_taken_in_part_is_tried_again_soon() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1", "i2"]), mail("a"), at(0));
    let mut now = at(0);
    let mut attempt = |outbox: &mut Outbox, takes: bool| {
        let delivery = outbox.due(now, 1).remove(0);
        if takes {
            delivery.progress.pass(None);
        }
        let Verdict::Again(due) = outbox.settle(delivery.id, &later(), now) else { panic!() };
        let wait = due.since(now).as_millis() / 1000;
        now = due;
        wait
    };
    let waits: Vec<_> =
        [false, false, false, true, false].map(|takes| attempt(&mut outbox, takes)).to_vec();
    for (wait, base) in waits.iter().zip([5, 10, 20, 5, 10]) {
        assert!((base..=base * 6 / 5).contains(wait), "{waits:?}");
    }
}

#[test]
fn the_last_attempt_is_at_the_end_whatever_the_other_side_asks_for() {
    let mut outbox = Outbox::new(Span::from_secs(60));
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.due(at(0), 1);
    let after = Some(Span::from_secs(u64::MAX));
    let outcome = Outcome::Later { reason: "429".to_owned(), after };
    assert_eq!(outbox.settle(DeliveryId(1), &outcome, at(1)), Verdict::Again(at(60)));
    assert_eq!(due(&mut outbox, 59), [0; 0]);
    assert_eq!(due(&mut outbox, 60), [1]);
    assert_eq!(outbox.settle(DeliveryId(1), &outcome, at(61)), Verdict::GivenUp);
}

#[test]
fn a_clock_that_was_set_back_over_a_start_holds_nothing_back() {
    let mut outbox = Outbox::new(Span::from_secs(7200));
    outbox.queue(message(&["i1"]), mail("a"), at(200_000));
    outbox.due(at(200_000), 1);
    outbox.settle(DeliveryId(1), &later(), at(200_000));
    let (mut facts, mut table) = (Facts::new(1), Table::default());
    outbox.note(&mut facts);
    table.apply(&facts);
    let mut again = Outbox::new(Span::from_secs(7200));
    assert_eq!(again.recall(&table, 1), 0);
    again.begin(at(100_000));
    assert_eq!(due(&mut again, 100_720), [1], "as long as anything waits");
    let verdict = again.settle(DeliveryId(1), &later(), at(107_200));
    assert_eq!(verdict, Verdict::GivenUp, "two hours after the start");
}
