//! The jobs that ask a provider, and what they change.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache;
use super::flow::{Flow, Stage};
use super::id_token::{About, Claims, Expected};
use crate::Users;
use crate::accounts::account::{self, Account, DisplayName};
use crate::sign_in::address::{self, Address};
use crate::sign_in::identity;

pub(crate) const PREPARE: &str = "oidc_prepare";
pub(crate) const EXCHANGE: &str = "oidc_exchange";
pub(crate) const PREPARED: &str = "oidc_prepared";
pub(crate) const FINISH: &str = "oidc_finish";
pub(crate) const FAIL: &str = "oidc_fail";
/// Reads a sign-in.
pub(crate) const FLOW: &str = "oidc_flow";

/// A code that is to be changed for a person.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) state: String,
    pub(crate) code: String,
}

/// What a provider said whose sign-in is to go on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    state: String,
}

/// A person that a provider vouches for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Changed {
    state: String,
    claims: Claims,
}

/// A sign-in that came to nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    state: String,
    code: String,
    message: String,
}

/// What a provider says about the person of an access token.
#[derive(Debug, Deserialize)]
struct Said {
    sub: String,
    #[serde(flatten)]
    about: About,
}

impl Failed {
    pub(crate) fn note(self, cx: &Context) -> Result<(), Error> {
        let Some(mut flow) = Flow::find(cx, &self.state)? else {
            return Ok(());
        };
        flow.stage = Stage::Failed {
            code: self.code,
            message: self.message,
        };
        flow.save(cx, &self.state)
    }
}

/// What is done about a sign-in fails for good: whoever waits is told, and starts again.
fn settled(cx: &Context, state: String, done: Result<(), Error>) -> Result<(), Error> {
    let Err(error) = done else { return Ok(()) };
    cx.log()
        .warn(&format!("sign-in by a third party: {}: {}", error.code, error.message));
    let (code, message) = match error.code.as_str() {
        "token" => (
            "token_refused",
            "What the provider said could not be trusted; start again.",
        ),
        "identity_taken" | "address_taken" | "not_registered" | "account_closed" | "too_many_identities" => {
            (error.code.as_str(), error.message.as_str())
        }
        _ => (
            "provider_failed",
            "The provider did not answer as it should; start again.",
        ),
    };
    let failed = Failed {
        state,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    cx.transact(FAIL, &failed)
}

impl Claims {
    /// Asks the provider for what its token does not say. It is no failure if nothing comes of it.
    fn ask(&mut self, cx: &Context, url: &str, access_token: &str) {
        let request = FetchRequest {
            follow: false,
            ..FetchRequest::get(url)
        };
        let request = request.header("authorization", format!("Bearer {access_token}"));
        let said = cx.fetch(&request).ok().filter(|response| response.status == 200);
        let said = said.and_then(|response| serde_json::from_slice::<Said>(&response.body).ok());
        // It may be about somebody else (section 5.3.2).
        if let Some(said) = said.filter(|said| said.sub == self.subject) {
            self.about = said.about;
        }
    }
}

impl Users {
    /// Asks a provider about itself, for a sign-in that waits for it.
    pub(crate) fn prepare(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let state: String = job.payload_as()?;
        let prepare = || {
            let Some(flow) = cx.transact::<Option<Flow>>(FLOW, &state)? else {
                return Ok(());
            };
            cache::discover(cx, self.settings.oidc.provider(&flow.provider)?)?;
            cx.transact(PREPARED, &Prepared { state: state.clone() })
        };
        let done = prepare();
        settled(cx, state, done)
    }

    pub(crate) fn prepared(&self, cx: &Context, prepared: &Prepared) -> Result<(), Error> {
        let Some(mut flow) = Flow::find(cx, &prepared.state)? else {
            return Ok(());
        };
        let provider = self.settings.oidc.provider(&flow.provider)?;
        let cached = cache::read(cx, &provider.id, &provider.issuer)?;
        let cached = cached.ok_or_else(|| Error::new("provider", "what it said is gone"))?;
        if matches!(flow.stage, Stage::Preparing) {
            let url = provider.authorization_url(&cached.metadata, &prepared.state, &flow.redirect, &flow.secrets);
            flow.stage = Stage::Ready(url);
            flow.save(cx, &prepared.state)?;
        }
        Ok(())
    }

    /// Changes a code for a person.
    pub(crate) fn exchange(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let change: Change = job.payload_as()?;
        let done = self.change(cx, &change);
        settled(cx, change.state, done)
    }

    fn change(&self, cx: &Context, change: &Change) -> Result<(), Error> {
        let oidc = &self.settings.oidc;
        let Some(flow) = cx.transact::<Option<Flow>>(FLOW, &change.state)? else {
            return Ok(());
        };
        // This job may have come so far before.
        if !matches!(flow.stage, Stage::Exchanging) {
            return Ok(());
        }
        let provider = oidc.provider(&flow.provider)?;
        let mut cached = cache::discover(cx, provider)?;
        let verifier = &flow.secrets.verifier;
        let request = provider.token_request(cx, &cached.metadata, &change.code, &flow.redirect, verifier)?;
        let response = cx.fetch(&request)?;
        if response.status != 200 {
            let sentence = format!("the token endpoint answered with status {}", response.status);
            return Err(Error::new("provider", sentence));
        }
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = answer["id_token"].as_str();
        let token = token.ok_or_else(|| Error::new("provider", "the token endpoint gave no ID token"))?;
        let expected = Expected {
            issuer: &provider.issuer,
            client_id: &provider.client_id,
            nonce: &flow.secrets.nonce,
            now_s: cx.now_ms() / 1_000,
            leeway_s: oidc.leeway_s,
        };
        let mut claims = cached.verify(cx, oidc, token, &expected)?;
        if let (true, Some(url)) = (claims.about.is_silent(), &cached.metadata.userinfo_endpoint) {
            claims.ask(cx, url, answer["access_token"].as_str().unwrap_or_default());
        }
        let changed = Changed {
            state: change.state.clone(),
            claims,
        };
        cx.transact(FINISH, &changed)
    }

    /// Finds or makes the account of a person that a provider vouches for.
    pub(crate) fn changed(&self, cx: &Context, changed: Changed) -> Result<(), Error> {
        let Some(mut flow) = Flow::find(cx, &changed.state)? else {
            return Ok(());
        };
        if !matches!(flow.stage, Stage::Exchanging) {
            return Ok(());
        }
        let provider = self.settings.oidc.provider(&flow.provider)?;
        let Claims { subject, about } = changed.claims;
        let known = identity::owner(cx, &provider.issuer, &subject)?;
        let email = about.verified_email().filter(|_| provider.trust_email);
        let email = email.and_then(|email| Address::parse(email).ok());
        let link = |actor: &str| {
            let most = self.settings.oidc.identities;
            if identity::count(cx, actor)? >= most {
                let sentence = "You have as many accounts of third parties as you can have.";
                return Err(Error::new("too_many_identities", sentence));
            }
            identity::link(cx, &provider.id, &provider.issuer, &subject, actor)
        };
        let (actor, registered) = match (flow.link.clone(), known) {
            (Some(own), Some(known)) if own == known => (own, false),
            (Some(own), _) if account::is_closed(cx, &own)? => {
                return Err(Error::new("account_closed", "This account was closed."));
            }
            (Some(own), _) => {
                link(&own)?;
                (own, false)
            }
            (None, Some(known)) => (known, false),
            (None, None) => {
                let owner = match &email {
                    Some(email) => address::owner(cx, email)?,
                    None => None,
                };
                let registered = owner.is_none();
                let actor = match owner {
                    Some(actor) => actor,
                    None if !self.settings.oidc.register => {
                        return Err(Error::new("not_registered", "Nobody here has this account."));
                    }
                    None => {
                        let wish = about.preferred_username.as_deref().unwrap_or_default();
                        let name = account::free_name(cx, wish)?;
                        let called = about.name.as_deref().map(DisplayName::parse);
                        let display_name = called
                            .and_then(Result::ok)
                            .map_or_else(|| DisplayName::parse(&name), Ok)?;
                        let actor = Account::create(cx, &name, display_name, None)?.actor;
                        if let Some(email) = &email {
                            address::give(cx, email, &actor)?;
                        }
                        actor
                    }
                };
                link(&actor)?;
                (actor, registered)
            }
        };
        flow.stage = Stage::Done { actor, registered };
        flow.save(cx, &changed.state)
    }
}
