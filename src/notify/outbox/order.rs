//! Which deliveries are free to go: those that are the first to their recipient about each of their
//! incidents.
//!
//! It is kept up to date with every delivery that comes or goes, so that nobody looks at all that wait
//! to find what may go. It knows neither time nor couriers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::DeliveryId;
use crate::notify::message::Message;

/// Who waits behind whom.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Deliveries to one lane about one incident, in their order.
    queues: BTreeMap<(u64, Arc<str>), Vec<DeliveryId>>,
    /// In how many queues each delivery is not the first; those in none are not here.
    behind: BTreeMap<DeliveryId, usize>,
    free: BTreeSet<DeliveryId>,
}

impl Order {
    /// Takes in a delivery to a lane.
    pub(super) fn insert(&mut self, id: DeliveryId, lane: u64, message: &Message) {
        self.free.insert(id);
        for incident in incidents(message) {
            let queue = self.queues.entry((lane, Arc::clone(incident))).or_default();
            let at = queue.partition_point(|other| *other < id);
            queue.insert(at, id);
            let held = if at > 0 { Some(id) } else { queue.get(1).copied() };
            if let Some(held) = held {
                *self.behind.entry(held).or_default() += 1;
                self.free.remove(&held);
            }
        }
    }

    /// Takes a delivery out; what waited for it alone is free then.
    pub(super) fn remove(&mut self, id: DeliveryId, lane: u64, message: &Message) {
        for incident in incidents(message) {
            let key = (lane, Arc::clone(incident));
            let Some(queue) = self.queues.get_mut(&key) else { continue };
            let was_first = queue.first() == Some(&id);
            queue.retain(|other| *other != id);
            let next = queue.first().copied().filter(|_| was_first);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
            if let Some(next) = next {
                self.release(next);
            }
        }
        self.behind.remove(&id);
        self.free.remove(&id);
    }

    fn release(&mut self, id: DeliveryId) {
        let Some(behind) = self.behind.get_mut(&id) else { return };
        *behind -= 1;
        if *behind == 0 {
            self.behind.remove(&id);
            self.free.insert(id);
        }
    }

    /// What is free, in order.
    pub(super) fn free(&self) -> impl Iterator<Item = DeliveryId> {
        self.free.iter().copied()
    }

    /// Deliveries to a lane about an incident, in their order.
    pub(super) fn about(&self, lane: u64, incident: &Arc<str>) -> &[DeliveryId] {
        self.queues.get(&(lane, Arc::clone(incident))).map_or(&[], Vec::as_slice)
    }
}

/// The incidents of a message, each once.
fn incidents(message: &Message) -> BTreeSet<&Arc<str>> {
    message.notices.iter().map(|notice| &notice.incident).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::tests::message;

    proptest! {
        /// Against looking at all that wait, as anybody would do it at first.
        #[test]
        fn is_what_a_look_at_everything_says(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..12, 0_u64..2, 1_usize..8), 1..60)
        ) {
            let mut order = Order::default();
            let mut waiting: BTreeMap<DeliveryId, (u64, Arc<Message>)> = BTreeMap::new();
            for (comes, id, lane, set) in steps {
                let id = DeliveryId(id);
                let known = waiting.remove(&id);
                if let Some((lane, message)) = &known {
                    order.remove(id, *lane, message);
                }
                if comes {
                    let all = ["a", "b", "c"];
                    let chosen = all.into_iter().enumerate();
                    let chosen: Vec<_> =
                        chosen.filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, one)| one).collect();
                    let message = message(&chosen);
                    order.insert(id, lane, &message);
                    waiting.insert(id, (lane, message));
                }
                let mut taken: BTreeSet<(u64, &str)> = BTreeSet::new();
                let mut free = Vec::new();
                for (id, (lane, message)) in &waiting {
                    let its: Vec<_> =
                        message.notices.iter().map(|notice| (*lane, &*notice.incident)).collect();
                    if !its.iter().any(|one| taken.contains(one)) {
                        free.push(*id);
                    }
                    taken.extend(its);
                }
                prop_assert_eq!(order.free().collect::<Vec<_>>(), free);
            }
        }
    }
}
