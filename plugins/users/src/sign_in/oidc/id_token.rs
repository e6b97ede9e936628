//! ID tokens (OpenID Connect Core 1.0, section 3.1.3.7).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{Algorithm, Keys};
use crate::secret::constant_time_eq;

/// Maximum length of a token, in bytes.
const MAX_BYTES: usize = 16_384;
/// Maximum age of a token, in seconds: an older one wasn't issued for this sign-in.
const MAX_AGE_S: u64 = 3_600;

/// Why a token is rejected. Only the log shows the reason, clients don't see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenFault {
    /// The key is unknown; fetching the keys again may help.
    UnknownKey,
    Invalid(&'static str),
}

impl std::fmt::Display for TokenFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "its key is unknown",
            Self::Invalid(reason) => reason,
        })
    }
}

/// The claims that a token must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpectedClaims<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) now_s: u64,
    /// Maximum difference of the clocks, in seconds.
    pub(crate) leeway_s: u64,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Payload {
    iss: String,
    sub: String,
    aud: TokenAudience,
    azp: Option<String>,
    exp: f64,
    nbf: Option<f64>,
    iat: f64,
    nonce: Option<String>,
    #[serde(flatten)]
    about: ProfileClaims,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TokenAudience {
    One(String),
    Many(Vec<String>),
}

/// The optional claims about a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProfileClaims {
    pub(crate) name: Option<String>,
    pub(crate) preferred_username: Option<String>,
    pub(crate) email: Option<String>,
    /// A boolean; some providers send a string.
    #[serde(default)]
    email_verified: Value,
}

impl ProfileClaims {
    /// True if there is neither a name nor an address.
    pub(crate) fn is_empty(&self) -> bool {
        self.name.is_none() && self.preferred_username.is_none() && self.email.is_none()
    }

    /// Returns the e-mail address if the provider has verified it.
    pub(crate) fn verified_email(&self) -> Option<&str> {
        let is_verified = self.email_verified == Value::Bool(true) || self.email_verified == "true";
        self.email.as_deref().filter(|_| is_verified)
    }
}

/// The verified claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    pub(crate) about: ProfileClaims,
}

/// Verifies a token: first its signature, then its claims.
pub(crate) fn verify(token: &str, keys: &Keys, expected: &ExpectedClaims<'_>) -> Result<Claims, TokenFault> {
    if token.len() > MAX_BYTES {
        return Err(TokenFault::Invalid("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenFault::Invalid("it doesn't have three parts"));
    };
    let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
    let header: Header = part(header).ok_or(TokenFault::Invalid("its header can't be read"))?;
    let algorithm = Algorithm::parse(&header.alg).ok_or(TokenFault::Invalid("its algorithm is not accepted"))?;
    if header.crit.is_some() {
        return Err(TokenFault::Invalid("it requires an extension"));
    }
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| TokenFault::Invalid("its signature can't be read"))?;
    keys.verify(algorithm, header.kid.as_deref(), signed, &signature)?;
    let payload: Payload = part(payload).ok_or(TokenFault::Invalid("its claims can't be read"))?;
    payload.check(expected)?;
    Ok(Claims {
        subject: payload.sub,
        about: payload.about,
    })
}

/// Decodes a JSON part of a token.
fn part<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&json).ok()
}

impl Payload {
    fn check(&self, expected: &ExpectedClaims<'_>) -> Result<(), TokenFault> {
        let invalid = |reason| Err(TokenFault::Invalid(reason));
        if self.iss != expected.issuer {
            return invalid("it comes from another issuer");
        }
        let (is_for_us, audiences) = match &self.aud {
            TokenAudience::One(aud) => (aud == expected.client_id, 1),
            TokenAudience::Many(list) => (list.iter().any(|aud| aud == expected.client_id), list.len()),
        };
        if !is_for_us {
            return invalid("it is for another client");
        }
        match &self.azp {
            Some(azp) if azp != expected.client_id => return invalid("it was issued to another client"),
            None if audiences > 1 => return invalid("it has several audiences and no authorized party"),
            _ => {}
        }
        let at = |seconds: u64| {
            // Exact below 2^53, which is some hundred million years.
            #[expect(clippy::cast_precision_loss, reason = "see above")]
            let seconds = seconds as f64;
            seconds
        };
        let (now, leeway) = (at(expected.now_s), at(expected.leeway_s));
        if self.exp <= now - leeway {
            return invalid("it has expired");
        }
        if self.nbf.is_some_and(|nbf| nbf > now + leeway) {
            return invalid("it isn't valid yet");
        }
        if self.iat > now + leeway || self.iat < now - at(MAX_AGE_S) - leeway {
            return invalid("it wasn't issued recently");
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if !constant_time_eq(nonce.as_bytes(), expected.nonce.as_bytes()) {
            return invalid("it is for another sign-in");
        }
        if !(1..=255).contains(&self.sub.len()) || self.sub.chars().any(char::is_control) {
            return invalid("its subject is malformed");
        }
        Ok(())
    }
}
