//! The contract of every bus as tests. An implementation calls [`run`] in its own tests.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{Bus, Notice, Subscriber};
use crate::wire::AppId;

/// Collects notices.
#[derive(Default)]
struct Inbox {
    notices: Mutex<Vec<Notice>>,
    arrived: Condvar,
}

impl Inbox {
    fn wait_for(&self, count: usize) -> Vec<Notice> {
        let mut notices = self.notices.lock();
        while notices.len() < count {
            let timed_out = self
                .arrived
                .wait_for(&mut notices, std::time::Duration::from_secs(10))
                .timed_out();
            assert!(!timed_out, "only {} of {count} notices arrived in 10 s", notices.len());
        }
        notices.clone()
    }
}

impl Subscriber for Inbox {
    fn notice(&self, notice: &Notice) {
        self.notices.lock().push(notice.clone());
        self.arrived.notify_all();
    }
}

fn notice(number: u32) -> Notice {
    Notice {
        ephemeral: false,
        app: AppId::default_app(),
        actors: Arc::new([]),
        except: None,
        frame: Bytes::copy_from_slice(&number.to_be_bytes()),
    }
}

/// Checks the contract of [`Bus`] on buses that `open` returns, each without a subscriber.
///
/// # Panics
/// When the bus violates the contract.
pub fn run(open: &dyn Fn() -> Arc<dyn Bus>) {
    notices_arrive_once_and_in_order(&*open());
    publishing_without_a_subscriber_does_not_fail(&*open());
}

fn notices_arrive_once_and_in_order(bus: &dyn Bus) {
    const COUNT: u32 = 1_000;
    let inbox = Arc::new(Inbox::default());
    bus.subscribe(inbox.clone());
    for number in 0..COUNT {
        bus.publish(notice(number));
    }
    let arrived = inbox.wait_for(COUNT as usize);
    let wanted: Vec<Notice> = (0..COUNT).map(notice).collect();
    assert_eq!(arrived, wanted, "notices must arrive once, unchanged and in order");
}

fn publishing_without_a_subscriber_does_not_fail(bus: &dyn Bus) {
    bus.publish(notice(1));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_local_bus_conforms() {
        super::run(&|| std::sync::Arc::new(crate::bus::LocalBus::new()));
    }
}
