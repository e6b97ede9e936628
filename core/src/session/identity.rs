//! Signing in and out.

use crate::clock::now_ms;
use crate::effects::ATTEMPTS;
use crate::hooks::{Call, CallerName, Identity, Plugin, SessionChange, StoreAccess, origin};
use crate::host::Host;
use crate::router::Endpoint;
use crate::store::{CommitError, Draft};
use crate::wire::reply::Welcome;
use crate::wire::{ActorId, AppId, CloseCode, Credentials, DeviceId, ErrorCode, PROTOCOL, RequestError, reply};

use super::Session;

/// The signed-in actor of a session.
#[derive(Clone, Debug)]
pub(super) struct SignedIn {
    pub(super) actor: ActorId,
    pub(super) device: DeviceId,
    pub(super) credential: String,
}

impl Host {
    /// Asks the plugins for the identity behind a token. Blocking.
    ///
    /// # Errors
    /// `unauthenticated`, `internal` or `unavailable`.
    pub(crate) fn identify(&self, app: &AppId, token: &str) -> Result<Identity, RequestError> {
        self.identify_with_reads(app, token).map(|(identity, _)| identity)
    }

    /// As [`Host::identify`], and returns the reads that the answer is based on.
    fn identify_with_reads(&self, app: &AppId, token: &str) -> Result<(Identity, Draft), RequestError> {
        let mut call = Call::new(app.clone(), StoreAccess::Read, Draft::new(self.log.store().clone()));
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

    /// Checks a sign-in again whose reads may have changed meanwhile. Returns the code to close the session with, or
    /// `None` while the token still identifies the same actor and credential. Blocking.
    fn revalidate(&self, app: &AppId, token: &str, identity: &Identity, mut draft: Draft) -> Option<CloseCode> {
        for _ in 0..ATTEMPTS {
            // A store that accepts no writes can't have revoked the token either.
            if !matches!(draft.commit_blocking(), Err(CommitError::Conflict)) {
                return None;
            }
            match self.identify_with_reads(app, token) {
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

impl SignedIn {
    /// Returns the caller that plugins see.
    pub(super) fn caller(&self) -> CallerName {
        CallerName {
            actor: Some(self.actor.clone()),
            device: Some(self.device.clone()),
            credential: self.credential.as_str().into(),
        }
    }
}

/// Notifies one plugin of a change of a session, and retries until the transaction commits.
fn notify_plugin(host: &Host, plugin: &Plugin, app: &AppId, signed: &SignedIn, change: SessionChange) {
    let outcome = host.settlement.run(|| {
        let mut call = Call::new(app.clone(), StoreAccess::Write, Draft::new(host.log.store().clone()));
        call.caller = signed.caller();
        let (call, outcome) = plugin.session(call, change);
        // `Plugin::session` logs its own failures.
        Ok((call, outcome.map(drop).map_err(|_| None)))
    });
    if let Err(Some(error)) = outcome {
        let error: CommitError = error;
        tracing::debug!(%error, "what a plugin wrote about a session is lost");
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
            Some((
                ErrorCode::UnknownProtocol,
                format!("This server speaks protocol {PROTOCOL}."),
            ))
        } else if !self.host.apps.contains(&app) {
            Some((ErrorCode::UnknownApp, "The app does not exist.".to_owned()))
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
        self.announce_connected();
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
                &RequestError::new(ErrorCode::InvalidOrder, "The session is signed in already."),
            );
            return;
        }
        match self.identify(app, &credentials).await {
            Ok((identity, read)) => {
                self.sign_in(identity.clone(), credentials.device);
                self.welcome(Some(id));
                self.announce_connected();
                self.confirm(app.clone(), credentials.token, identity, read);
            }
            Err(error) => self.refuse(Some(id), &error),
        }
    }

    async fn identify(&self, app: &AppId, credentials: &Credentials) -> Result<(Identity, Draft), RequestError> {
        let (host, app, token) = (self.host.clone(), app.clone(), credentials.token.clone());
        self.blocking(move || host.identify_with_reads(&app, &token)).await?
    }

    /// Ends the session if its token was revoked while the plugins were asked. The revocation couldn't end it, since
    /// the router didn't know the session yet.
    fn confirm(&self, app: AppId, token: String, identity: Identity, read: Draft) {
        if !read.has_reads() {
            return;
        }
        let (host, queue) = (self.host.clone(), self.queue.clone());
        tokio::spawn(async move {
            let workers = host.workers.clone();
            let revalidate = move || host.revalidate(&app, &token, &identity, read);
            // No result: the host is stopping, which ends all sessions, or the panic hook logged a panic.
            if let Ok(Ok(Some(code))) = workers.in_turn(revalidate).await {
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
            // If the session has ended by then, the queue is gone and nothing happens.
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(left)).await;
                if let Some(queue) = queue.upgrade() {
                    queue.close(CloseCode::SessionEnded);
                }
            });
        }
        self.signed = Some(SignedIn {
            actor,
            device,
            credential,
        });
    }

    /// Adds the session of a signed-in actor to the router, and notifies the plugins. Does nothing without an actor.
    pub(super) fn announce_connected(&mut self) {
        if let (Some(app), Some(signed)) = (&self.app, &self.signed) {
            let endpoint = Endpoint {
                id: self.id,
                credential: signed.credential.clone(),
                queue: self.queue.clone(),
            };
            self.host.router.add(app, &signed.actor, endpoint);
            self.notify_plugins(SessionChange::Connected);
        }
    }

    pub(super) fn sign_out(&mut self) {
        if let (Some(app), Some(signed)) = (&self.app, &self.signed) {
            self.host.router.remove(app, &signed.actor, self.id);
            self.notify_plugins(SessionChange::Disconnected);
            self.signed = None;
        }
    }

    /// Notifies the plugins that observe sessions, one change after the other, without waiting for them.
    fn notify_plugins(&mut self, change: SessionChange) {
        let plugins = self.host.hooks.session_observers(change);
        let (Some(app), Some(signed), false) = (self.app.clone(), self.signed.clone(), plugins.is_empty()) else {
            return;
        };
        let (host, before) = (self.host.clone(), self.notifying.take());
        self.notifying = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // The panic hook already logged a panic.
                let _ = before.await;
            }
            let workers = host.workers.clone();
            let tell = move || {
                for plugin in plugins {
                    notify_plugin(&host, &plugin, &app, &signed, change);
                }
            };
            // Plugins aren't notified once the host stops; the panic hook already logged a panic.
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
