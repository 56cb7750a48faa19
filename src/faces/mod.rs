//! The outward interfaces. They do not know each other, and all that they show is a view of the same
//! engine.

pub(crate) mod connections;
pub mod graphite;
pub mod http;
pub mod manifest;
pub mod memcache;
pub mod nagios;
pub mod nrpe;
mod page;
mod prometheus;
pub mod rows;
pub mod statsd;
pub mod tar;
pub mod told;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::engine::tally::{Counts, Tallies};
use crate::engine::{Beside, Engine};
use crate::notify::links::LinkKey;
use crate::time::clock::{Clock, Reading};
use crate::time::{Span, Timestamp};
use http::tokens::Tokens;
use memcache::access::Access;

/// What every face is given.
#[derive(Clone)]
pub struct Shared {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The time, as far as a clock that leaps is believed.
    pub clock: Arc<dyn Clock>,
    /// What clients of the memcached port did.
    pub tallies: Tallies,
    /// How the process is.
    pub status: Arc<Status>,
    /// Who may come in on the memcached port.
    pub access: Arc<Access>,
    /// Who may ask over HTTP.
    pub tokens: Arc<Tokens>,
    /// Who may ask over NRPE.
    pub nrpe: Arc<nrpe::Gate>,
    /// What the links in mails are signed with.
    pub links: LinkKey,
}

/// How the process is.
#[derive(Debug, Default)]
pub struct Status {
    /// Everything that is configured to listen does, and nothing is being shut down.
    pub is_ready: AtomicBool,
    /// When a base window was closed last, in milliseconds of [`Clock::monotonic`]; 0 before the
    /// first one.
    pub ticked: AtomicU64,
    /// How often the ticker went round, whether it had a window to close or not.
    pub rounds: AtomicU64,
    /// Connections to the memcached port that are open.
    pub connections: AtomicUsize,
    /// Connections to it since the start.
    pub accepted: AtomicUsize,
    /// Connections that were refused for want of room.
    pub refused: AtomicUsize,
    /// Room that long requests take while they are gathered, in bytes.
    pub gathering_bytes: AtomicUsize,
    /// Connections that were ended for their silence.
    pub idle_kicks: AtomicUsize,
    /// How often a connection with more requests let others go first.
    pub yields: AtomicUsize,
    /// How often a client said who it is.
    pub logins: AtomicUsize,
    /// How often that was wrong.
    pub failed_logins: AtomicUsize,
    /// Worker threads.
    pub threads: AtomicUsize,
    /// Connections allowed at once.
    pub max_connections: AtomicUsize,
    /// What `stats reset` takes away from the counts that `stats` shows, for all connections.
    pub baseline: Mutex<Counts>,
    /// What `stats detail` counts.
    pub detail: memcache::Detail,
    /// Who is connected to the memcached port.
    pub clients: memcache::Clients,
    /// Whether a client may end the process by `shutdown`.
    pub allows_shutdown: AtomicBool,
    /// A client has done so.
    pub shutdown: Notify,
    /// What became of lines of StatsD.
    pub statsd: told::Tally,
    /// And of Graphite.
    pub graphite: told::Tally,
    /// How it goes with the threads that bring what was counted to the disk.
    pub disk: [Pulse; 3],
    /// Signs of life that contacts took.
    pub heartbeats: AtomicU64,
    /// And those that did not arrive.
    pub failed_heartbeats: AtomicU64,
    /// What the file system of the data directory had free when it was last looked at, in bytes, and one more; 0
    /// where that is not known.
    pub disk_free: AtomicU64,
    /// What it has in all, in bytes.
    pub disk_size: AtomicU64,
    /// Where to ask for the configuration to be read again; empty where that is not done.
    pub reload: OnceLock<mpsc::Sender<ReloadReply>>,
}

/// How it goes with a thread that does one thing again and again.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Since when it works at what it does now, in milliseconds of [`Clock::monotonic`]; 0 while it rests.
    began: AtomicU64,
    is_failing: AtomicBool,
}

impl Pulse {
    /// It begins.
    pub fn begin(&self, clock: &dyn Clock) {
        self.began.store(millis(clock).max(1), Relaxed);
    }

    /// It is done, and whether that went well.
    pub fn end(&self, is_well: bool) {
        self.began.store(0, Relaxed);
        self.is_failing.store(!is_well, Relaxed);
    }

    /// Whether what it did last went well, and what it does now does not take too long.
    fn is_well(&self, clock: &dyn Clock) -> bool {
        let began = self.began.load(Relaxed);
        let hangs = began > 0 && millis(clock).saturating_sub(began) > HANGS_MILLIS;
        !hangs && !self.is_failing.load(Relaxed)
    }
}

/// Longer than anything takes that is done at one go where the disk is well.
const HANGS_MILLIS: u64 = 60_000;

fn millis(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX)
}

/// Where the outcome of a reload is sent: what was taken over, or why nothing was.
pub type ReloadReply = oneshot::Sender<Result<Reloaded, String>>;

/// What was taken over of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Rules that there are now.
    pub rules: usize,
    /// Contacts that there are now.
    pub contacts: usize,
    /// Sections that were changed and take effect at the next start.
    pub later: Vec<&'static str>,
}

impl Status {
    /// What `stats reset` takes back to nought, beyond the counts. Figures that `/metrics` shows as
    /// well are not among them: there a counter never goes back.
    pub(crate) fn reset(&self) {
        for figure in [&self.idle_kicks, &self.yields, &self.logins, &self.failed_logins] {
            figure.store(0, Relaxed);
        }
    }
}

impl Shared {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time now, and what tells whether somebody has set the clock.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.clock.reading()
    }

    /// Time since a base window was closed and the rules were evaluated. It goes by the monotonic
    /// clock: while a wall clock that was set back catches up, nothing is evaluated, and by its own
    /// account hardly any time passes.
    #[must_use]
    pub fn since_tick(&self) -> Span {
        let ticked = self.status.ticked.load(Relaxed);
        if ticked == 0 {
            // Before the first there is only the wall clock to go by.
            let closed = self.engine.view(|view| view.closed);
            return self.now().since(closed);
        }
        Span::from_millis(millis(&*self.clock).saturating_sub(ticked))
    }

    /// What of the process itself goes into series, beside what the engine knows.
    #[must_use]
    pub fn beside(&self) -> Beside {
        let Status { disk_free, disk_size, connections, refused, statsd, graphite, .. } =
            &*self.status;
        Beside {
            disk_free: disk_free.load(Relaxed).checked_sub(1),
            disk_size: disk_size.load(Relaxed),
            is_failing: !self.is_keeping(),
            connections: connections.load(Relaxed) as u64,
            refused: refused.load(Relaxed) as u64
                + statsd.connections_refused.load(Relaxed)
                + graphite.connections_refused.load(Relaxed),
            lines_refused: statsd.refused() + graphite.refused(),
            datagrams_lost: statsd.lost() + graphite.lost(),
        }
    }

    /// Notes that a window was closed.
    pub fn note_tick(&self) {
        self.status.ticked.store(millis(&*self.clock).max(1), Relaxed);
    }

    /// Whether windows are being closed in time: the heart of the process beats.
    #[must_use]
    pub fn is_ticking(&self) -> bool {
        self.since_tick() < nagios::STALE
    }

    /// Whether windows are closed, rules judged, and all of it kept: that a contact may be told so.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_ticking() && self.is_keeping()
    }

    /// Whether what is counted gets to the disk.
    fn is_keeping(&self) -> bool {
        self.status.disk.iter().all(|pulse| pulse.is_well(&*self.clock))
    }

    /// Whether the process does all that it is configured to do.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.is_ready.load(Relaxed)
    }
}

/// Waits until the process is asked to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Where the sender is gone, the process is on its way out as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What is said of a change without bound, which JSON has no number for.
pub const GREW_FROM_NOTHING: &str = "it grew from nothing";

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests;
