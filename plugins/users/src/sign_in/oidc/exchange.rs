//! The jobs that call a provider, and the transactions that store their results.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache;
use super::flow::{SignInFlow, Stage};
use super::id_token::{Claims, ExpectedClaims, ProfileClaims};
use crate::Users;
use crate::accounts::account::{self, Account, DisplayName};
use crate::error;
use crate::sign_in::address::{self, Address};
use crate::sign_in::identity;

/// Job: fetches the metadata of a provider.
pub(crate) const PREPARE: &str = "oidc_prepare";
/// Job: exchanges a code for an ID token.
pub(crate) const EXCHANGE: &str = "oidc_exchange";
/// Transaction: stores the authorization URL.
pub(crate) const PREPARED: &str = "oidc_prepared";
/// Transaction: finds or creates the account of verified claims.
pub(crate) const FINISH: &str = "oidc_finish";
/// Transaction: stores a failure.
pub(crate) const FAIL: &str = "oidc_fail";
/// Transaction: reads a sign-in.
pub(crate) const FLOW: &str = "oidc_flow";

/// The payload of the job [`EXCHANGE`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CodeExchange {
    pub(crate) state: String,
    pub(crate) code: String,
}

/// A sign-in whose provider's metadata is fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PreparedFlow {
    state: String,
}

/// A sign-in with verified claims.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VerifiedSignIn {
    state: String,
    claims: Claims,
}

/// A failed sign-in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FlowFailure {
    state: String,
    code: String,
    message: String,
}

/// The response of the user information endpoint.
#[derive(Debug, Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    about: ProfileClaims,
}

impl FlowFailure {
    /// Stores the failure as the result of the sign-in.
    pub(crate) fn save(self, cx: &Context) -> Result<(), Error> {
        let Some(mut flow) = SignInFlow::find(cx, &self.state)? else {
            return Ok(());
        };
        flow.stage = Stage::Failed {
            code: self.code,
            message: self.message,
        };
        flow.save(cx, &self.state)
    }
}

/// Stores the error of a job as the final result of the sign-in; the job isn't retried, and the client starts again.
fn store_failure(cx: &Context, state: String, result: Result<(), Error>) -> Result<(), Error> {
    let Err(error) = result else { return Ok(()) };
    cx.log().warn(&format!(
        "sign-in by an identity provider: {}: {}",
        error.code, error.message
    ));
    let (code, message) = match error.code.as_str() {
        error::INVALID_ID_TOKEN => (
            error::INVALID_ID_TOKEN,
            "The provider's ID token was rejected. Start again.",
        ),
        error::CONFLICT_IDENTITY
        | error::CONFLICT_ADDRESS
        | error::UNKNOWN_ACCOUNT
        | error::CONFLICT_CLOSED
        | error::LIMIT_IDENTITIES => (error.code.as_str(), error.message.as_str()),
        _ => (
            error::UNAVAILABLE,
            "The provider failed or returned an invalid response. Start again.",
        ),
    };
    let failure = FlowFailure {
        state,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    cx.transact(FAIL, &failure)
}

impl Claims {
    /// Adds the claims of the user information endpoint. Errors are ignored, since these claims are optional.
    fn fetch_user_info(&mut self, cx: &Context, url: &str, access_token: &str) {
        let request = FetchRequest {
            follow: false,
            ..FetchRequest::get(url)
        };
        let request = request.header("authorization", format!("Bearer {access_token}"));
        let response = cx.fetch(&request).ok().filter(|response| response.status == 200);
        let info = response.and_then(|response| serde_json::from_slice::<UserInfo>(&response.body).ok());
        // The subject must be that of the ID token (section 5.3.2).
        if let Some(info) = info.filter(|info| info.sub == self.subject) {
            self.about = info.about;
        }
    }
}

impl Users {
    /// Fetches the metadata of a provider for a started sign-in.
    pub(crate) fn prepare_flow(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let state: String = job.payload_as()?;
        let prepare = || {
            let Some(flow) = cx.transact::<Option<SignInFlow>>(FLOW, &state)? else {
                return Ok(());
            };
            cache::discover(cx, self.settings.oidc.provider(&flow.provider)?)?;
            cx.transact(PREPARED, &PreparedFlow { state: state.clone() })
        };
        let result = prepare();
        store_failure(cx, state, result)
    }

    /// Stores the authorization URL of a sign-in.
    pub(crate) fn set_ready(&self, cx: &Context, prepared: &PreparedFlow) -> Result<(), Error> {
        let Some(mut flow) = SignInFlow::find(cx, &prepared.state)? else {
            return Ok(());
        };
        let provider = self.settings.oidc.provider(&flow.provider)?;
        let cached = cache::read(cx, &provider.id, &provider.issuer)?;
        let cached = cached.ok_or_else(|| Error::new(error::UNAVAILABLE, "the cached metadata is missing"))?;
        if matches!(flow.stage, Stage::Preparing) {
            let url = provider.authorization_url(&cached.metadata, &prepared.state, &flow.redirect, &flow.secrets);
            flow.stage = Stage::Ready(url);
            flow.save(cx, &prepared.state)?;
        }
        Ok(())
    }

    /// Exchanges a code for verified claims.
    pub(crate) fn run_exchange(&self, cx: &Context, job: &Job) -> Result<(), Error> {
        let exchange: CodeExchange = job.payload_as()?;
        let result = self.exchange_code(cx, &exchange);
        store_failure(cx, exchange.state, result)
    }

    fn exchange_code(&self, cx: &Context, exchange: &CodeExchange) -> Result<(), Error> {
        let oidc = &self.settings.oidc;
        let Some(flow) = cx.transact::<Option<SignInFlow>>(FLOW, &exchange.state)? else {
            return Ok(());
        };
        // An earlier attempt of this job may have finished.
        if !matches!(flow.stage, Stage::Exchanging) {
            return Ok(());
        }
        let provider = oidc.provider(&flow.provider)?;
        let mut cached = cache::discover(cx, provider)?;
        let verifier = &flow.secrets.verifier;
        let request = provider.token_request(cx, &cached.metadata, &exchange.code, &flow.redirect, verifier)?;
        let response = cx.fetch(&request)?;
        if response.status != 200 {
            let sentence = format!("the token endpoint responded with status {}", response.status);
            return Err(Error::new(error::UNAVAILABLE, sentence));
        }
        let response: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let token = response["id_token"].as_str();
        let token = token.ok_or_else(|| Error::new(error::UNAVAILABLE, "the token endpoint returned no ID token"))?;
        let expected = ExpectedClaims {
            issuer: &provider.issuer,
            client_id: &provider.client_id,
            nonce: &flow.secrets.nonce,
            now_s: cx.now_ms() / 1_000,
            leeway_s: oidc.leeway_s,
        };
        let mut claims = cached.verify(cx, oidc, token, &expected)?;
        if let (true, Some(url)) = (claims.about.is_empty(), &cached.metadata.userinfo_endpoint) {
            claims.fetch_user_info(cx, url, response["access_token"].as_str().unwrap_or_default());
        }
        let verified = VerifiedSignIn {
            state: exchange.state.clone(),
            claims,
        };
        cx.transact(FINISH, &verified)
    }

    /// Finds or creates the account of verified claims, or links the identity, and stores the result.
    pub(crate) fn finish_flow(&self, cx: &Context, verified: VerifiedSignIn) -> Result<(), Error> {
        let Some(mut flow) = SignInFlow::find(cx, &verified.state)? else {
            return Ok(());
        };
        if !matches!(flow.stage, Stage::Exchanging) {
            return Ok(());
        }
        let provider = self.settings.oidc.provider(&flow.provider)?;
        let Claims { subject, about } = verified.claims;
        let owner = identity::owner(cx, &provider.issuer, &subject)?;
        let email = about.verified_email().filter(|_| provider.trust_email);
        let email = email.and_then(|email| Address::parse(email).ok());
        let link = |actor: &str| {
            let most = self.settings.oidc.identities;
            if identity::count(cx, actor)? >= most {
                let sentence = "Your account has reached the limit of identities. Remove one first.";
                return Err(Error::new(error::LIMIT_IDENTITIES, sentence));
            }
            identity::link(cx, &provider.id, &provider.issuer, &subject, actor)
        };
        let (actor, registered) = match (flow.link.clone(), owner) {
            (Some(own), Some(owner)) if own == owner => (own, false),
            (Some(own), _) if account::is_closed(cx, &own)? => {
                return Err(Error::new(error::CONFLICT_CLOSED, "This account is closed."));
            }
            (Some(own), _) => {
                link(&own)?;
                (own, false)
            }
            (None, Some(owner)) => (owner, false),
            (None, None) => {
                let owner = match &email {
                    Some(email) => address::owner(cx, email)?,
                    None => None,
                };
                let registered = owner.is_none();
                let actor = match owner {
                    Some(actor) => actor,
                    None if !self.settings.oidc.register => {
                        return Err(Error::new(
                            error::UNKNOWN_ACCOUNT,
                            "No account is registered for this identity.",
                        ));
                    }
                    None => {
                        let preferred = about.preferred_username.as_deref().unwrap_or_default();
                        let name = account::free_name(cx, preferred)?;
                        let wanted = about.name.as_deref().map(DisplayName::parse);
                        let display_name = wanted
                            .and_then(Result::ok)
                            .map_or_else(|| DisplayName::parse(&name), Ok)?;
                        let actor = Account::create(cx, &name, display_name, None)?.actor;
                        if let Some(email) = &email {
                            address::assign(cx, email, &actor)?;
                        }
                        actor
                    }
                };
                link(&actor)?;
                (actor, registered)
            }
        };
        flow.stage = Stage::Done { actor, registered };
        flow.save(cx, &verified.state)
    }
}
