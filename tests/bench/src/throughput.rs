//! Highest throughput of messages, of several servers in turns.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::load::{Connection, MessageTemplate, Pair, end, first_number, is_ack, is_event};
use super::process::{Process, cpu};

/// Time for which one server is measured before the next one.
const SLICE: Duration = Duration::from_millis(250);

/// Counters by writers and readers.
#[derive(Default)]
struct Counters {
    /// `true` while messages are sent.
    running: Cell<bool>,
    changed: Notify,
    /// Number of the next message.
    number: Cell<u64>,
    in_flight: Cell<u64>,
    delivered: Cell<u64>,
}

/// Connections that keep their windows full while they run.
pub(crate) struct SaturatedLoad {
    shared: Rc<Counters>,
    /// Number of deliveries of each message.
    copies: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl SaturatedLoad {
    /// Creates a load of pairs.
    pub(crate) fn of_pairs(pairs: Vec<Pair>, window: usize) -> Self {
        let both = pairs
            .into_iter()
            .map(|pair| ((pair.sender, pair.conversation), pair.receiver));
        let (senders, receivers) = both.unzip();
        Self::new(senders, receivers, window)
    }

    /// Creates a load of senders, each with the same number of receivers.
    pub(crate) fn new(senders: Vec<(Connection, String)>, receivers: Vec<Connection>, window: usize) -> Self {
        let shared = Rc::new(Counters::default());
        shared.number.set(first_number());
        let copies = u64::try_from(receivers.len() / senders.len()).unwrap();
        let mut tasks = Vec::new();
        for (sender, conversation) in senders {
            tasks.push(tokio::task::spawn_local(keep_full(
                sender,
                conversation,
                window,
                shared.clone(),
            )));
        }
        for receiver in receivers {
            tasks.push(tokio::task::spawn_local(count(receiver, shared.clone())));
        }
        Self { shared, copies, tasks }
    }

    /// Sends for `time`, waits until everything is acknowledged and delivered, and returns the number of deliveries.
    async fn run(&self, time: Duration) -> u64 {
        let Counters { number, delivered, .. } = &*self.shared;
        let before = (number.get(), delivered.get());
        self.shared.running.set(true);
        self.shared.changed.notify_waiters();
        tokio::time::sleep(time).await;
        self.shared.running.set(false);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.shared.in_flight.get() > 0 || delivered.get() - before.1 < (number.get() - before.0) * self.copies {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a connection ended");
            assert!(Instant::now() < deadline, "some messages did not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        delivered.get() - before.1
    }

    pub(crate) async fn end(self) {
        end(self.tasks).await;
    }
}

/// Result of a server with full windows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Throughput {
    deliveries: u64,
    elapsed: Duration,
    server: Duration,
    generator: Duration,
}

impl Throughput {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn deliveries(&self) -> f64 {
        self.deliveries as f64
    }

    /// Returns the acknowledged and delivered messages per second.
    pub(crate) fn per_s(&self) -> f64 {
        self.deliveries() / self.elapsed.as_secs_f64()
    }

    /// Returns the same per second of processor time of the server.
    pub(crate) fn per_cpu_s(&self) -> f64 {
        self.deliveries() / self.server.as_secs_f64()
    }

    /// Returns the load of the server: 1 is a whole processor.
    pub(crate) fn server_busy(&self) -> f64 {
        self.server.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// Returns the load of the generator: 1 is a whole processor.
    pub(crate) fn generator_busy(&self) -> f64 {
        self.generator.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Saturates each server for `seconds`, in short turns, so that other work on the machine affects all of them alike. The
/// processor time of a server includes the turns of the others: work that it postpones counts.
pub(crate) async fn in_turns<const N: usize>(
    servers: [(&Process, &SaturatedLoad); N],
    seconds: u64,
) -> [Throughput; N] {
    for (_, load) in servers {
        load.run(4 * SLICE).await;
    }
    let mut sums = [Throughput::default(); N];
    let before = servers.map(|(server, _)| server.cpu());
    for turn in 0..u128::from(seconds) * 1_000 / SLICE.as_millis() {
        // Each server runs as often before another one as after it.
        let mut order: Vec<usize> = (0..N).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let (begin, own) = (Instant::now(), cpu("self"));
            sums[index].deliveries += servers[index].1.run(SLICE).await;
            sums[index].elapsed += begin.elapsed();
            sums[index].generator += cpu("self") - own;
        }
    }
    for (index, (server, _)) in servers.into_iter().enumerate() {
        sums[index].server = server.cpu() - before[index];
    }
    sums
}

async fn keep_full(mut sender: Connection, conversation: String, window: usize, shared: Rc<Counters>) {
    let mut template = MessageTemplate::new(&conversation);
    let (mut bytes, mut free) = (Vec::new(), window);
    loop {
        let changed = shared.changed.notified();
        if shared.running.get() {
            bytes.clear();
            for _ in 0..free {
                template.write(shared.number.replace(shared.number.get() + 1), &mut bytes);
            }
            shared
                .in_flight
                .set(shared.in_flight.get() + std::mem::take(&mut free) as u64);
            sender.stream.write_all(&bytes).await.unwrap();
        } else if free == window {
            changed.await;
            continue;
        }
        sender.read().await;
        while let Some((frame, _)) = sender.pop_frame() {
            assert!(is_ack(frame), "{}", String::from_utf8_lossy(frame));
            free += 1;
            shared.in_flight.set(shared.in_flight.get() - 1);
        }
    }
}

async fn count(mut receiver: Connection, shared: Rc<Counters>) {
    loop {
        receiver.read().await;
        while let Some((frame, _)) = receiver.pop_frame() {
            assert!(is_event(frame), "{}", String::from_utf8_lossy(frame));
            shared.delivered.set(shared.delivered.get() + 1);
        }
    }
}
