//! An engine under a clock that is moved, with threads as a server has them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use tallyd::config::Config;
use tallyd::engine::Engine;
use tallyd::time::{Span, Timestamp};
use tempfile::TempDir;

use crate::{Options, Seen, delta, key};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let directory = TempDir::new_in(&options.directory)?;
    let config = Config::default();
    let (engine, _) = Engine::open(&config, directory.path(), START)?;
    let engine = Arc::new(engine);
    let log = Worker::start("log", &engine, |engine, _| {
        engine.write_log()?;
        Ok(())
    })?;
    let store = Worker::start("store", &engine, |engine, now| {
        for _ in 0..=64 {
            if !engine.keep(now)? {
                break;
            }
        }
        Ok(())
    })?;
    let mut seen = Seen::new(std::process::id(), options);
    let mut name = Vec::new();
    let mut now = START;
    for second in 0..options.minutes * 60 {
        for series in 0..options.series {
            key(series, &mut name);
            engine.counters().incr(&name, delta(series, second), now);
        }
        now = now + Span::SECOND;
        engine.tick(now);
        log.work(now)?;
        if second % 5 == 0 {
            store.work(now)?;
        }
        seen.note()?;
    }
    seen.finish();
    Ok(())
}

/// A thread that does one thing when it is told to.
struct Worker {
    orders: SyncSender<Timestamp>,
    done: Receiver<anyhow::Result<()>>,
}

impl Worker {
    fn start(
        name: &str,
        engine: &Arc<Engine>,
        work: impl Fn(&Engine, Timestamp) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (orders, taken) = sync_channel(0);
        let (report, done) = sync_channel(0);
        let engine = Arc::clone(engine);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for now in taken {
                if report.send(work(&engine, now)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { orders, done })
    }

    /// Comes back when it is done.
    fn work(&self, now: Timestamp) -> anyhow::Result<()> {
        self.orders.send(now).context("the thread has ended")?;
        self.done.recv().context("the thread has ended")?
    }
}
