//! Providers, as the operator declares them and as they describe themselves (OpenID Connect Discovery 1.0).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::bad;
use crate::secret::digest;
use crate::sign_in::gateway::{form, percent};

/// What there is to set about third parties.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Oidc {
    pub(crate) providers: Vec<Provider>,
    /// Where providers may send people back to: pages of the app. The first one is the default.
    pub(crate) redirects: Vec<String>,
    /// How long a sign-in may take.
    pub(crate) minutes: u64,
    /// How far the clocks may be apart.
    pub(crate) leeway_s: u64,
    /// How soon after fetching a provider's keys they are fetched again for one that is unknown.
    pub(crate) keys_pause_s: u64,
    /// Whether an unknown person gets an account.
    pub(crate) register: bool,
    /// Accounts of third parties that one account has.
    pub(crate) identities: usize,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            redirects: Vec::new(),
            minutes: 10,
            leeway_s: 60,
            keys_pause_s: 60,
            register: true,
            identities: 10,
        }
    }
}

/// A provider of OpenID Connect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub(crate) id: String,
    /// For people.
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// The name of a secret; left out for a public client.
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default = "scopes")]
    scopes: Vec<String>,
    /// Whether an address that the provider vouches for signs in to the account that has it.
    #[serde(default)]
    pub(crate) trust_email: bool,
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).into()
}

/// What a provider says about itself, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) jwks_uri: String,
    #[serde(default)]
    pub(crate) userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// What a sign-in is made of that the provider must not learn, or must give back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) nonce: String,
    /// RFC 7636.
    pub(crate) verifier: String,
}

impl Oidc {
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (index, provider) in self.providers.iter().enumerate() {
            let id = &provider.id;
            let is_id = (1..=32).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
            if !is_id {
                return Err(bad(format!("oidc: {id:?} is not 1 to 32 of a-z 0-9 _ -")));
            }
            if self.providers[..index]
                .iter()
                .any(|other| other.id == *id || other.issuer == provider.issuer)
            {
                return Err(bad(format!("oidc: {id:?} or its issuer is there twice")));
            }
            if !is_url(&provider.issuer, true) {
                return Err(bad(format!("oidc: the issuer of {id:?} is no URL of https or http")));
            }
            if !provider.scopes.iter().any(|scope| scope == "openid") {
                return Err(bad(format!("oidc: the scopes of {id:?} lack \"openid\"")));
            }
        }
        if !self.providers.is_empty() && self.redirects.is_empty() {
            return Err(bad("oidc: there is no redirect to send people back to"));
        }
        if self.minutes == 0 || self.leeway_s > 600 {
            return Err(bad(
                "oidc: a sign-in takes a minute at least, and clocks are 600 seconds apart at most",
            ));
        }
        Ok(())
    }

    /// Finds a provider.
    ///
    /// # Errors
    /// `unknown_provider`.
    pub(crate) fn provider(&self, id: &str) -> Result<&Provider, Error> {
        let found = self.providers.iter().find(|provider| provider.id == id);
        found.ok_or_else(|| Error::new("unknown_provider", "There is no such provider."))
    }

    /// Chooses where somebody is sent back to.
    ///
    /// # Errors
    /// `bad_redirect`: only what the operator lists, letter by letter.
    pub(crate) fn redirect(&self, wanted: Option<String>) -> Result<String, Error> {
        let chosen = match wanted {
            None => self.redirects.first().cloned(),
            Some(wanted) => Some(wanted).filter(|wanted| self.redirects.contains(wanted)),
        };
        chosen.ok_or_else(|| Error::new("bad_redirect", "Nobody is sent back to there."))
    }
}

fn is_url(text: &str, http_too: bool) -> bool {
    let rest = text.strip_prefix("https://");
    let rest = rest.or_else(|| text.strip_prefix("http://").filter(|_| http_too));
    rest.is_some_and(|rest| !rest.is_empty()) && !text.contains(['#', ' ', '\r', '\n'])
}

impl Provider {
    pub(crate) fn metadata_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    /// Makes the address to send somebody to.
    pub(crate) fn authorization_url(
        &self,
        metadata: &Metadata,
        state: &str,
        redirect: &str,
        secrets: &Secrets,
    ) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest(secrets.verifier.as_bytes()));
        let query = form([
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", redirect),
            ("scope", &self.scopes.join(" ")),
            ("state", state),
            ("nonce", secrets.nonce.as_str()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let endpoint = &metadata.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{joint}{query}")
    }

    /// Makes the request that changes a code for tokens.
    ///
    /// # Errors
    /// When the operator's secret is missing.
    pub(crate) fn token_request(
        &self,
        cx: &Context,
        metadata: &Metadata,
        code: &str,
        redirect: &str,
        verifier: &str,
    ) -> Result<FetchRequest, Error> {
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("client_id", self.client_id.as_str()),
            ("code_verifier", verifier),
        ];
        let missing = |name: &String| Error::new("no_secret", format!("there is no secret {name:?}"));
        let read = |name: &String| cx.secret(name).ok_or_else(|| missing(name));
        let secret = self.client_secret.as_ref().map(read).transpose()?;
        let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
        let takes_basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let mut request = FetchRequest::new("POST", metadata.token_endpoint.as_str())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        match &secret {
            Some(secret) if takes_basic => {
                let pair = format!("{}:{}", percent(&self.client_id), percent(secret));
                request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
            }
            Some(secret) => pairs.push(("client_secret", secret)),
            None => {}
        }
        request.body = form(pairs).into_bytes();
        request.follow = false;
        Ok(request)
    }
}

impl Metadata {
    pub(crate) fn is_of(&self, issuer: &str) -> bool {
        self.issuer == issuer
    }

    /// Reads what the provider says, which must be about itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(json: &[u8], provider: &Provider) -> Result<Self, String> {
        let metadata: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if metadata.issuer != provider.issuer {
            return Err(format!("it says that its issuer is {:?}", metadata.issuer));
        }
        // Plain http is for tests, where the issuer is as well.
        let http_too = provider.issuer.starts_with("http://");
        let urls = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        let urls = urls.into_iter().chain(&metadata.userinfo_endpoint);
        if let Some(url) = urls.into_iter().find(|url| !is_url(url, http_too)) {
            return Err(format!("{url:?} is no URL of https"));
        }
        Ok(metadata)
    }
}
