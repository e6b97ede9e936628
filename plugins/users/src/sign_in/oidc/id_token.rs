//! ID tokens (OpenID Connect Core 1.0, section 3.1.3.7).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{Algorithm, Keys};
use crate::secret::same;

const MOST_BYTES: usize = 16_384;
/// A token older than this was not made for this sign-in.
const OLDEST_S: u64 = 3_600;

/// Why a token is not taken. Clients are not told; it is for the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No key of this name is known; newer keys may help.
    UnknownKey,
    Refused(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "its key is unknown",
            Self::Refused(reason) => reason,
        })
    }
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) nonce: &'a str,
    pub(crate) now_s: u64,
    /// How far the clocks may be apart.
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
    aud: Audience,
    azp: Option<String>,
    exp: f64,
    nbf: Option<f64>,
    iat: f64,
    nonce: Option<String>,
    #[serde(flatten)]
    about: About,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a provider says about somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) name: Option<String>,
    pub(crate) preferred_username: Option<String>,
    pub(crate) email: Option<String>,
    /// Some providers write it as a text.
    #[serde(default)]
    email_verified: Value,
}

impl About {
    /// Tells whether nothing is said.
    pub(crate) fn is_silent(&self) -> bool {
        self.name.is_none() && self.preferred_username.is_none() && self.email.is_none()
    }

    /// Returns the e-mail address that the provider vouches for.
    pub(crate) fn verified_email(&self) -> Option<&str> {
        let is_verified = self.email_verified == Value::Bool(true) || self.email_verified == "true";
        self.email.as_deref().filter(|_| is_verified)
    }
}

/// Who a provider says somebody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    pub(crate) about: About,
}

/// Checks a token: first who signed it, then what it says.
pub(crate) fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Claims, Fault> {
    if token.len() > MOST_BYTES {
        return Err(Fault::Refused("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Refused("it has not three parts"));
    };
    let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
    let header: Header = part(header).ok_or(Fault::Refused("its header can't be read"))?;
    let algorithm = Algorithm::parse(&header.alg).ok_or(Fault::Refused("its algorithm is not accepted"))?;
    if header.crit.is_some() {
        return Err(Fault::Refused("it demands an extension"));
    }
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| Fault::Refused("its signature can't be read"))?;
    keys.verify(algorithm, header.kid.as_deref(), signed, &signature)?;
    let payload: Payload = part(payload).ok_or(Fault::Refused("what it says can't be read"))?;
    payload.check(expected)?;
    Ok(Claims {
        subject: payload.sub,
        about: payload.about,
    })
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&json).ok()
}

impl Payload {
    fn check(&self, expected: &Expected<'_>) -> Result<(), Fault> {
        let refuse = |reason| Err(Fault::Refused(reason));
        if self.iss != expected.issuer {
            return refuse("it is of another issuer");
        }
        let (is_for_us, audiences) = match &self.aud {
            Audience::One(aud) => (aud == expected.client_id, 1),
            Audience::Many(list) => (list.iter().any(|aud| aud == expected.client_id), list.len()),
        };
        if !is_for_us {
            return refuse("it is for somebody else");
        }
        match &self.azp {
            Some(azp) if azp != expected.client_id => return refuse("it was given to somebody else"),
            None if audiences > 1 => return refuse("it is for several and does not say whom it was given to"),
            _ => {}
        }
        let at = |seconds: u64| {
            // Below 2^53 for some hundred million years.
            #[expect(clippy::cast_precision_loss, reason = "see above")]
            let seconds = seconds as f64;
            seconds
        };
        let (now, leeway) = (at(expected.now_s), at(expected.leeway_s));
        if self.exp <= now - leeway {
            return refuse("it has expired");
        }
        if self.nbf.is_some_and(|nbf| nbf > now + leeway) {
            return refuse("it is not good yet");
        }
        if self.iat > now + leeway || self.iat < now - at(OLDEST_S) - leeway {
            return refuse("it was not made just now");
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if !same(nonce.as_bytes(), expected.nonce.as_bytes()) {
            return refuse("it is for another sign-in");
        }
        if !(1..=255).contains(&self.sub.len()) || self.sub.chars().any(char::is_control) {
            return refuse("its subject has no good form");
        }
        Ok(())
    }
}
