//! What providers said about themselves, and their keys, as long as that is good.
//!
//! `oidc_cache/PROVIDER` holds it.

use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id_token::{self, Claims, Expected, Fault};
use super::keys::Keys;
use super::provider::{Metadata, Oidc, Provider};

pub(crate) const READ: &str = "oidc_read_cache";
pub(crate) const KEEP: &str = "oidc_keep_cache";

const METADATA_MS: u64 = 24 * 60 * 60 * 1_000;
const KEYS_S: u64 = 60 * 60;
const SHORTEST_KEYS_S: u64 = 5 * 60;
const LONGEST_KEYS_S: u64 = 24 * 60 * 60;
const MOST_BYTES: usize = 65_536;

/// What is kept of a provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cached {
    provider: String,
    pub(crate) metadata: Metadata,
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

/// Reads what is kept of a provider, if it is still good.
pub(crate) fn read(cx: &Context, provider: &str, issuer: &str) -> Result<Option<Cached>, Error> {
    let cached = cx.kv().get_json::<Cached>(key(provider)).ok().flatten();
    let now_ms = cx.now_ms();
    // The operator may have given the provider another issuer.
    Ok(cached.filter(|cached| cached.metadata_until_ms > now_ms && cached.metadata.is_of(issuer)))
}

/// Keeps what a provider said.
pub(crate) fn keep(cx: &Context, cached: &Cached) -> Result<(), Error> {
    Ok(cx.kv().set_json(key(&cached.provider), cached)?)
}

/// Says for how many seconds a response may be kept.
fn max_age_s(response: &HttpResponse) -> u64 {
    let control = response
        .header("cache-control")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let age = control
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
    age.unwrap_or(KEYS_S).clamp(SHORTEST_KEYS_S, LONGEST_KEYS_S)
}

fn get(cx: &Context, url: &str) -> Result<HttpResponse, Error> {
    let response = cx.fetch(&FetchRequest::get(url).header("accept", "application/json"))?;
    if response.status != 200 || response.body.len() > MOST_BYTES {
        return Err(Error::new(
            "provider",
            format!("{url} answered with status {}", response.status),
        ));
    }
    Ok(response)
}

/// Asks a provider about itself, unless that is known. In a job.
pub(crate) fn discover(cx: &Context, provider: &Provider) -> Result<Cached, Error> {
    if let Some(cached) = cx.transact::<Option<Cached>>(READ, &provider.id)? {
        return Ok(cached);
    }
    let url = provider.metadata_url();
    let response = get(cx, &url)?;
    let bad = |reason: String| Error::new("provider", format!("{url}: {reason}"));
    let cached = Cached {
        provider: provider.id.clone(),
        metadata: Metadata::parse(&response.body, provider).map_err(bad)?,
        metadata_until_ms: cx.now_ms().saturating_add(METADATA_MS),
        keys: Value::Null,
        keys_at_ms: 0,
        keys_until_ms: 0,
    };
    cx.transact::<()>(KEEP, &cached)?;
    Ok(cached)
}

impl Cached {
    fn fetch_keys(&mut self, cx: &Context) -> Result<(), Error> {
        let url = &self.metadata.jwks_uri;
        let response = get(cx, url)?;
        let bad = || Error::new("provider", format!("{url} has no keys"));
        let set: Value = serde_json::from_slice(&response.body).map_err(|_| bad())?;
        Keys::parse(&set).ok_or_else(bad)?;
        self.keys = set;
        self.keys_at_ms = cx.now_ms();
        self.keys_until_ms = self
            .keys_at_ms
            .saturating_add(max_age_s(&response).saturating_mul(1_000));
        cx.transact(KEEP, self)
    }

    /// Checks an ID token. For a key that is unknown the provider is asked once more, but not all the time: whoever makes up
    /// names of keys must not make this host ask. In a job.
    ///
    /// # Errors
    /// `token` with the reason, or what became of asking.
    pub(crate) fn verify(
        &mut self,
        cx: &Context,
        settings: &Oidc,
        token: &str,
        expected: &Expected<'_>,
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
        let may_ask = was_fresh && self.keys_at_ms.saturating_add(pause_ms) <= cx.now_ms();
        if verified == Err(Fault::UnknownKey) && may_ask {
            self.fetch_keys(cx)?;
            verified = verify(self);
        }
        verified.map_err(|fault| Error::new("token", format!("the ID token is refused: {fault}")))
    }
}
