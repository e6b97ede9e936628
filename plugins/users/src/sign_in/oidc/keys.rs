//! The keys that a provider signs with (JWKS, RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier;
use rsa::BoxedUint;
use serde::Deserialize;
use serde_json::Value;

use super::id_token::TokenFault;

/// The accepted signature algorithms. Nothing in a token can widen this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Es256,
}

impl Algorithm {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// The used part of a key.
#[derive(Clone, Debug, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    /// Parses a set of keys, and skips keys that don't parse. Returns `None` if there is no list of keys.
    pub(crate) fn parse(set: &Value) -> Option<Self> {
        let keys = set["keys"].as_array()?;
        let parsed = keys.iter().filter_map(|key| Key::deserialize(key).ok());
        Some(Self(parsed.collect()))
    }

    /// Verifies a signature with the key `kid`, which must fit the algorithm.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`] if no such key is cached; the provider may have a new one.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenFault> {
        let fitting: Vec<&Key> = self.0.iter().filter(|key| key.fits(algorithm)).collect();
        let key = match kid {
            Some(_) => fitting.into_iter().find(|key| key.kid.as_deref() == kid),
            // Without `kid` the key must be unambiguous.
            None if fitting.len() > 1 => return Err(TokenFault::Invalid("it doesn't name its key")),
            None => fitting.into_iter().next(),
        };
        let key = key.ok_or(TokenFault::UnknownKey)?;
        if key.verify(algorithm, signed, signature) == Some(true) {
            Ok(())
        } else {
            Err(TokenFault::Invalid("the signature is wrong"))
        }
    }
}

impl Key {
    /// True if the key is for signatures with this algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let has_type = match algorithm {
            Algorithm::Rs256 => self.kty == "RSA",
            Algorithm::Es256 => self.kty == "EC" && self.crv.as_deref() == Some("P-256"),
        };
        let has_algorithm = self.alg.as_deref().is_none_or(|name| name == algorithm.name());
        has_type && has_algorithm && self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Option<bool> {
        match algorithm {
            Algorithm::Rs256 => {
                let (n, e) = (bytes(self.n.as_ref()?)?, bytes(self.e.as_ref()?)?);
                let (n, e) = (
                    BoxedUint::from_be_slice_vartime(&n),
                    BoxedUint::from_be_slice_vartime(&e),
                );
                // Shorter keys are too weak, longer ones too slow.
                let key = rsa::PublicKey::new_with_size_limits(n, e, 2_048..=4_096).ok()?;
                let key = rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key);
                let signature = rsa::pkcs1v15::Signature::try_from(signature).ok()?;
                Some(key.verify(signed, &signature).is_ok())
            }
            Algorithm::Es256 => {
                let (x, y) = (bytes(self.x.as_ref()?)?, bytes(self.y.as_ref()?)?);
                if (x.len(), y.len()) != (32, 32) {
                    return None;
                }
                let point = [&[4], &*x, &*y].concat();
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).ok()?;
                let signature = p256::ecdsa::Signature::from_slice(signature).ok()?;
                Some(key.verify(signed, &signature).is_ok())
            }
        }
    }
}

fn bytes(text: &String) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
