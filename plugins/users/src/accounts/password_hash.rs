//! Passwords: Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use courtyard_plugin_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::secret::same;

/// What hashing costs. The default is what OWASP recommends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cost {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            iterations: 2,
            parallelism: 1,
        }
    }
}

impl Cost {
    pub(crate) fn check(self) -> Result<(), Error> {
        self.params().map(drop)
    }

    fn params(self) -> Result<Params, Error> {
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, Some(32));
        params.map_err(|error| Error::new("bad_configuration", format!("argon2: {error}")))
    }

    /// Hashes; nothing comes out if the cost can't be paid, and nothing is what no password matches.
    fn hash(self, password: &str, salt: &[u8]) -> Vec<u8> {
        let mut hash = vec![0; 32];
        let hashed = self.params().ok().and_then(|params| {
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon.hash_password_into(password.as_bytes(), salt, &mut hash).ok()
        });
        if hashed.is_some() { hash } else { Vec::new() }
    }
}

/// A password of a length that can be hashed.
pub(crate) struct Password<'a>(&'a str);

impl<'a> Password<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Error> {
        if (8..=256).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(Error::new("bad_password", "A password is 8 to 256 bytes."))
        }
    }

    pub(crate) fn hash(&self, salt: [u8; 16], cost: Cost) -> Hashed {
        Hashed {
            hash: cost.hash(self.0, &salt),
            salt: salt.to_vec(),
            cost,
        }
    }
}

/// What is kept of a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hashed {
    hash: Vec<u8>,
    salt: Vec<u8>,
    /// At the time; the operator may have changed it since.
    cost: Cost,
}

impl Hashed {
    pub(crate) fn is(&self, password: &str) -> bool {
        let hash = self.cost.hash(password, &self.salt);
        // Nothing is what a hash is that could not be made.
        !hash.is_empty() && same(&hash, &self.hash)
    }
}

/// Takes as long as checking a password.
pub(crate) fn waste_time(password: &str, cost: Cost) {
    std::hint::black_box(cost.hash(password, &[0; 16]));
}
