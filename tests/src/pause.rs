//! A place in a plugin of a test where the test can hold it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// Lets everybody pass but the one that a test wants to hold.
#[derive(Clone, Default)]
pub struct Pause(Arc<Mutex<Option<Hold>>>);

/// Where whoever is held says so, and what they wait for.
type Hold = (Sender<()>, Receiver<()>);

impl Pause {
    /// Has the next one who comes by wait.
    pub fn hold(&self) -> Held {
        let ((say, said), (go, go_on)) = (channel(), channel());
        *self.0.lock().unwrap() = Some((say, go_on));
        Held { said, go }
    }

    /// Waits here, if it is to.
    pub fn pass(&self) {
        let held = self.0.lock().unwrap().take();
        if let Some((say, go_on)) = held {
            say.send(()).unwrap();
            go_on.recv().unwrap();
        }
    }
}

/// Somebody who is to wait; goes on when told to.
pub struct Held {
    said: Receiver<()>,
    go: Sender<()>,
}

impl Held {
    /// Returns when they have come, and wait.
    pub async fn come(self) -> Waiting {
        let Self { said, go } = self;
        tokio::task::spawn_blocking(move || said.recv().unwrap()).await.unwrap();
        Waiting(go)
    }
}

/// Somebody who waits.
pub struct Waiting(Sender<()>);

impl Waiting {
    /// Lets them go on.
    pub fn go_on(self) {
        self.0.send(()).unwrap();
    }
}
