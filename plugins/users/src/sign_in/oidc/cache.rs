//! The cached metadata and keys of providers.
//!
//! `oidc_cache/PROVIDER` holds both.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id_token::{self, Claims, ExpectedClaims, TokenFault};
use super::keys::Keys;
use super::provider::{OidcSettings, Provider, ProviderMetadata};
use crate::error;

/// Transaction: reads the cache of a provider.
pub(crate) const READ: &str = "oidc_read_cache";
/// Transaction: stores the cache of a provider.
pub(crate) const STORE: &str = "oidc_keep_cache";

/// Lifetime of metadata, in milliseconds.
const METADATA_MS: u64 = 24 * 60 * 60 * 1_000;
/// Lifetime of keys without `max-age`, in seconds.
const KEYS_S: u64 = 60 * 60;
/// Bounds of the lifetime of keys, in seconds.
const MIN_KEYS_S: u64 = 5 * 60;
const MAX_KEYS_S: u64 = 24 * 60 * 60;
/// Maximum size of a response, in bytes.
const MAX_BYTES: usize = 65_536;

/// The cached metadata and keys of a provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CachedProvider {
    provider: String,
    pub(crate) metadata: ProviderMetadata,
    metadata_until_ms: u64,
    #[serde(default)]
    keys: Value,
    #[serde(default)]
    keys_at_ms: u64,
    #[serde(default)]
    keys_until_ms: u64,
}

fn key(provider: &str) -> String {
    format!("oidc_cache/{provider}")
}

/// Returns the cache of a provider, unless its metadata has expired.
pub(crate) fn read(cx: &Context, provider: &str, issuer: &str) -> Result<Option<CachedProvider>, Error> {
    let cached = cx.kv().get_json::<CachedProvider>(key(provider)).ok().flatten();
    let now_ms = cx.now_ms();
    // The configuration may have another issuer by now.
    Ok(cached.filter(|cached| cached.metadata_until_ms > now_ms && cached.metadata.is_of(issuer)))
}

/// Stores the cache of a provider.
pub(crate) fn store(cx: &Context, cached: &CachedProvider) -> Result<(), Error> {
    Ok(cx.kv().set_json(key(&cached.provider), cached)?)
}

/// Returns for how many seconds a response may be cached.
fn max_age_s(response: &HttpResponse) -> u64 {
    let control = response
        .header("cache-control")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let age = control
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    age.unwrap_or(KEYS_S).clamp(MIN_KEYS_S, MAX_KEYS_S)
}

/// Fetches a JSON document of a provider.
fn get(cx: &Context, url: &str) -> Result<HttpResponse, Error> {
    let response = cx.fetch(&FetchRequest::get(url).header("accept", "application/json"))?;
    if response.status != 200 || response.body.len() > MAX_BYTES {
        return Err(Error::new(
            error::UNAVAILABLE,
            format!("{url} responded with status {}", response.status),
        ));
    }
    Ok(response)
}

/// Returns the metadata of a provider, from the cache or else from the provider. Only for jobs.
pub(crate) fn discover(cx: &Context, provider: &Provider) -> Result<CachedProvider, Error> {
    if let Some(cached) = cx.transact::<Option<CachedProvider>>(READ, &provider.id)? {
        return Ok(cached);
    }
    let url = provider.metadata_url();
    let response = get(cx, &url)?;
    let invalid = |reason: String| Error::new(error::UNAVAILABLE, format!("{url}: {reason}"));
    let cached = CachedProvider {
        provider: provider.id.clone(),
        metadata: ProviderMetadata::parse(&response.body, provider).map_err(invalid)?,
        metadata_until_ms: cx.now_ms().saturating_add(METADATA_MS),
        keys: Value::Null,
        keys_at_ms: 0,
        keys_until_ms: 0,
    };
    cx.transact::<()>(STORE, &cached)?;
    Ok(cached)
}

impl CachedProvider {
    /// Fetches and stores the keys.
    fn fetch_keys(&mut self, cx: &Context) -> Result<(), Error> {
        let url = &self.metadata.jwks_uri;
        let response = get(cx, url)?;
        let invalid = || Error::new(error::UNAVAILABLE, format!("{url} returned no keys"));
        let set: Value = serde_json::from_slice(&response.body).map_err(|_| invalid())?;
        Keys::parse(&set).ok_or_else(invalid)?;
        self.keys = set;
        self.keys_at_ms = cx.now_ms();
        self.keys_until_ms = self
            .keys_at_ms
            .saturating_add(max_age_s(&response).saturating_mul(1_000));
        cx.transact(STORE, self)
    }

    /// Verifies an ID token. An unknown key fetches the keys again, but at most once per `keys_pause_s`, so that tokens with
    /// invented keys can't cause requests. Only for jobs.
    ///
    /// # Errors
    /// `invalid_id_token` with the reason, or the error of the request.
    pub(crate) fn verify(
        &mut self,
        cx: &Context,
        settings: &OidcSettings,
        token: &str,
        expected: &ExpectedClaims<'_>,
    ) -> Result<Claims, Error> {
        let was_fresh = self.keys_until_ms > cx.now_ms();
        if !was_fresh {
            self.fetch_keys(cx)?;
        }
        let verify = |cached: &Self| {
            let keys = Keys::parse(&cached.keys).unwrap_or_default();
            id_token::verify(token, &keys, expected)
        };
        let mut verified = verify(self);
        let pause_ms = settings.keys_pause_s.saturating_mul(1_000);
        let may_fetch = was_fresh && self.keys_at_ms.saturating_add(pause_ms) <= cx.now_ms();
        if verified == Err(TokenFault::UnknownKey) && may_fetch {
            self.fetch_keys(cx)?;
            verified = verify(self);
        }
        verified.map_err(|fault| Error::new(error::INVALID_ID_TOKEN, format!("the ID token is rejected: {fault}")))
    }
}
