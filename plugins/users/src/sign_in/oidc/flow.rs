//! A sign-in by a provider, from its start to its result.
//!
//! `oidc/STATE` holds it until it expires.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use super::cache;
use super::exchange::{CodeExchange, EXCHANGE, PREPARE};
use super::provider::FlowSecrets;
use crate::Users;
use crate::accounts::account;
use crate::accounts::person::Nothing;
use crate::error;
use crate::secret::{constant_time_eq, digest, hex};
use crate::sign_in::session::NewSession;

/// Maximum length of an authorization code, in bytes.
const MAX_CODE_BYTES: usize = 4_096;
/// How often clients should poll the result, in milliseconds.
const POLL_MS: u64 = 300;

/// The stage of a sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// A job fetches the provider's metadata.
    Preparing,
    /// The user has to open this URL, and returns with a code.
    Ready(String),
    /// A job exchanges the code for tokens.
    Exchanging,
    /// The client may fetch its login, or the identity is linked.
    Done {
        actor: String,
        registered: bool,
    },
    Failed {
        code: String,
        message: String,
    },
}

/// A started sign-in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SignInFlow {
    pub(crate) provider: String,
    pub(crate) redirect: String,
    pub(crate) secrets: FlowSecrets,
    /// The hash of the ticket.
    ticket: String,
    /// The actor who links an identity; `None` for a sign-in.
    pub(crate) link: Option<String>,
    device: Option<String>,
    expires_ms: u64,
    pub(crate) stage: Stage,
}

record! {
    /// A configured provider.
    pub(crate) struct ProviderInfo { id: String, name: String }
}
record! {
    /// The configured providers.
    pub(crate) struct ProviderList { providers: Vec<ProviderInfo> }
}
record! {
    /// Parameters of `oidc_start`: the provider, the redirect URI, and whether to link the identity to the caller's account.
    pub(crate) struct StartParams {
        provider: String,
        redirect: Option<String>,
        link: Option<bool>,
        device: Option<String>,
    }
}
record! {
    /// Result of `oidc_start`. Without `url`, `oidc_result` returns it as soon as the metadata is fetched.
    pub(crate) struct StartResult { state: String, ticket: String, url: Option<String>, poll_ms: u64, expires_ms: u64 }
}
record! {
    /// Parameters of `oidc_finish`: the query with which the provider redirected back.
    pub(crate) struct FinishParams { state: String, ticket: String, code: String, iss: Option<String> }
}
record! {
    /// Parameters of `oidc_result`.
    pub(crate) struct FlowParams { state: String, ticket: String }
}
record! {
    /// The stage of a sign-in: `preparing`, `ready`, `exchanging`, `signed_in` or `linked`.
    pub(crate) struct FlowProgress {
        stage: String,
        url: Option<String>,
        session: Option<NewSession>,
        registered: bool,
        poll_ms: u64,
    }
}

fn key(state: &str) -> String {
    format!("oidc/{state}")
}

fn unknown_state() -> Error {
    Error::new(
        error::UNKNOWN_STATE,
        "This sign-in is unknown or has expired. Start again.",
    )
}

/// Encodes random bytes for a URL.
fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SignInFlow {
    /// Returns a sign-in without checking its ticket, for jobs.
    pub(crate) fn find(cx: &Context, state: &str) -> Result<Option<Self>, Error> {
        Ok(cx.kv().get_json(key(state))?)
    }

    /// Returns a sign-in if the ticket is right.
    ///
    /// # Errors
    /// `unknown_state`, also if the ticket is wrong.
    fn authorize(cx: &Context, state: &str, ticket: &str) -> Result<Self, Error> {
        // Keys are limited in length.
        if state.len() > 64 {
            return Err(unknown_state());
        }
        let flow = Self::find(cx, state)?.ok_or_else(unknown_state)?;
        if constant_time_eq(hex(&digest(ticket.as_bytes())).as_bytes(), flow.ticket.as_bytes()) {
            Ok(flow)
        } else {
            Err(unknown_state())
        }
    }

    pub(crate) fn save(&self, cx: &Context, state: &str) -> Result<(), Error> {
        Ok(cx.kv().set_json_until(key(state), self, self.expires_ms)?)
    }
}

impl FlowProgress {
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
    pub(crate) fn oidc_providers(&self, _cx: &Context, _params: Nothing) -> Result<ProviderList, Error> {
        let providers = self.settings.oidc.providers.iter().map(|provider| ProviderInfo {
            id: provider.id.clone(),
            name: provider.name.clone(),
        });
        Ok(ProviderList {
            providers: providers.collect(),
        })
    }

    pub(crate) fn oidc_start(&self, cx: &Context, params: StartParams) -> Result<StartResult, Error> {
        let oidc = &self.settings.oidc;
        let provider = oidc.provider(&params.provider)?;
        let redirect = oidc.redirect(params.redirect)?;
        let is_link = params.link == Some(true);
        if is_link && cx.caller.actor.is_empty() {
            return Err(Error::new(error::UNAUTHENTICATED, "Sign in first."));
        }
        self.anonymous_rate.acquire(&cx.caller.app, cx.now_ms())?;
        let (state, ticket) = (base64url(&cx.random::<32>()), base64url(&cx.random::<32>()));
        let secrets = FlowSecrets {
            nonce: base64url(&cx.random::<32>()),
            verifier: base64url(&cx.random::<32>()),
        };
        let cached = cache::read(cx, &provider.id, &provider.issuer)?;
        let url = cached.map(|cached| provider.authorization_url(&cached.metadata, &state, &redirect, &secrets));
        if url.is_none() {
            cx.jobs().add(PREPARE, &state)?;
        }
        let expires_ms = cx.now_ms().saturating_add(oidc.minutes.saturating_mul(60_000));
        let flow = SignInFlow {
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
        Ok(StartResult {
            state,
            ticket,
            url,
            poll_ms: POLL_MS,
            expires_ms,
        })
    }

    pub(crate) fn oidc_finish(&self, cx: &Context, params: FinishParams) -> Result<FlowProgress, Error> {
        let mut flow = SignInFlow::authorize(cx, &params.state, &params.ticket)?;
        if !matches!(flow.stage, Stage::Ready(_)) {
            return Err(Error::new(
                error::CONFLICT,
                "This sign-in is not waiting for a code. Start again.",
            ));
        }
        let provider = self.settings.oidc.provider(&flow.provider)?;
        // Prevents mix-up of providers (RFC 9207).
        let iss_is_required = cache::read(cx, &provider.id, &provider.issuer)?
            .is_some_and(|cached| cached.metadata.authorization_response_iss_parameter_supported);
        if params
            .iss
            .as_ref()
            .map_or(iss_is_required, |iss| *iss != provider.issuer)
        {
            return Err(Error::new(
                error::INVALID_ISSUER,
                "The code comes from another provider. Start again.",
            ));
        }
        if params.code.is_empty() || params.code.len() > MAX_CODE_BYTES {
            return Err(Error::new(
                error::INVALID_CODE,
                "An authorization code has 1 to 4,096 bytes.",
            ));
        }
        flow.stage = Stage::Exchanging;
        flow.save(cx, &params.state)?;
        let exchange = CodeExchange {
            state: params.state,
            code: params.code,
        };
        cx.jobs().add(EXCHANGE, &exchange)?;
        Ok(FlowProgress::at("exchanging"))
    }

    pub(crate) fn oidc_result(&self, cx: &Context, params: FlowParams) -> Result<FlowProgress, Error> {
        let flow = SignInFlow::authorize(cx, &params.state, &params.ticket)?;
        match flow.stage {
            Stage::Preparing => Ok(FlowProgress::at("preparing")),
            Stage::Exchanging => Ok(FlowProgress::at("exchanging")),
            Stage::Ready(url) => Ok(FlowProgress {
                url: Some(url),
                ..FlowProgress::at("ready")
            }),
            Stage::Failed { code, message } => Err(Error::new(&code, message)),
            Stage::Done { actor, registered } => {
                cx.kv().delete(key(&params.state))?;
                if flow.link.is_some() {
                    return Ok(FlowProgress::at("linked"));
                }
                if account::is_closed(cx, &actor)? {
                    return Err(Error::new(error::CONFLICT_CLOSED, "This account is closed."));
                }
                // The token is created here, so that it is stored nowhere before the client fetches it.
                let session = self.start_session(cx, actor, flow.device.as_deref())?;
                Ok(FlowProgress {
                    session: Some(session),
                    registered,
                    ..FlowProgress::at("signed_in")
                })
            }
        }
    }
}
