//! A point in a test's plugin at which the test can pause it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// A pause point: only the call that the test selects is paused.
#[derive(Clone, Default)]
pub struct Pause(Arc<Mutex<Option<Hold>>>);

/// Reports the arrival of the paused call, and receives its release.
type Hold = (Sender<()>, Receiver<()>);

impl Pause {
    /// Pauses the next call that arrives.
    pub fn hold(&self) -> Held {
        let ((say, said), (go, go_on)) = (channel(), channel());
        *self.0.lock().unwrap() = Some((say, go_on));
        Held { said, go }
    }

    /// Pauses here if selected.
    pub fn pass(&self) {
        let held = self.0.lock().unwrap().take();
        if let Some((say, go_on)) = held {
            say.send(()).unwrap();
            go_on.recv().unwrap();
        }
    }
}

/// A selected call that has not arrived yet.
pub struct Held {
    said: Receiver<()>,
    go: Sender<()>,
}

impl Held {
    /// Returns when the call has arrived and is paused.
    pub async fn come(self) -> Waiting {
        let Self { said, go } = self;
        tokio::task::spawn_blocking(move || said.recv().unwrap()).await.unwrap();
        Waiting(go)
    }
}

/// A paused call.
pub struct Waiting(Sender<()>);

impl Waiting {
    /// Resumes the call.
    pub fn go_on(self) {
        self.0.send(()).unwrap();
    }
}
