//! Password hashes: Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::secret::constant_time_eq;

/// The parameters of Argon2id. The default is the recommendation of OWASP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HashCost {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            iterations: 2,
            parallelism: 1,
        }
    }
}

impl HashCost {
    pub(crate) fn check(self) -> Result<(), Error> {
        self.params().map(drop)
    }

    fn params(self) -> Result<Params, Error> {
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, Some(32));
        params.map_err(|error| Error::new(error::INVALID_CONFIGURATION, format!("argon2: {error}")))
    }

    /// Hashes a password. Returns an empty hash if hashing fails; an empty hash matches no password.
    fn hash(self, password: &str, salt: &[u8]) -> Vec<u8> {
        let mut hash = vec![0; 32];
        let hashed = self.params().ok().and_then(|params| {
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.hash_password_into(password.as_bytes(), salt, &mut hash).ok()
        });
        if hashed.is_some() { hash } else { Vec::new() }
    }
}

/// A password of a valid length.
pub(crate) struct Password<'a>(&'a str);

impl<'a> Password<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Error> {
        if (8..=256).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(Error::new(error::INVALID_PASSWORD, "A password has 8 to 256 bytes."))
        }
    }

    pub(crate) fn hash(&self, salt: [u8; 16], cost: HashCost) -> PasswordHash {
        PasswordHash {
            hash: cost.hash(self.0, &salt),
            salt: salt.to_vec(),
            cost,
        }
    }
}

/// The stored hash of a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasswordHash {
    hash: Vec<u8>,
    salt: Vec<u8>,
    /// The cost when it was hashed; the configuration may differ by now.
    cost: HashCost,
}

impl PasswordHash {
    /// True if this is the password.
    pub(crate) fn matches(&self, password: &str) -> bool {
        let hash = self.cost.hash(password, &self.salt);
        // Hashing failed if the hash is empty.
        !hash.is_empty() && constant_time_eq(&hash, &self.hash)
    }
}

/// Takes as long as checking a password, so that response times don't reveal which accounts exist.
pub(crate) fn spend_hash_time(password: &str, cost: HashCost) {
    std::hint::black_box(cost.hash(password, &[0; 16]));
}
