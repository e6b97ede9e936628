//! Latency of messages that are sent at a constant rate.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use super::load::{Connection, DIGITS, MessageTemplate, Pair, end, first_number, is_event};

/// Time for which one server is measured before the next one.
const SLICE: Duration = Duration::from_millis(500);

/// Milliseconds from sending a message to its arrival at the receiver, sorted.
#[derive(Default)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    /// Returns a percentile.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    fn add(&mut self, values: Vec<f64>) {
        self.0.extend(values);
        self.0.sort_by(f64::total_cmp);
    }
}

/// SentMessages by the sender and the receivers.
#[derive(Default)]
struct SentMessages {
    /// Number of the first message in `sent`.
    first: Cell<u64>,
    sent: RefCell<Vec<Instant>>,
    arrived: RefCell<Vec<f64>>,
}

/// Pairs that send a constant number of messages per second, independent of the answers.
pub(crate) struct PacedLoad {
    per_s: u64,
    shared: Rc<SentMessages>,
    senders: Vec<(MessageTemplate, OwnedWriteHalf)>,
    tasks: Vec<JoinHandle<()>>,
}

impl PacedLoad {
    pub(crate) fn of_pairs(pairs: Vec<Pair>, per_s: u64) -> Self {
        let shared = Rc::new(SentMessages::default());
        shared.first.set(first_number());
        let (mut senders, mut tasks) = (Vec::new(), Vec::new());
        for pair in pairs {
            let (reading, writing) = pair.sender.stream.into_split();
            senders.push((MessageTemplate::new(&pair.conversation), writing));
            tasks.push(tokio::task::spawn_local(discard(reading)));
            tasks.push(tokio::task::spawn_local(record_arrivals(pair.receiver, shared.clone())));
        }
        Self {
            per_s,
            shared,
            senders,
            tasks,
        }
    }

    /// Sends for `time`, waits until everything has arrived, and returns the latencies in milliseconds.
    async fn run(&mut self, time: Duration) -> Vec<f64> {
        let begin = Instant::now();
        let pause = Duration::from_secs(1) / u32::try_from(self.per_s).unwrap();
        let total = usize::try_from(time.as_nanos() / pause.as_nanos()).unwrap();
        let mut bytes = Vec::new();
        for index in 0..total {
            let due = begin + pause * u32::try_from(index).unwrap();
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let count = self.senders.len();
            let (template, writing) = &mut self.senders[index % count];
            bytes.clear();
            template.write(self.shared.first.get() + u64::try_from(index).unwrap(), &mut bytes);
            self.shared.sent.borrow_mut().push(Instant::now());
            writing.write_all(&bytes).await.unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.shared.arrived.borrow().len() < total {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a connection ended");
            assert!(Instant::now() < deadline, "some messages did not arrive");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.shared.sent.borrow_mut().clear();
        self.shared
            .first
            .set(self.shared.first.get() + u64::try_from(total).unwrap());
        self.shared.arrived.take()
    }

    /// Measures for `seconds`, after half a second of warm-up.
    pub(crate) async fn measure(mut self, seconds: u64) -> Latencies {
        let mut latencies = Latencies::default();
        self.run(SLICE).await;
        latencies.add(self.run(Duration::from_secs(seconds)).await);
        end(self.tasks).await;
        latencies
    }
}

/// Measures several servers for `seconds` each, in short turns, so that other work on the machine affects all of them alike.
pub(crate) async fn in_turns<const N: usize>(mut loads: [PacedLoad; N], seconds: u64) -> [Latencies; N] {
    for load in &mut loads {
        load.run(SLICE).await;
    }
    let mut sums = [(); N].map(|()| Latencies::default());
    for _ in 0..u128::from(seconds) * 1_000 / SLICE.as_millis() {
        for (load, sum) in loads.iter_mut().zip(&mut sums) {
            sum.add(load.run(SLICE).await);
        }
    }
    for load in loads {
        end(load.tasks).await;
    }
    sums
}

async fn discard(mut reading: OwnedReadHalf) {
    let mut bytes = vec![0; 32 << 10];
    while reading.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

async fn record_arrivals(mut receiver: Connection, shared: Rc<SentMessages>) {
    loop {
        receiver.read().await;
        let now = Instant::now();
        while let Some((frame, _)) = receiver.pop_frame() {
            assert!(is_event(frame), "{}", String::from_utf8_lossy(frame));
            let number = number_in(frame).unwrap();
            let index = usize::try_from(number - shared.first.get()).unwrap();
            let elapsed = now - shared.sent.borrow()[index];
            shared.arrived.borrow_mut().push(elapsed.as_secs_f64() * 1_000.0);
        }
    }
}

/// Returns the number of a message: the only member of [`DIGITS`] hexadecimal digits.
fn number_in(frame: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(frame).ok()?;
    text.split('"')
        .filter(|part| part.len() == DIGITS)
        .find_map(|part| u64::from_str_radix(part, 16).ok())
}
