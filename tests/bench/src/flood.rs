//! As many messages as a server takes, of several servers in turns.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::load::{Connection, Pair, Template, end, first_number, is_ack, is_event};
use super::process::{Process, cpu};

/// How long one server is measured before it is the next one's turn.
const SLICE: Duration = Duration::from_millis(250);

/// What writers and readers share.
#[derive(Default)]
struct Shared {
    /// Whether messages are wanted.
    wanted: Cell<bool>,
    changed: Notify,
    number: Cell<u64>,
    in_flight: Cell<u64>,
    delivered: Cell<u64>,
}

/// Connections that keep their windows full while that is wanted.
pub(crate) struct Flood {
    shared: Rc<Shared>,
    /// Deliveries of each message.
    copies: u64,
    tasks: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Makes a flood of pairs.
    pub(crate) fn of(pairs: Vec<Pair>, window: usize) -> Self {
        let both = pairs
            .into_iter()
            .map(|pair| ((pair.sender, pair.conversation), pair.receiver));
        let (senders, receivers) = both.unzip();
        Self::new(senders, receivers, window)
    }

    /// Makes a flood of senders, each with as many receivers as there are for one.
    pub(crate) fn new(senders: Vec<(Connection, String)>, receivers: Vec<Connection>, window: usize) -> Self {
        let shared = Rc::new(Shared::default());
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

    /// Writes for so long, and returns once everything has been acknowledged and delivered: how many deliveries there were.
    async fn run(&self, time: Duration) -> u64 {
        let Shared { number, delivered, .. } = &*self.shared;
        let before = (number.get(), delivered.get());
        self.shared.wanted.set(true);
        self.shared.changed.notify_waiters();
        tokio::time::sleep(time).await;
        self.shared.wanted.set(false);
        let patience = Instant::now() + Duration::from_secs(10);
        while self.shared.in_flight.get() > 0 || delivered.get() - before.1 < (number.get() - before.0) * self.copies {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a connection ended");
            assert!(Instant::now() < patience, "some messages did not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        delivered.get() - before.1
    }

    pub(crate) async fn end(self) {
        end(self.tasks).await;
    }
}

/// What a server came to with full windows.
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

    /// Messages that were acknowledged and delivered, for each second.
    pub(crate) fn per_s(&self) -> f64 {
        self.deliveries() / self.elapsed.as_secs_f64()
    }

    /// The same, for each second of the server's processor time.
    pub(crate) fn per_cpu_s(&self) -> f64 {
        self.deliveries() / self.server.as_secs_f64()
    }

    /// How busy the server was, 1 for a whole processor.
    pub(crate) fn server_busy(&self) -> f64 {
        self.server.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// How busy the generator was.
    pub(crate) fn generator_busy(&self) -> f64 {
        self.generator.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Floods servers for so many seconds each, in short turns, so that whatever else the machine does meets all of them alike.
/// The processor time of a server is that of all turns: what it puts off to those of others counts as well.
pub(crate) async fn in_turns<const N: usize>(servers: [(&Process, &Flood); N], seconds: u64) -> [Throughput; N] {
    for (_, flood) in servers {
        flood.run(4 * SLICE).await;
    }
    let mut sums = [Throughput::default(); N];
    let before = servers.map(|(server, _)| server.cpu());
    for turn in 0..u128::from(seconds) * 1_000 / SLICE.as_millis() {
        // Each is as often before another one as after it.
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

async fn keep_full(mut sender: Connection, conversation: String, window: usize, shared: Rc<Shared>) {
    let mut template = Template::new(&conversation);
    let (mut bytes, mut free) = (Vec::new(), window);
    loop {
        let changed = shared.changed.notified();
        if shared.wanted.get() {
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
        while let Some((frame, _)) = sender.take() {
            assert!(is_ack(frame), "{}", String::from_utf8_lossy(frame));
            free += 1;
            shared.in_flight.set(shared.in_flight.get() - 1);
        }
    }
}

async fn count(mut receiver: Connection, shared: Rc<Shared>) {
    loop {
        receiver.read().await;
        while let Some((frame, _)) = receiver.take() {
            assert!(is_event(frame), "{}", String::from_utf8_lossy(frame));
            shared.delivered.set(shared.delivered.get() + 1);
        }
    }
}
