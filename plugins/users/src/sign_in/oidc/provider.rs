//! Identity providers: their configuration, and their metadata (OpenID Connect Discovery 1.0).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{self, invalid_configuration};
use crate::secret::digest;
use crate::sign_in::gateway::{form, percent};

/// The configuration of identity providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OidcSettings {
    pub(crate) providers: Vec<Provider>,
    /// Allowed redirect URIs: pages of the app. The first one is the default.
    pub(crate) redirects: Vec<String>,
    /// Maximum duration of a sign-in, in minutes.
    pub(crate) minutes: u64,
    /// Maximum difference of the clocks, in seconds.
    pub(crate) leeway_s: u64,
    /// Seconds after fetching a provider's keys until an unknown key fetches them again.
    pub(crate) keys_pause_s: u64,
    /// True creates an account for an unknown identity.
    pub(crate) register: bool,
    /// Maximum number of identities of one account.
    pub(crate) identities: usize,
}

impl Default for OidcSettings {
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
    /// The name that people see.
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// The name of the secret; `None` for a public client.
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default = "scopes")]
    scopes: Vec<String>,
    /// True signs a verified e-mail address in to the account that has it.
    #[serde(default)]
    pub(crate) trust_email: bool,
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).into()
}

/// The used part of a provider's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProviderMetadata {
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

/// The secrets of a sign-in: `nonce` comes back in the ID token, `verifier` goes to the token endpoint alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FlowSecrets {
    pub(crate) nonce: String,
    /// RFC 7636.
    pub(crate) verifier: String,
}

impl OidcSettings {
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (index, provider) in self.providers.iter().enumerate() {
            let id = &provider.id;
            let is_id = (1..=32).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
            if !is_id {
                return Err(invalid_configuration(format!(
                    "oidc: {id:?} is not 1 to 32 of a-z 0-9 _ -"
                )));
            }
            if self.providers[..index]
                .iter()
                .any(|other| other.id == *id || other.issuer == provider.issuer)
            {
                return Err(invalid_configuration(format!(
                    "oidc: {id:?} or its issuer is configured twice"
                )));
            }
            if !is_url(&provider.issuer, true) {
                return Err(invalid_configuration(format!(
                    "oidc: the issuer of {id:?} is not an https or http URL"
                )));
            }
            if !provider.scopes.iter().any(|scope| scope == "openid") {
                return Err(invalid_configuration(format!(
                    "oidc: the scopes of {id:?} must contain \"openid\""
                )));
            }
        }
        if !self.providers.is_empty() && self.redirects.is_empty() {
            return Err(invalid_configuration(
                "oidc: with a provider, redirects must not be empty",
            ));
        }
        if self.minutes == 0 || self.leeway_s > 600 {
            return Err(invalid_configuration(
                "oidc: minutes must be 1 or more, and leeway_s 600 or less",
            ));
        }
        Ok(())
    }

    /// Returns a provider by its id.
    ///
    /// # Errors
    /// `unknown_provider`.
    pub(crate) fn provider(&self, id: &str) -> Result<&Provider, Error> {
        let found = self.providers.iter().find(|provider| provider.id == id);
        found.ok_or_else(|| Error::new(error::UNKNOWN_PROVIDER, "No provider with this id is configured."))
    }

    /// Returns the redirect URI: the wanted one if the configuration has exactly this text, or the first one.
    ///
    /// # Errors
    /// `invalid_redirect`.
    pub(crate) fn redirect(&self, wanted: Option<String>) -> Result<String, Error> {
        let chosen = match wanted {
            None => self.redirects.first().cloned(),
            Some(wanted) => Some(wanted).filter(|wanted| self.redirects.contains(wanted)),
        };
        chosen.ok_or_else(|| Error::new(error::INVALID_REDIRECT, "This redirect URI is not configured."))
    }
}

/// True for an https URL without fragment; with `allow_http` also for an http URL.
fn is_url(text: &str, allow_http: bool) -> bool {
    let rest = text.strip_prefix("https://");
    let rest = rest.or_else(|| text.strip_prefix("http://").filter(|_| allow_http));
    rest.is_some_and(|rest| !rest.is_empty()) && !text.contains(['#', ' ', '\r', '\n'])
}

impl Provider {
    pub(crate) fn metadata_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    /// Returns the URL that the user has to open.
    pub(crate) fn authorization_url(
        &self,
        metadata: &ProviderMetadata,
        state: &str,
        redirect: &str,
        secrets: &FlowSecrets,
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
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{separator}{query}")
    }

    /// Returns the request that exchanges a code for tokens.
    ///
    /// # Errors
    /// `unknown_secret` if the client secret isn't configured.
    pub(crate) fn token_request(
        &self,
        cx: &Context,
        metadata: &ProviderMetadata,
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
        let missing =
            |name: &String| Error::new(error::UNKNOWN_SECRET, format!("the secret {name:?} is not configured"));
        let read = |name: &String| cx.secret(name).ok_or_else(|| missing(name));
        let secret = self.client_secret.as_ref().map(read).transpose()?;
        let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
        let accepts_basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let mut request = FetchRequest::new("POST", metadata.token_endpoint.as_str())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        match &secret {
            Some(secret) if accepts_basic => {
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

impl ProviderMetadata {
    /// True if the metadata has this issuer.
    pub(crate) fn is_of(&self, issuer: &str) -> bool {
        self.issuer == issuer
    }

    /// Parses the metadata, which must have the configured issuer.
    ///
    /// # Errors
    /// Why the metadata is invalid.
    pub(crate) fn parse(json: &[u8], provider: &Provider) -> Result<Self, String> {
        let metadata: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if metadata.issuer != provider.issuer {
            return Err(format!("the metadata has the issuer {:?}", metadata.issuer));
        }
        // Plain http is for tests, whose issuer uses it as well.
        let allow_http = provider.issuer.starts_with("http://");
        let urls = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        let urls = urls.into_iter().chain(&metadata.userinfo_endpoint);
        if let Some(url) = urls.into_iter().find(|url| !is_url(url, allow_http)) {
            return Err(format!("{url:?} is not an https URL"));
        }
        Ok(metadata)
    }
}
