//! The room for connections: one for all addresses, and not for those to keep that say nothing.
//!
//! Whoever connects and asks nothing, or asks no more, has a seat as long as there are some. When there is none, the
//! one that has waited longest goes, unless that is less than a second: an honest client says what it wants at
//! once. Who is being answered, or is on the way with a body, stays. What is asked is not known here.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// An honest client says what it wants within this time.
const AT_LEAST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone)]
pub(super) struct Room {
    seats: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
    /// How many are sent away at once. Who floods us is gone as fast as he comes.
    batch: usize,
    /// Who has waited for less is left alone; a tenth of it lies between two looks.
    at_least: Duration,
}

/// Connections that nothing is done for, by when that began.
#[derive(Default)]
struct Waiting {
    next: u64,
    all: BTreeMap<(Instant, u64), Arc<Notify>>,
}

impl Room {
    pub(super) fn new(seats: usize) -> Self {
        let batch = (seats / 8).max(1);
        Self {
            seats: Arc::new(Semaphore::new(seats)),
            waiting: Arc::default(),
            batch,
            at_least: AT_LEAST,
        }
    }

    /// A seat, once there is one.
    pub(super) async fn seat(&self) -> Seat {
        loop {
            let taken = Arc::clone(&self.seats).acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(self.at_least / 10, taken).await {
                return Seat::new(self, permit);
            }
            self.make_room();
        }
    }

    /// Ends the waits that are the longest.
    fn make_room(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..self.batch {
            let longest = waiting.all.first_entry();
            let Some(longest) = longest.filter(|it| it.key().0.elapsed() >= self.at_least) else {
                return;
            };
            longest.remove().notify_one();
            tracing::debug!("an HTTP connection that asked nothing made room");
        }
    }
}

/// One connection's place. It goes back with the last of this value.
#[derive(Clone)]
pub(super) struct Seat(Arc<Held>);

struct Held {
    room: Room,
    /// Told when somebody else needs the place more.
    leave: Arc<Notify>,
    since: Mutex<Option<(Instant, u64)>>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    fn new(room: &Room, permit: OwnedSemaphorePermit) -> Self {
        let (leave, since) = (Arc::default(), Mutex::default());
        let seat = Self(Arc::new(Held { room: room.clone(), leave, since, _permit: permit }));
        seat.wait();
        seat
    }

    /// Comes when the place has to be given up.
    pub(super) async fn given_up(&self) {
        self.0.leave.notified().await;
    }

    /// From now on nothing is done for it.
    fn wait(&self) {
        let mut waiting = self.0.room.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.next += 1;
        let key = (Instant::now(), waiting.next);
        waiting.all.insert(key, Arc::clone(&self.0.leave));
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// It has asked for something; as long as the answer lasts it stays.
    pub(super) fn ask(&self) -> Asking {
        self.0.stop_waiting();
        Asking(self.clone())
    }
}

impl Held {
    fn stop_waiting(&self) {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            let mut waiting = self.room.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.all.remove(&since);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

/// Something is done for a connection. When this ends, it waits.
pub(super) struct Asking(Seat);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.wait();
    }
}

impl Asking {
    /// An answer that is on its way until it was taken, or nobody takes it any more.
    pub(super) fn over(self, response: Response) -> Response {
        response.map(|body| Body::new(Answering { body, _asking: self }))
    }
}

/// The body of an answer.
struct Answering {
    body: Body,
    _asking: Asking,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn is_told(seat: &Seat, within: Duration) -> bool {
        tokio::time::timeout(within, seat.given_up()).await.is_ok()
    }

    #[tokio::test]
    async fn whoever_waits_longest_makes_room_and_nobody_who_is_answered() {
        let room = Room { at_least: Duration::from_millis(50), ..Room::new(2) };
        let next = || {
            let room = room.clone();
            tokio::spawn(async move { room.seat().await })
        };
        let (first, second) = (room.seat().await, room.seat().await);
        let answer = first.ask().over(Response::new(Body::from("x")));
        let third = next();
        assert!(is_told(&second, PATIENCE).await);
        assert!(!is_told(&first, Duration::from_millis(100)).await, "it is being answered");
        assert!(!third.is_finished());
        drop(second);
        let third = third.await.unwrap();
        // The answer was taken, so now the first waits, and the third does so for longer.
        drop(answer);
        let fourth = next();
        assert!(is_told(&third, PATIENCE).await);
        drop(third);
        drop((fourth.await.unwrap(), first));
        assert!(room.waiting.lock().unwrap().all.is_empty(), "who is gone does not wait");
    }
}
