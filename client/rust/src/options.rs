//! How a client connects.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::Unsent;

/// How [`crate::Client`] and [`crate::Blobs`] connect.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) url: String,
    pub(crate) app: String,
    pub(crate) device: String,
    pub(crate) token: Option<String>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) unsent: Vec<Unsent>,
    pub(crate) outbox: usize,
    pub(crate) event_queue: usize,
    pub(crate) delivers: bool,
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Options {
    /// Connects to a URL such as `wss://chat.example.com/v1/ws`, anonymously, in the app `default`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            app: "default".to_owned(),
            device: "rust".to_owned(),
            token: None,
            tls: None,
            unsent: Vec::new(),
            outbox: 10_000,
            event_queue: 1_024,
            delivers: true,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }

    /// Sets the App ID.
    #[must_use]
    pub fn app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    /// Sets the id of this device, which must stay the same: 1 to 64 bytes of printable text. Default: `rust`.
    #[must_use]
    pub fn device(mut self, device: &str) -> Self {
        device.clone_into(&mut self.device);
        self
    }

    /// Signs in with a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Configures TLS. By default, the client trusts the certificates that the operating system trusts.
    #[must_use]
    pub fn tls(mut self, tls: Arc<ClientConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sends these messages first: those that [`crate::Client::unsent`] returned before a restart.
    #[must_use]
    pub fn unsent(mut self, unsent: Vec<Unsent>) -> Self {
        self.unsent = unsent;
        self
    }

    /// Sets the number of messages and acts that may wait for a connection. Further ones fail with
    /// [`Error::Full`](crate::Error::Full). Default: 10,000.
    #[must_use]
    pub fn outbox(mut self, messages: usize) -> Self {
        self.outbox = messages;
        self
    }

    /// Sets the number of events that may wait to be read. Default: 1,024.
    #[must_use]
    pub fn event_queue(mut self, events: usize) -> Self {
        self.event_queue = events;
        self
    }

    /// Sets whether the client sends delivery receipts. Default: `true`.
    #[must_use]
    pub fn delivers(mut self, delivers: bool) -> Self {
        self.delivers = delivers;
        self
    }

    /// Sets the first pause before reconnecting, which doubles up to the longest one. Each pause is shortened at random, by
    /// half at most. Default: 500 ms and 30 s.
    #[must_use]
    pub fn back_off(mut self, first: Duration, longest: Duration) -> Self {
        (self.first_pause, self.longest_pause) = (first, longest);
        self
    }

    /// Returns the pause after `failures` failures in a row, not counting the first.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let pause = self.first_pause.saturating_mul(1 << failures.min(20));
        pause.min(self.longest_pause).mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}
