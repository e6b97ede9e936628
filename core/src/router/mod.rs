//! Routes frames to the queues of the live sessions of actors.

mod queue;

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::bus::{Notice, Subscriber};
use crate::wire::{ActorId, AppId, SessionId};

pub use queue::{Closing, QueueItem, SessionQueue};

/// The registration of a live session.
#[derive(Debug)]
pub struct Endpoint {
    /// The session.
    pub id: SessionId,
    /// The credential that it signed in with; ending the credential ends the session. May be empty.
    pub credential: String,
    /// The queue of frames to its client.
    pub queue: Arc<SessionQueue>,
}

/// The live sessions of this node.
#[derive(Debug, Default)]
pub struct Router {
    sessions: DashMap<(AppId, ActorId), Vec<Endpoint>, RandomState>,
}

impl Router {
    /// Creates a router without sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a session of an actor.
    pub fn add(&self, app: &AppId, actor: &ActorId, endpoint: Endpoint) {
        self.sessions
            .entry((app.clone(), actor.clone()))
            .or_default()
            .push(endpoint);
    }

    /// Removes a session. Does nothing if it isn't registered.
    pub fn remove(&self, app: &AppId, actor: &ActorId, session: SessionId) {
        let key = (app.clone(), actor.clone());
        if let Some(mut endpoints) = self.sessions.get_mut(&key) {
            endpoints.retain(|endpoint| endpoint.id != session);
        }
        self.sessions.remove_if(&key, |_, endpoints| endpoints.is_empty());
    }

    /// Ends all sessions of an actor, or those of one credential.
    pub fn end(&self, app: &AppId, actor: &ActorId, credential: Option<&str>) {
        let key = (app.clone(), actor.clone());
        if let Some(endpoints) = self.sessions.get(&key) {
            for endpoint in endpoints
                .iter()
                .filter(|endpoint| credential.is_none_or(|wanted| endpoint.credential == wanted))
            {
                endpoint.queue.close(crate::wire::CloseCode::SessionEnded);
            }
        }
    }

    /// Whether an actor has live sessions.
    #[must_use]
    pub fn is_online(&self, app: &AppId, actor: &ActorId) -> bool {
        self.sessions.contains_key(&(app.clone(), actor.clone()))
    }

    /// Pushes a frame into the queues of the actors' sessions.
    pub fn deliver(&self, notice: &Notice) {
        let Notice {
            app,
            actors,
            except,
            ephemeral,
            frame,
        } = notice;
        for actor in actors.iter() {
            // The key owns its ids; cloning them increments two reference counts.
            let Some(endpoints) = self.sessions.get(&(app.clone(), actor.clone())) else {
                continue;
            };
            for endpoint in endpoints.iter().filter(|endpoint| Some(endpoint.id) != *except) {
                endpoint.queue.push(if *ephemeral {
                    QueueItem::Signal(frame.clone())
                } else {
                    QueueItem::Event(frame.clone())
                });
            }
        }
    }

    /// Returns the number of actors with live sessions.
    #[must_use]
    pub fn actors(&self) -> usize {
        self.sessions.len()
    }
}

impl Subscriber for Router {
    fn notice(&self, notice: &Notice) {
        self.deliver(notice);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn drained(queue: &SessionQueue) -> (usize, Closing) {
        let mut items = std::collections::VecDeque::new();
        let closing = queue.swap_into(&mut items);
        (items.len(), closing)
    }

    fn endpoint(id: u128, credential: &str) -> (Arc<SessionQueue>, Endpoint) {
        let queue = Arc::new(SessionQueue::new(1_000));
        (
            queue.clone(),
            Endpoint {
                id: SessionId(id),
                credential: credential.to_owned(),
                queue,
            },
        )
    }

    #[test]
    fn an_event_reaches_every_session_but_the_one_that_sent_it() {
        let (router, app, ann) = (Router::new(), AppId::default_app(), "ann".parse::<ActorId>().unwrap());
        let (phone, phone_end) = endpoint(1, "a");
        let (desk, desk_end) = endpoint(2, "b");
        router.add(&app, &ann, phone_end);
        router.add(&app, &ann, desk_end);
        router.deliver(&Notice {
            app: app.clone(),
            actors: [ann.clone()].into(),
            except: Some(SessionId(1)),
            ephemeral: false,
            frame: Bytes::from_static(b"x"),
        });
        assert!(router.is_online(&app, &ann));
        assert_eq!(drained(&phone).0, 0);
        assert_eq!(drained(&desk).0, 1);

        router.remove(&app, &ann, SessionId(2));
        router.remove(&app, &ann, SessionId(1));
        assert_eq!(router.actors(), 0);
    }

    #[test]
    fn ending_one_credential_leaves_the_others() {
        let (router, app, ann) = (Router::new(), AppId::default_app(), "ann".parse::<ActorId>().unwrap());
        let (phone, phone_end) = endpoint(1, "a");
        let (desk, desk_end) = endpoint(2, "b");
        router.add(&app, &ann, phone_end);
        router.add(&app, &ann, desk_end);
        router.end(&app, &ann, Some("a"));
        assert!(drained(&phone).1.is_some());
        assert!(drained(&desk).1.is_none());
    }
}
