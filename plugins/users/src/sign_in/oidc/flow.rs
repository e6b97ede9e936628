//! A sign-in on its way.
//!
//! `oidc/STATE` holds it until its time is over.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use super::cache;
use super::exchange::{Change, EXCHANGE, PREPARE};
use super::provider::Secrets;
use crate::Users;
use crate::accounts::account;
use crate::accounts::person::Nothing;
use crate::secret::{digest, hex, same};
use crate::sign_in::session::Session;

const MOST_CODE_BYTES: usize = 4_096;
/// When to ask for the result again.
const POLL_MS: u64 = 300;

/// How far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// The provider is asked about itself.
    Preparing,
    /// Somebody is to go to this address and to come back with a code.
    Ready(String),
    /// The provider is asked what the code stands for.
    Exchanging,
    /// Somebody may sign in, or has linked the account of a third party.
    Done {
        actor: String,
        registered: bool,
    },
    Failed {
        code: String,
        message: String,
    },
}

/// A sign-in on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) provider: String,
    pub(crate) redirect: String,
    pub(crate) secrets: Secrets,
    /// The hash of what proves that it is the same client.
    ticket: String,
    /// The actor who wants to sign in by a third party as well.
    pub(crate) link: Option<String>,
    device: Option<String>,
    expires_ms: u64,
    pub(crate) stage: Stage,
}

record! {
    /// A provider that people may sign in by.
    pub(crate) struct ProviderInfo { id: String, name: String }
}
record! {
    /// Providers that people may sign in by.
    pub(crate) struct Providers { providers: Vec<ProviderInfo> }
}
record! {
    /// By whom to sign in; where the provider sends people back to; whether it is one more way for who is signed in.
    pub(crate) struct Start {
        provider: String,
        redirect: Option<String>,
        link: Option<bool>,
        device: Option<String>,
    }
}
record! {
    /// A sign-in that began. Without a `url`, the result says it as soon as it is known.
    pub(crate) struct Started { state: String, ticket: String, url: Option<String>, poll_ms: u64, expires_ms: u64 }
}
record! {
    /// What the provider sent somebody back with.
    pub(crate) struct Finish { state: String, ticket: String, code: String, iss: Option<String> }
}
record! {
    /// Which sign-in is meant.
    pub(crate) struct WhichFlow { state: String, ticket: String }
}
record! {
    /// How far a sign-in is: `preparing`, `ready`, `exchanging`, `signed_in` or `linked`.
    pub(crate) struct Progress {
        stage: String,
        url: Option<String>,
        session: Option<Session>,
        registered: bool,
        poll_ms: u64,
    }
}

fn key(state: &str) -> String {
    format!("oidc/{state}")
}

fn unknown_state() -> Error {
    Error::new(
        "unknown_state",
        "There is no such sign-in, or its time is over; start again.",
    )
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Flow {
    /// Finds a sign-in, whoever asks.
    pub(crate) fn find(cx: &Context, state: &str) -> Result<Option<Self>, Error> {
        Ok(cx.kv().get_json(key(state))?)
    }

    /// Finds a sign-in of the client that has its ticket.
    ///
    /// # Errors
    /// `unknown_state`, also when the ticket is wrong.
    fn of(cx: &Context, state: &str, ticket: &str) -> Result<Self, Error> {
        // Not every text is a part of a key.
        if state.len() > 64 {
            return Err(unknown_state());
        }
        let flow = Self::find(cx, state)?.ok_or_else(unknown_state)?;
        if same(hex(&digest(ticket.as_bytes())).as_bytes(), flow.ticket.as_bytes()) {
            Ok(flow)
        } else {
            Err(unknown_state())
        }
    }

    pub(crate) fn save(&self, cx: &Context, state: &str) -> Result<(), Error> {
        Ok(cx.kv().set_json_until(key(state), self, self.expires_ms)?)
    }
}

impl Progress {
    fn at(stage: &str) -> Self {
        Self {
            stage: stage.to_owned(),
            url: None,
            session: None,
            registered: false,
            poll_ms: POLL_MS,
        }
    }
}

impl Users {
    pub(crate) fn oidc_providers(&self, _cx: &Context, _params: Nothing) -> Result<Providers, Error> {
        let providers = self.settings.oidc.providers.iter().map(|provider| ProviderInfo {
            id: provider.id.clone(),
            name: provider.name.clone(),
        });
        Ok(Providers {
            providers: providers.collect(),
        })
    }

    pub(crate) fn oidc_start(&self, cx: &Context, params: Start) -> Result<Started, Error> {
        let oidc = &self.settings.oidc;
        let provider = oidc.provider(&params.provider)?;
        let redirect = oidc.redirect(params.redirect)?;
        let is_link = params.link == Some(true);
        if is_link && cx.caller.actor.is_empty() {
            return Err(Error::new("unauthenticated", "Sign in first."));
        }
        self.strangers.step(&cx.caller.app, cx.now_ms())?;
        let (state, ticket) = (text(&cx.random::<32>()), text(&cx.random::<32>()));
        let secrets = Secrets {
            nonce: text(&cx.random::<32>()),
            verifier: text(&cx.random::<32>()),
        };
        let cached = cache::read(cx, &provider.id, &provider.issuer)?;
        let url = cached.map(|cached| provider.authorization_url(&cached.metadata, &state, &redirect, &secrets));
        if url.is_none() {
            cx.jobs().add(PREPARE, &state)?;
        }
        let expires_ms = cx.now_ms().saturating_add(oidc.minutes.saturating_mul(60_000));
        let flow = Flow {
            provider: provider.id.clone(),
            redirect,
            secrets,
            ticket: hex(&digest(ticket.as_bytes())),
            link: is_link.then(|| cx.caller.actor.clone()),
            device: params.device,
            expires_ms,
            stage: url.clone().map_or(Stage::Preparing, Stage::Ready),
        };
        flow.save(cx, &state)?;
        Ok(Started {
            state,
            ticket,
            url,
            poll_ms: POLL_MS,
            expires_ms,
        })
    }

    pub(crate) fn oidc_finish(&self, cx: &Context, params: Finish) -> Result<Progress, Error> {
        let mut flow = Flow::of(cx, &params.state, &params.ticket)?;
        if !matches!(flow.stage, Stage::Ready(_)) {
            return Err(Error::new(
                "state_used",
                "This sign-in is finished already; start again.",
            ));
        }
        let provider = self.settings.oidc.provider(&flow.provider)?;
        // Another provider than the one that was asked may be mixed in (RFC 9207).
        let must_say = cache::read(cx, &provider.id, &provider.issuer)?
            .is_some_and(|cached| cached.metadata.authorization_response_iss_parameter_supported);
        if params.iss.as_ref().map_or(must_say, |iss| *iss != provider.issuer) {
            return Err(Error::new("wrong_issuer", "The code is of another provider."));
        }
        if params.code.is_empty() || params.code.len() > MOST_CODE_BYTES {
            return Err(Error::new("bad_code", "A code has 1 to 4,096 bytes."));
        }
        flow.stage = Stage::Exchanging;
        flow.save(cx, &params.state)?;
        let change = Change {
            state: params.state,
            code: params.code,
        };
        cx.jobs().add(EXCHANGE, &change)?;
        Ok(Progress::at("exchanging"))
    }

    pub(crate) fn oidc_result(&self, cx: &Context, params: WhichFlow) -> Result<Progress, Error> {
        let flow = Flow::of(cx, &params.state, &params.ticket)?;
        match flow.stage {
            Stage::Preparing => Ok(Progress::at("preparing")),
            Stage::Exchanging => Ok(Progress::at("exchanging")),
            Stage::Ready(url) => Ok(Progress {
                url: Some(url),
                ..Progress::at("ready")
            }),
            Stage::Failed { code, message } => Err(Error::new(&code, message)),
            Stage::Done { actor, registered } => {
                cx.kv().delete(key(&params.state))?;
                if flow.link.is_some() {
                    return Ok(Progress::at("linked"));
                }
                if account::is_closed(cx, &actor)? {
                    return Err(Error::new("account_closed", "This account was closed."));
                }
                // The token is made for this answer and kept nowhere before.
                let session = self.log_in(cx, actor, flow.device.as_deref())?;
                Ok(Progress {
                    session: Some(session),
                    registered,
                    ..Progress::at("signed_in")
                })
            }
        }
    }
}
