//! Every bound in one place.
//!
//! Nothing that a client, a file or a peer sends may make memory grow past a number on this page or
//! one in the configuration. The assertions at the end hold the numbers against each other.

use crate::time::Span;

/// Longest key, in bytes; memcached's own limit.
pub const KEY_BYTES: usize = 250;

/// Longest request line without its line end, in bytes, for every command but a retrieval.
/// memcached cuts a connection off at the same size when no line end has come.
pub const LINE_BYTES: usize = 2048;

/// Longest retrieval line (`get k1 k2 …`), in bytes: room for one thousand keys of full length, and
/// for the 187 KB that memcached's own tests send.
pub const GET_LINE_BYTES: usize = 256 * 1024;

/// Keys in one retrieval line.
pub const GET_KEYS: usize = 32 * 1024;

/// Largest value that a client may store unless `memcached.max_item` says less, in bytes.
pub const ITEM_BYTES_CEILING: usize = 128 * 1024 * 1024;

/// What one connection reads before it parses, in bytes.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// Replies that one connection holds before it writes them out, in bytes. A client that does not
/// read its replies is not read from either.
pub const REPLY_BUFFER_BYTES: usize = 256 * 1024;

/// Longest data block that a client may send before it is known, in bytes: a user, a blank and a
/// password. memcached's own lines have half of that.
pub const LOGIN_BYTES: usize = 512;

/// Time for a TLS handshake on the memcached port, in seconds.
pub const TLS_HANDSHAKE_SECS: u64 = 10;

/// Longest text of a number that becomes a gauge, in bytes; longer values are items.
pub const NUMBER_BYTES: usize = 32;

/// Places of the key table that one sweep for idle keys looks at, once a second: a million keys in ten
/// minutes.
pub const SWEEP_PLACES: usize = 2048;

/// Longest `counters.idle_expiry`, in seconds. Cells note hours in 16 bits, half of which are the past.
pub const IDLE_EXPIRY_SECS: u64 = 1000 * 24 * 60 * 60;

/// Prefixes of keys that `stats detail` counts by.
pub const STATS_PREFIXES: usize = 10_000;

/// Answer to `stats cachedump`, in bytes; memcached's own limit.
pub const CACHEDUMP_BYTES: usize = 2 * 1024 * 1024;

/// Longest answer about rules that `tallyd rules` reads, in bytes: 10,000 rules with ten instances each have
/// half of that.
pub const RULES_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Longest case of a file of rule tests, in seconds: 400 days.
pub const SCRIPT_SECS: u64 = 400 * 24 * 60 * 60;

/// Tags in one series.
pub const SERIES_TAGS: usize = 32;

/// Series over all time, those of keys that are idle included: their windows are kept for years, so their
/// names are. Each takes some 40 bytes beside its key: 1.3 GB with keys of 39 bytes. A tick may go past it by
/// what `counters.max_series` has room for; beyond, keys without a cell count in the overflow.
pub const SERIES_EVER: usize = 16_000_000;

/// Closed windows that are kept in memory over all series and tiers, in bytes. Half of it is for base
/// windows: at two to eight bytes each, an hour of ten thousand series that are touched every second.
pub const WINDOW_BYTES: usize = 512 * 1024 * 1024;

/// Rows that wait for the tick log while the disk is slow or full: ten minutes.
pub const TICK_QUEUE: usize = 600;

/// What these rows take, in bytes.
pub const TICK_QUEUE_BYTES: usize = 256 * 1024 * 1024;

/// Time that has to be seen to pass by a clock that has leapt before anything is too old by it, in
/// seconds: as long as it takes to set a wrong clock right. So much longer old windows stay after a gap.
pub const CLOCK_SETTLES_SECS: u64 = 15 * 60;

/// Windows in one chunk of the store. Eleven hours of ten seconds: a table of frequencies is then a
/// hundredth of a chunk, and still a few of them make up what a tier keeps.
pub const CHUNK_SLOTS: u16 = 4096;

/// What the histograms of one chunk take together, in bytes.
pub const CHUNK_STRING_BYTES: usize = 16 * 1024 * 1024;

/// Series in one group of chunks.
pub const GROUP_SERIES: usize = 128;

/// Instances of one rule (combinations of its `by` tags). More is an error state of the rule.
pub const RULE_INSTANCES: usize = 1000;

/// Steps of one rule's `escalate`.
pub const RULE_ESCALATIONS: usize = 16;

/// Rules that one rule depends on.
pub const RULE_DEPENDS: usize = 32;

/// `[[rule.when]]` entries of one rule.
pub const RULE_WHENS: usize = 16;

/// Evaluations that `of` looks back over: they are kept as bits of one number.
pub const OF_LAST: u8 = 64;

/// Changes of state that `flapping` may allow; so many instants are kept of an instance at most.
pub const FLAP_CHANGES: u8 = 50;

/// `[[schedule]]` entries in one configuration.
pub const SCHEDULES: usize = 1000;

/// Stretches of one schedule.
pub const SCHEDULE_TIMES: usize = 100;

/// Dates that one schedule leaves out.
pub const SCHEDULE_DATES: usize = 366;

/// Different windows that rules watch: lengths, and what they are compared with. A rule with a further one is
/// asked each time instead.
pub const WINDOW_SHAPES: usize = 1000;

/// What the histograms of watched windows take, in bytes. A rule that would need more is asked each time.
pub const WATCH_BYTES: usize = 256 * 1024 * 1024;

/// Rows that are kept in memory because a watched window has yet to leave them behind, in bytes. Half of it is
/// for base windows: ten minutes of ten thousand series that are touched every second. Older ones are made
/// again from chunks.
pub const RECENT_ROW_BYTES: usize = 64 * 1024 * 1024;

/// `[[metric]]` entries in one configuration. A new key is held against each of them, once.
pub const METRICS: usize = 1000;

/// What one histogram may take with every range in use, in bytes: five figures over the default range
/// fit. A window holds what occurred in it, and hardly ever as much.
pub const HISTOGRAM_BYTES: usize = 16 * 1024 * 1024;

/// Files of the log of observations, of 262,140 records and 4 MiB each: what gauges and distributions
/// may be set to between two ticks before it is counted in memory alone. Four million a second; half of that where
/// each stands for several.
pub const OBSERVATION_FILES: usize = 16;

/// Rules in one configuration.
pub const RULES: usize = 20_000;

/// Size of a configuration file, in bytes.
pub const CONFIG_BYTES: u64 = 16 * 1024 * 1024;

/// Deliveries that wait in the outbox.
pub const OUTBOX: usize = 10_000;

/// Deliveries that wait in it for one recipient, so that one that is dead takes nobody else's room.
pub const OUTBOX_EACH: usize = OUTBOX / 4;

/// Deliveries beyond that which tell that it is full.
pub const OUTBOX_ALARMS: usize = 100;

/// What has to be free on the disk of the data directory, in bytes, where a twentieth of it is more.
const DISK_LOW: u64 = 1 << 30;

/// A disk of so many bytes is nearly full with less than this free. A twentieth may be a lot on a large one.
#[must_use]
pub const fn disk_low(size: u64) -> u64 {
    if size / 20 < DISK_LOW { size / 20 } else { DISK_LOW }
}

/// How long a test lasts to receivers that keep an alert open until they hear of its end: long enough for a phone
/// to ring.
pub const TEST_LASTS: Span = Span::from_secs(60);

/// How long a message waits to be on the disk before it is sent without.
pub const UNSAVED_PATIENCE: Span = Span::from_secs(2);

/// Incidents that are over and still known, of some 1 KB each.
pub const INCIDENTS_PAST: usize = 10_000;

/// Changes of state that are known of one incident, and messages. Those between the first and the latest
/// go first.
pub const INCIDENT_LINES: usize = 100;

/// Lines of the audit, of some 200 bytes each.
pub const AUDIT_LINES: usize = 20_000;

/// How long incidents that are over and lines of the audit are known.
pub const PAST_KEPT: Span = Span::from_secs(90 * 24 * 60 * 60);

/// Deploys that are known, of some 500 bytes each at most: ten a day for three months.
pub const DEPLOYS: usize = 1000;

/// Longest name of one, in characters, and of who did it.
pub const DEPLOY_CHARS: usize = 100;

/// Incidents, lines of the audit or deliveries in one answer.
pub const PAST_ANSWER: usize = 1000;

/// Notices that wait for one contact, of some 300 bytes each. They wait for five seconds, or for room in the
/// outbox.
pub const HELD_NOTICES: usize = 100_000;

/// Silences that are not over.
pub const SILENCES: usize = 1000;

/// How far ahead a silence may begin and end. One that is to last longer has the hours of a schedule.
pub const SILENCE_MAX: Span = Span::from_secs(366 * 24 * 60 * 60);

/// Longest pattern of a silence, in bytes.
pub const SILENCE_PATTERN_BYTES: usize = 1000;

/// Longest name of somebody who acknowledges, silences or says something, in bytes.
pub const AUTHOR_BYTES: usize = 200;

/// Longest thing that they say with it, in bytes.
pub const COMMENT_BYTES: usize = 2000;

/// Notices of one mail that have a picture, in two sets of colours of some 25 KB each.
pub const MAIL_PICTURES: usize = 3;

/// Pictures that are kept for those who are told the same, in two sets of colours: some 3 MB.
pub const PICTURES_KEPT: usize = 64;

/// Notices of one mail for which is looked up what was compared, and what was put into use.
pub const MAIL_ILLUSTRATED: usize = 20;

/// How long a mail waits for what stands beside it, in seconds.
pub const ILLUSTRATE_SECS: u64 = 5;

/// Deliveries under way at once, over all contacts.
pub const COURIERS: usize = 64;

/// Those under way to one recipient.
pub const COURIERS_EACH: usize = 4;

/// Those under way to recipients whose last attempt failed, of which each has one.
pub const COURIERS_FAILING: usize = COURIERS / 2;

/// How long after what waits for a recipient was tried at once, since that answered again, this may be done
/// anew.
pub const HURRY: Span = Span::from_secs(60);

/// Those under way by mail, which mostly goes by one relay.
pub const COURIERS_MAIL: usize = COURIERS / 4 * 3;

/// From one sign of life to the next, in seconds.
pub const HEARTBEAT_SECS: u64 = 60;

/// How long one attempt to deliver may take, in seconds.
pub const COURIER_SECS: u64 = 30;

/// What is read of a webhook's answer, in bytes; it is wanted only for the log.
pub const WEBHOOK_REPLY_BYTES: usize = 4096;

/// Longest body that a contact's template writes, in bytes: a digest of a thousand instances fits.
pub const TEMPLATE_BYTES: usize = 1024 * 1024;

/// What applying such a template may cost, in steps of its language and what they handle: about a tenth of a
/// second.
pub const TEMPLATE_FUEL: u64 = 2_000_000;

/// HTTP connections that are served at once, over all addresses. One more for each address is
/// accepted and waits; the rest wait in the kernel.
pub const HTTP_CONNECTIONS: usize = 1024;

/// How long an HTTP connection may go on asking, in seconds. What it has asked by then is answered.
pub const HTTP_CONNECTION_SECS: u64 = 60;

/// Time after that to fetch what is left of an answer, in seconds; then the connection is cut off.
pub const HTTP_FAREWELL_SECS: u64 = 30;

/// Time to send an HTTP request's head, in seconds.
pub const HTTP_HEADER_SECS: u64 = 10;

/// What one picture may cost, in windows that are looked at. At some 30 ns each it keeps a core busy
/// for about 30 ms.
pub const CHART_COST: u64 = 1_000_000;

/// The same of one answer of `/api/v1/measure`: about a second.
pub const MEASURE_COST: u64 = 30_000_000;

/// Points in one line of such an answer: a month of minutes fits. While they are made each takes some
/// 300 bytes.
pub const MEASURE_POINTS: usize = 50_000;

/// Points in all its lines together, of some 25 bytes each.
pub const MEASURE_ALL_POINTS: usize = 200_000;

/// What a command reads of such an answer, in bytes: all its points, and lines with the longest names.
pub const MEASURE_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Lines in such an answer: combinations of the `by` tags.
pub const MEASURE_LINES: usize = 1000;

/// Series that one such answer looks at, or one picture. What is known of them is copied under the
/// lock that a tick wants.
pub const MEASURE_SERIES: usize = 100_000;

/// Slices that a range is cut into, of some 200 bytes each: its points, and what the first of its
/// windows reaches back.
pub const MEASURE_SLICES: usize = 100_000;

/// Such slices that hold a sum alone, of eight bytes, over all lines that are read together.
pub const MEASURE_SUMS: usize = 1_000_000;

/// Times at which rules would have fired that one backtest lists, of some 150 bytes each; the others are
/// counted.
pub const BACKTEST_FIRINGS: usize = 20_000;

/// Observations that a backtest makes before it steps a rule with them, of 24 bytes each.
pub const BACKTEST_BLOCK: usize = 1_000_000;

/// The same by the series that they are made of.
pub const BACKTEST_BLOCK_SERIES: usize = 20_000_000;

/// Rules that are sent for a backtest, in bytes: some three thousand.
pub const BACKTEST_BODY_BYTES: usize = 1024 * 1024;

/// Series of tallyd's own, beside those of clients: the overflow, what `engine/own.rs` lists, and what later versions
/// may have had.
pub const OWN_SERIES: usize = 64;

/// Series whose names are compared with a pattern that matches nothing; some milliseconds for each of the patterns
/// that are helped.
pub const UNMATCHED_NAMES: usize = 10_000;

/// Patterns for which it is said what may have been meant; those behind them are told without.
pub const UNMATCHED_HELPED: usize = 100;

/// What a command reads of what was found: ten thousand rules with the longest patterns.
pub const LOOK_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How long one backtest may take, in seconds; an HTTP connection is served for longer.
pub const BACKTEST_SECS: u64 = 60;

/// What a command reads of its answer, in bytes: all times that are listed, with the longest names.
pub const BACKTEST_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Longest path with its query, in bytes.
pub const HTTP_URI_BYTES: usize = 8 * 1024;

/// All headers of a request together, in bytes.
pub const HTTP_HEAD_BYTES: usize = 16 * 1024;

/// What is read of a request before it is taken apart, in bytes.
pub const HTTP_BUFFER_BYTES: usize = 64 * 1024;

/// Answers to `/metrics` that are written at once. Each knows which series make a family, of some ten bytes each where many share
/// a name and some three hundred where none does, and has a thread.
pub const SCRAPES: usize = 4;

/// Tokens in one file; each request is held against all of them, at some nanoseconds each.
pub const TOKENS: usize = 1000;

/// Longest token, in bytes.
pub const TOKEN_BYTES: usize = 256;

/// How long a browser that has shown a token need not show it again, in seconds.
pub const SESSION_SECS: i64 = 7 * 24 * 60 * 60;

/// Sessions of browsers that have shown the same token, of some 100 bytes each; one more ends the first of them.
pub const SESSIONS_EACH: usize = 100;

/// Largest HTTP request body, in bytes.
pub const HTTP_BODY_BYTES: usize = 64 * 1024;

/// What a part of a backup comes to before the next is begun, in bytes. A single record may be longer.
pub const BACKUP_PART_BYTES: usize = 1024 * 1024;

/// Longest part that is read, in bytes: one with all rows that wait for the disk fits.
pub const BACKUP_PART_READ_BYTES: u64 = 1024 * 1024 * 1024;

/// Parts of a backup. Of a mebibyte each: sixteen tebibytes.
pub const BACKUP_PARTS: usize = 16 * 1024 * 1024;

/// Rows that are not in the store and go into a backup, in bytes: an hour of ten thousand series.
pub const BACKUP_ROW_BYTES: usize = 256 * 1024 * 1024;

/// How long a backup may be read, in seconds: the store gives no room back meanwhile.
pub const BACKUP_SECS: u64 = 60 * 60;

/// Rows of one request to import, in bytes.
pub const IMPORT_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Windows of all tiers that one such request may change, of some 150 bytes each meanwhile.
pub const IMPORT_WINDOWS: usize = 1_000_000;

/// Longest slice of time whose rows belong into one request, in seconds.
pub const IMPORT_SLICE_SECS: u64 = 7 * 24 * 60 * 60;

/// Rows of one file to import. They are sorted in memory, at 24 bytes each: a gigabyte.
pub const IMPORT_ROWS: usize = 40_000_000;

/// Longest line of such a file, in bytes: a name with every character quoted, and a note.
pub const IMPORT_LINE_BYTES: usize = 4096;

/// Threads for what waits for others: answers that take the engine's lock, and names that couriers look up. More than there are
/// attempts to deliver at once.
pub const BLOCKING_THREADS: usize = COURIERS + 32;

/// Longest answer of a Nagios check, in bytes: what Nagios itself reads of a plugin's output.
pub const NAGIOS_BYTES: usize = 8 * 1024;

/// Longest line of StatsD or Graphite, in bytes: what Datadog's clients put into one datagram.
pub const TOLD_LINE_BYTES: usize = 8 * 1024;

/// Longest datagram, in bytes; UDP has no longer ones.
pub const DATAGRAM_BYTES: usize = 64 * 1024;

/// Datagrams of one address that are taken before others have their turn, or [`READ_CHUNK_BYTES`] of them: some hundred
/// microseconds.
pub const DATAGRAMS_TURN: usize = 256;

/// Room that is asked of the system for datagrams that wait, in bytes: a quarter of a second of a hundred
/// thousand short ones a second.
pub const DATAGRAM_ROOM_BYTES: usize = 16 * 1024 * 1024;

/// Connections of StatsD at once, and of Graphite, over TCP.
pub const TOLD_CONNECTIONS: usize = 1024;

/// After so long without a word one of them is closed, in seconds; at the earliest after half of it.
pub const TOLD_IDLE_SECS: u64 = 60 * 60;

/// A connection over TCP is silent for so long until its peer is asked whether it is there, in seconds; then the
/// time between two such questions, and how many go without an answer until it is dead: two minutes in all.
pub const KEEPALIVE: (u64, u64, u32) = (60, 10, 6);

/// How far the instant of a value may lie from the present, in seconds. It is counted now.
pub const TOLD_SECS: u64 = 60;

/// Observations that one of a client that samples may stand for. It costs what one costs, but decides a window by
/// itself; and counts of 64 bits hold as many as come in within two months.
pub const OBSERVATION_WEIGHT: u32 = 1_000_000;

/// Sets of StatsD in one stretch of ten seconds.
pub const SETS: usize = 10_000;

/// Different members of all of them, of some 20 bytes each.
pub const SET_MEMBERS: usize = 1_000_000;

/// Events of StatsD in an hour: each takes the place of a deploy.
pub const EVENTS_HOUR: u32 = 60;

/// Longest text of an NRPE query, in bytes: the name of a rule and tags. `check_nrpe` sends about one KiB.
pub const NRPE_QUERY_BYTES: usize = 4096;

/// NRPE connections that are served at once. One more is accepted and waits; the rest wait in the kernel.
pub const NRPE_CONNECTIONS: usize = 256;

/// How long one may take from its first byte to its end, in seconds.
pub const NRPE_SECS: u64 = 10;

/// Networks from which NRPE may be asked.
pub const NRPE_NETWORKS: usize = 1000;

/// Time from a request to stop until the process ends whatever still runs, in seconds.
pub const SHUTDOWN_SECS: u64 = 4;

const _: () = {
    assert!(HTTP_URI_BYTES + HTTP_HEAD_BYTES < HTTP_BUFFER_BYTES, "what is too long is told so");
    assert!(KEY_BYTES * 1000 < GET_LINE_BYTES, "one thousand full keys fit a retrieval line");
    assert!(LINE_BYTES < READ_CHUNK_BYTES, "all other lines fit what is read at once");
    assert!(LINE_BYTES <= GET_LINE_BYTES);
    assert!(TOLD_LINE_BYTES < DATAGRAM_BYTES && (EVENTS_HOUR as usize) < DEPLOYS);
    assert!(GROUP_SERIES <= u8::MAX as usize, "a place in a group is one byte");
    assert!(MEASURE_POINTS <= MEASURE_ALL_POINTS && MEASURE_POINTS < MEASURE_SLICES);
    assert!(
        (BACKUP_ROW_BYTES as u64) < BACKUP_PART_READ_BYTES && BACKUP_PART_BYTES < BACKUP_ROW_BYTES
    );
    assert!(MEASURE_SLICES <= MEASURE_SUMS, "one line at least is read at once");
    assert!(COURIERS_EACH < COURIERS_FAILING && COURIERS_FAILING < COURIERS_MAIL);
    assert!(COURIER_SECS < HEARTBEAT_SECS, "a sign of life is over before the next");
    assert!(HTTP_HEADER_SECS < HTTP_CONNECTION_SECS);
    assert!(SHUTDOWN_SECS < 5, "systemd and our own promise allow five seconds");
};
