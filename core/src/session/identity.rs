//! Who a session is.

use crate::clock::now_ms;
use crate::hooks::{ATTEMPTS, Access, Call, CallerName, Identity, Plugin, SessionChange, origin};
use crate::host::Host;
use crate::log::Draft;
use crate::router::Endpoint;
use crate::store::CommitError;
use crate::wire::reply::Welcome;
use crate::wire::{ActorId, AppId, CloseCode, Code, Credentials, DeviceId, PROTOCOL, RequestError, reply};

use super::Session;

/// Who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) actor: ActorId,
    pub(super) device: DeviceId,
    pub(super) credential: String,
}

impl Host {
    /// Asks the plugins who a token stands for; for threads that may wait.
    ///
    /// # Errors
    /// `unauthenticated`, `plugin_failed` or `plugin_unavailable`.
    pub(crate) fn identify(&self, app: &AppId, token: &str) -> Result<Identity, RequestError> {
        self.identified(app, token).map(|(identity, _)| identity)
    }

    /// As [`Host::identify`], with what the answer was made of.
    fn identified(&self, app: &AppId, token: &str) -> Result<(Identity, Draft), RequestError> {
        let mut call = Call::new(app.clone(), Access::Read, Draft::new(self.log.store().clone()));
        call.origin = Some(origin(app, token));
        let (call, outcome) = self.hooks.authenticate(call, token);
        let identity = match outcome {
            Err(error) if self.trust_tokens && !error.retry => match token.parse() {
                Ok(actor) => Identity {
                    actor,
                    credential: String::new(),
                    expires_at_ms: 0,
                },
                Err(_) => return Err(error),
            },
            outcome => outcome?,
        };
        Ok((identity, call.draft))
    }

    /// Returns with what a session is to be closed whose token no longer stands for whom it did; none while it does. For
    /// threads that may wait.
    fn refuted(&self, app: &AppId, token: &str, identity: &Identity, mut draft: Draft) -> Option<CloseCode> {
        for _ in 0..ATTEMPTS {
            // A store that takes nothing any more takes the end of no token either.
            if !matches!(draft.commit_blocking(), Err(CommitError::Conflict)) {
                return None;
            }
            match self.identified(app, token) {
                Ok((again, read)) if again.actor == identity.actor && again.credential == identity.credential => {
                    draft = read;
                }
                Err(error) if error.retry => return Some(CloseCode::Fault),
                _ => return Some(CloseCode::SessionEnded),
            }
        }
        Some(CloseCode::Fault)
    }
}

impl Signed {
    /// Returns the name under which plugins are asked.
    pub(super) fn caller(&self) -> CallerName {
        CallerName {
            actor: Some(self.actor.clone()),
            device: Some(self.device.clone()),
            credential: self.credential.as_str().into(),
        }
    }
}

/// Tells one plugin of a change of a session, until its transaction holds.
fn told(host: &Host, plugin: &Plugin, app: &AppId, signed: &Signed, change: SessionChange) {
    let outcome = host.settlement.run(|| {
        let mut call = Call::new(app.clone(), Access::Write, Draft::new(host.log.store().clone()));
        call.caller = signed.caller();
        let (call, outcome) = plugin.session(call, change);
        // Its failures are told already.
        Ok((call, outcome.map(drop).map_err(|_| None)))
    });
    if let Err(Some(error)) = outcome {
        let error: CommitError = error;
        tracing::debug!(%error, "a plugin's word on a session is lost");
    }
}

impl Session {
    /// Opens the session.
    pub(super) async fn hello(
        &mut self,
        protocol: u64,
        app: AppId,
        credentials: Option<Credentials>,
    ) -> Result<(), CloseCode> {
        let wrong = if protocol != PROTOCOL {
            Some((Code::BadProtocol, format!("This server speaks protocol {PROTOCOL}.")))
        } else if !self.host.apps.contains(&app) {
            Some((Code::UnknownApp, "There is no such app.".to_owned()))
        } else {
            None
        };
        if let Some((code, message)) = wrong {
            self.refuse(None, &RequestError::new(code, message));
            return Err(CloseCode::Violation);
        }
        let mut confirm = None;
        if let Some(credentials) = credentials {
            match self.identify(&app, &credentials).await {
                Ok((identity, read)) => {
                    self.sign_in(identity.clone(), credentials.device);
                    confirm = Some((credentials.token, identity, read));
                }
                Err(error) => {
                    self.refuse(None, &error);
                    return Err(if error.retry {
                        CloseCode::Fault
                    } else {
                        CloseCode::SessionEnded
                    });
                }
            }
        }
        self.app = Some(app.clone());
        self.welcome(None);
        self.appear();
        if let Some((token, identity, read)) = confirm {
            self.confirm(app, token, identity, read);
        }
        Ok(())
    }

    /// Signs in on an open session.
    pub(super) async fn authenticate(&mut self, app: &AppId, id: &str, credentials: Credentials) {
        if self.signed.is_some() {
            self.refuse(
                Some(id),
                &RequestError::new(Code::UnexpectedFrame, "The session is signed in."),
            );
            return;
        }
        match self.identify(app, &credentials).await {
            Ok((identity, read)) => {
                self.sign_in(identity.clone(), credentials.device);
                self.welcome(Some(id));
                self.appear();
                self.confirm(app.clone(), credentials.token, identity, read);
            }
            Err(error) => self.refuse(Some(id), &error),
        }
    }

    async fn identify(&self, app: &AppId, credentials: &Credentials) -> Result<(Identity, Draft), RequestError> {
        let (host, app, token) = (self.host.clone(), app.clone(), credentials.token.clone());
        self.blocking(move || host.identified(&app, &token)).await?
    }

    /// Ends the session if its token ended while the plugins were asked: whoever ended it did not find the session yet.
    fn confirm(&self, app: AppId, token: String, identity: Identity, read: Draft) {
        if !read.relies_on_reads() {
            return;
        }
        let (host, queue) = (self.host.clone(), self.queue.clone());
        tokio::spawn(async move {
            let workers = host.workers.clone();
            let refuted = move || host.refuted(&app, &token, &identity, read);
            // All sessions end once the host stops, and a panic in there has been told.
            if let Ok(Ok(Some(code))) = workers.in_turn(refuted).await {
                queue.close(code);
            }
        });
    }

    pub(super) fn sign_in(&mut self, identity: Identity, device: DeviceId) {
        let Identity {
            actor,
            credential,
            expires_at_ms,
        } = identity;
        if expires_at_ms > 0 {
            let (queue, left) = (
                std::sync::Arc::downgrade(&self.queue),
                expires_at_ms.saturating_sub(now_ms()),
            );
            // The timer of a session that has ended finds nobody.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(left)).await;
                if let Some(queue) = queue.upgrade() {
                    queue.close(CloseCode::SessionEnded);
                }
            });
        }
        self.signed = Some(Signed {
            actor,
            device,
            credential,
        });
    }

    /// Is told from now on what comes in to the actor who is signed in, if somebody is.
    pub(super) fn appear(&mut self) {
        if let (Some(app), Some(signed)) = (&self.app, &self.signed) {
            let endpoint = Endpoint {
                id: self.id,
                credential: signed.credential.clone(),
                queue: self.queue.clone(),
            };
            self.host.router.add(app, &signed.actor, endpoint);
            self.tell(SessionChange::Connected);
        }
    }

    pub(super) fn sign_out(&mut self) {
        if let (Some(app), Some(signed)) = (&self.app, &self.signed) {
            self.host.router.remove(app, &signed.actor, self.id);
            self.tell(SessionChange::Disconnected);
            self.signed = None;
        }
    }

    /// Tells the plugins that want to know, one change after the other; nobody waits for it.
    fn tell(&mut self, change: SessionChange) {
        let plugins = self.host.hooks.session_observers(change);
        let (Some(app), Some(signed), false) = (self.app.clone(), self.signed.clone(), plugins.is_empty()) else {
            return;
        };
        let (host, before) = (self.host.clone(), self.telling.take());
        self.telling = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // A panic in there has been told.
                let _ = before.await;
            }
            let workers = host.workers.clone();
            let tell = move || {
                for plugin in plugins {
                    told(&host, &plugin, &app, &signed, change);
                }
            };
            // Nobody is told once the host stops, and a panic in there has been told.
            let _ = workers.in_turn(tell).await;
        }));
    }

    fn welcome(&self, id: Option<&str>) {
        self.answer(reply::welcome(&Welcome {
            id,
            session: self.id.0,
            actor: self.signed.as_ref().map(|signed| &signed.actor),
            heartbeat_ms: u64::try_from(self.host.limits.heartbeat.as_millis()).unwrap_or(u64::MAX),
            time_ms: now_ms(),
            limits: self.client_limits(),
        }));
    }
}
