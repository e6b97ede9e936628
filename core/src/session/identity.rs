//! Who a session is.

use crate::hooks::{Access, Call, Identity, origin};
use crate::log::Draft;
use crate::router::Endpoint;
use crate::services::now_ms;
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
        if let Some(credentials) = credentials {
            match self.identify(&app, &credentials).await {
                Ok(identity) => self.sign_in(&app, identity, credentials.device),
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
        self.app = Some(app);
        self.welcome(None);
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
            Ok(identity) => {
                self.sign_in(app, identity, credentials.device);
                self.welcome(Some(id));
            }
            Err(error) => self.refuse(Some(id), &error),
        }
    }

    async fn identify(&self, app: &AppId, credentials: &Credentials) -> Result<Identity, RequestError> {
        let (hooks, store) = (self.host.hooks.clone(), self.host.log.store().clone());
        let (app, token) = (app.clone(), credentials.token.clone());
        let asked = self.blocking(move || {
            let mut call = Call::new(app.clone(), Access::Read, Draft::new(store));
            call.origin = Some(origin(&app, &token));
            hooks.authenticate(call, &token).1
        });
        match asked.await? {
            Err(error) if self.host.trust_tokens && !error.retry => match credentials.token.parse() {
                Ok(actor) => Ok(Identity {
                    actor,
                    credential: String::new(),
                    expires_at_ms: 0,
                }),
                Err(_) => Err(error),
            },
            outcome => outcome,
        }
    }

    pub(super) fn sign_in(&mut self, app: &AppId, identity: Identity, device: DeviceId) {
        let Identity {
            actor,
            credential,
            expires_at_ms,
        } = identity;
        let endpoint = Endpoint {
            id: self.id,
            credential: credential.clone(),
            queue: self.queue.clone(),
        };
        self.host.router.add(app, &actor, endpoint);
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
        self.app.get_or_insert_with(|| app.clone());
    }

    pub(super) fn sign_out(&mut self) {
        if let (Some(app), Some(signed)) = (&self.app, self.signed.take()) {
            self.host.router.remove(app, &signed.actor, self.id);
        }
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
