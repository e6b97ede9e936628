//! The load generator: connections that write prepared bytes and look at no more of an answer than they need, so that the
//! server is what is measured.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::process::{Process, cpu};

/// A mask for the frames of the client; RFC 6455 wants them masked, and a server has to undo any mask alike.
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];
/// Digits of a message's number.
const DIGITS: usize = 16;

/// A WebSocket connection, bytes in and bytes out.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read, from `start` on.
    bytes: Vec<u8>,
    start: usize,
}

impl Connection {
    /// Opens a connection.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Self {
            stream,
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// Sends one text frame.
    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(&masked(text.as_bytes())).await.unwrap();
    }

    /// Returns the next text frame.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            if let Some((frame, _)) = self.take() {
                return String::from_utf8(frame.to_vec()).unwrap();
            }
            self.read().await;
        }
    }

    /// Sends a request and returns its answer.
    pub(crate) async fn request(&mut self, request: &Value) -> Value {
        self.send(&request.to_string()).await;
        loop {
            let answer: Value = serde_json::from_str(&self.next().await).unwrap();
            if answer["id"] == request["id"] || answer["type"] == "welcome" {
                assert_ne!(answer["type"], "error", "{answer}");
                return answer;
            }
        }
    }

    /// Takes a text frame out of what was read, and tells whether it was one.
    fn take(&mut self) -> Option<(&[u8], u8)> {
        loop {
            let bytes = &self.bytes[self.start..];
            let (&opcode, length) = (bytes.first()?, bytes.get(1)?);
            let (head, length) = match length {
                126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
                127 => {
                    let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap());
                    (10, usize::try_from(length).unwrap())
                }
                length => (2, usize::from(*length)),
            };
            if bytes.len() < head + length {
                return None;
            }
            let begin = self.start + head;
            self.start = begin + length;
            match opcode {
                0x81 => return Some((&self.bytes[begin..begin + length], opcode)),
                0x89 => {}
                _ => panic!("the server ended the connection (frame {opcode:#x})"),
            }
        }
    }

    async fn read(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.reserve(32 << 10);
        let count = self.stream.read_buf(&mut self.bytes).await.unwrap();
        assert_ne!(count, 0, "the server ended the connection");
    }
}

/// Makes a masked text frame.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).unwrap() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(text.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Two connections, of which the first one writes to the second one.
pub(crate) struct Pair {
    pub(crate) sender: Connection,
    pub(crate) receiver: Connection,
    /// The conversation, as the frame names it.
    pub(crate) conversation: String,
}

/// A prepared frame into which the number of a message is written.
struct Template {
    frame: Vec<u8>,
    digits: usize,
}

impl Template {
    /// Prepares a message whose text has 200 bytes.
    fn new(conversation: &str) -> Self {
        let id = "#".repeat(DIGITS);
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(5);
        let frame = format!(
            r#"{{"type":"send","id":"{id}","conversation":"{conversation}","kind":"text","content":{{"text":"{}"}}}}"#,
            &text[..200]
        );
        let at = frame.find('#').unwrap();
        let frame = masked(frame.as_bytes());
        let head = 8;
        Self {
            digits: head + at,
            frame,
        }
    }

    fn write(&mut self, number: u64, bytes: &mut Vec<u8>) {
        let mut rest = number;
        for index in (0..DIGITS).rev() {
            let digit = b"0123456789abcdef"[usize::try_from(rest % 16).unwrap()];
            rest /= 16;
            self.frame[self.digits + index] = digit ^ MASK[(self.digits - 8 + index) % 4];
        }
        bytes.extend_from_slice(&self.frame);
    }
}

/// What a run with full windows came to.
pub(crate) struct Throughput {
    /// Messages that were acknowledged and delivered, for each second.
    pub(crate) per_s: f64,
    /// The same, for each second of the server's processor time.
    pub(crate) per_cpu_s: f64,
    /// How busy the server was, 1 for a whole processor.
    pub(crate) server_busy: f64,
    /// How busy the generator was.
    pub(crate) generator_busy: f64,
}

/// Keeps `window` messages of each pair in flight for some seconds, after one second to warm up.
pub(crate) async fn throughput(server: &Process, pairs: Vec<Pair>, window: usize, seconds: u64) -> Throughput {
    let (senders, receivers) = pairs
        .into_iter()
        .map(|pair| ((pair.sender, pair.conversation), pair.receiver))
        .unzip();
    flood(server, senders, receivers, window, seconds).await
}

/// Keeps `window` messages of each sender in flight for some seconds, after one second to warm up, and counts what arrives.
pub(crate) async fn flood(
    server: &Process,
    senders: Vec<(Connection, String)>,
    receivers: Vec<Connection>,
    window: usize,
    seconds: u64,
) -> Throughput {
    let delivered = Rc::new(Cell::new(0_u64));
    let numbers = Rc::new(Cell::new(first_number()));
    let stop = Rc::new(Cell::new(false));
    let mut tasks = Vec::new();
    for (sender, conversation) in senders {
        let (numbers, stop) = (numbers.clone(), stop.clone());
        let writing = keep_full(sender, conversation, window, numbers, stop);
        tasks.push(tokio::task::spawn_local(writing));
    }
    for receiver in receivers {
        tasks.push(tokio::task::spawn_local(count(receiver, delivered.clone())));
    }
    let sample = || (Instant::now(), delivered.get(), server.cpu(), cpu("self"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = sample();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = sample();
    stop.set(true);
    end(tasks).await;
    let elapsed = (after.0 - before.0).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let messages = (after.1 - before.1) as f64;
    let server_cpu = (after.2 - before.2).as_secs_f64();
    Throughput {
        per_s: messages / elapsed,
        per_cpu_s: messages / server_cpu,
        server_busy: server_cpu / elapsed,
        generator_busy: (after.3 - before.3).as_secs_f64() / elapsed,
    }
}

/// Ends the tasks; one that panicked ends the benchmark.
async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.abort();
        match task.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }
}

async fn keep_full(
    mut sender: Connection,
    conversation: String,
    window: usize,
    numbers: Rc<Cell<u64>>,
    stop: Rc<Cell<bool>>,
) {
    let mut template = Template::new(&conversation);
    let mut bytes = Vec::new();
    let mut free = window;
    while !stop.get() {
        bytes.clear();
        for _ in 0..free {
            template.write(numbers.replace(numbers.get() + 1), &mut bytes);
        }
        sender.stream.write_all(&bytes).await.unwrap();
        free = 0;
        while free == 0 {
            sender.read().await;
            while let Some((frame, _)) = sender.take() {
                assert!(is_ack(frame), "{}", String::from_utf8_lossy(frame));
                free += 1;
            }
        }
    }
}

fn is_ack(frame: &[u8]) -> bool {
    frame == b"ok" || frame.starts_with(br#"{"type":"ack""#)
}

async fn count(mut receiver: Connection, delivered: Rc<Cell<u64>>) {
    loop {
        receiver.read().await;
        while let Some((frame, _)) = receiver.take() {
            assert!(is_event(frame), "{}", String::from_utf8_lossy(frame));
            delivered.set(delivered.get() + 1);
        }
    }
}

fn is_event(frame: &[u8]) -> bool {
    frame.starts_with(br#"{"type":"event""#) || frame.starts_with(br#"{"type":"send""#)
}

/// Milliseconds from the write of a message to its arrival at the other side, sorted.
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    /// Returns the value that so many of a hundred stay under.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

/// Writes `per_s` messages in every second, whatever comes back, and notes when each arrives.
pub(crate) async fn latencies(pairs: Vec<Pair>, per_s: u64, seconds: u64) -> Latencies {
    let first = first_number();
    let total = usize::try_from(per_s * seconds).unwrap();
    let warm_up = usize::try_from(per_s / 2).unwrap();
    let sent: Rc<RefCell<Vec<Instant>>> = Rc::default();
    let arrived: Rc<RefCell<Vec<f64>>> = Rc::default();
    let (mut senders, mut tasks) = (Vec::new(), Vec::new());
    for pair in pairs {
        let (reading, writing) = pair.sender.stream.into_split();
        senders.push((Template::new(&pair.conversation), writing));
        tasks.push(tokio::task::spawn_local(discard(reading)));
        tasks.push(tokio::task::spawn_local(note_arrivals(
            pair.receiver,
            first,
            sent.clone(),
            arrived.clone(),
        )));
    }
    let begin = Instant::now();
    let pause = Duration::from_secs(1) / u32::try_from(per_s).unwrap();
    let mut bytes = Vec::new();
    for index in 0..warm_up + total {
        let due = begin + pause * u32::try_from(index).unwrap();
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let count = senders.len();
        let (template, writing) = &mut senders[index % count];
        bytes.clear();
        template.write(first + u64::try_from(index).unwrap(), &mut bytes);
        sent.borrow_mut().push(Instant::now());
        writing.write_all(&bytes).await.unwrap();
    }
    let patience = Instant::now() + Duration::from_secs(10);
    while arrived.borrow().len() < warm_up + total {
        assert!(Instant::now() < patience, "some messages did not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    end(tasks).await;
    let mut values = arrived.borrow_mut().split_off(warm_up);
    values.sort_by(f64::total_cmp);
    Latencies(values)
}

async fn discard(mut reading: tokio::net::tcp::OwnedReadHalf) {
    let mut bytes = vec![0; 32 << 10];
    while reading.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

async fn note_arrivals(
    mut receiver: Connection,
    first: u64,
    sent: Rc<RefCell<Vec<Instant>>>,
    arrived: Rc<RefCell<Vec<f64>>>,
) {
    loop {
        receiver.read().await;
        let now = Instant::now();
        while let Some((frame, _)) = receiver.take() {
            assert!(is_event(frame), "{}", String::from_utf8_lossy(frame));
            let number = number_in(frame).unwrap();
            let index = usize::try_from(number - first).unwrap();
            let elapsed = now - sent.borrow()[index];
            arrived.borrow_mut().push(elapsed.as_secs_f64() * 1_000.0);
        }
    }
}

/// Finds the number of a message: the only member of so many hexadecimal digits.
fn number_in(frame: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(frame).ok()?;
    text.split('"')
        .filter(|part| part.len() == DIGITS)
        .find_map(|part| u64::from_str_radix(part, 16).ok())
}

/// Returns a number that no earlier run on the same data has used.
fn first_number() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    u64::try_from(now.as_micros()).unwrap() << 8
}
