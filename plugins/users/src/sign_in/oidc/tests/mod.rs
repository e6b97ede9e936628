//! Tests against a provider whose tokens they sign themselves.

#![allow(clippy::unwrap_used, reason = "tests")]

mod flow;
mod token;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use courtyard_plugin_sdk::prelude::*;
use courtyard_plugin_sdk::testing::TestHost;
use courtyard_plugin_sdk::{Caller, FetchRequest};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::{SignatureEncoding, Signer};
use rsa::BoxedUint;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

use crate::Users;
use crate::secret::digest;

const ISSUER: &str = "https://login.example";
const NOW_S: u64 = 1_700_000_000;
const PRIMES: [&str; 2] = [
    "e71bd13d114f7306ed1949cdf1b1c6a943c377ca3ec208db487cf4a0b635cadf08dbd5981a29afcf3d5a0e8df0787162c692d24b1fd2fbf32104ed93d9ccf475858140dd1264eed83170a4213dac4a34942e92d8e2c0ca3507b4086f9bcc02239c4bc936fa05700ef7c73baedbfb7f40d11f5480fbb41d7476deae1ba2701d29",
    "c73cb292d121a00a8ddce809d8071f95929d83b2d2903704226f4e9d64615a9821d451df57bdbf0c76aaf17d35a669ae1c2b92b54593bf1657f9115a73e4f864c4e6719d7d4a4af580c1eec532410aee4acef0a6d85af71fe00c59864b4c4ccd1a442acb299d84ddd94a6b116e1b53d93a35caf670ec5855814e49ed0eba488b",
];

/// The primes of a key of 1,024 bits, which is too short.
const SHORT_PRIMES: [&str; 2] = [
    "d9c276362eb65fa6c7079470be25bda26e8acda32b0af2ec53e33a526907784886bf0a4fdb4417fa9d6bbb90bfdc266316ede84ea12a634db0ac4d43aee212bf",
    "c3195879a30cee5b59fd5c3569909a1a76b9c89fffcd64c30592a28d7502def3edacc7fbff65ca977c68c99e95d9da22a3fb1b88ff1b3d47f044c043c37f0ecd",
];

/// A signing key.
enum SigningPair {
    Ec(SigningKey),
    Rsa(Box<rsa::PrivateKey>),
}

fn ec(seed: u8) -> SigningPair {
    SigningPair::Ec(SigningKey::from_slice(&[seed; 32]).unwrap())
}

fn rsa_key() -> SigningPair {
    rsa_of(PRIMES)
}

fn rsa_of(primes: [&str; 2]) -> SigningPair {
    let number = |hex: &str| {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        BoxedUint::from_be_slice_vartime(&bytes)
    };
    let key = rsa::PrivateKey::from_p_q(number(primes[0]), number(primes[1]), BoxedUint::from(65_537_u64));
    SigningPair::Rsa(Box::new(key.unwrap()))
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningPair {
    fn sign(&self, text: &str) -> Vec<u8> {
        match self {
            Self::Ec(key) => {
                let signature: p256::ecdsa::Signature = key.sign(text.as_bytes());
                signature.to_bytes().to_vec()
            }
            Self::Rsa(key) => {
                let key = rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new((**key).clone());
                key.sign(text.as_bytes()).to_vec()
            }
        }
    }

    /// Returns the public key as a provider publishes it.
    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ec(key) => {
                let point = key.verifying_key().to_sec1_point(false);
                let bytes = point.as_bytes();
                let (x, y) = (encoded(&bytes[1..33]), encoded(&bytes[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256", "x": x, "y": y})
            }
            Self::Rsa(key) => {
                let n = encoded(key.n_bytes());
                json!({"kty": "RSA", "kid": kid, "n": n, "e": encoded(key.e_bytes())})
            }
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = encoded(self.sign(&signed));
        format!("{signed}.{signature}")
    }
}

fn anonymous() -> Caller {
    Caller::default()
}

fn settings(more: &Value) -> Value {
    let mut oidc = json!({
        "providers": [{"id": "example", "name": "Example", "issuer": ISSUER, "client_id": "chat", "client_secret": "example"}],
        "redirects": ["https://chat.example/", "https://chat.example/other"],
    });
    for (key, value) in more.as_object().unwrap() {
        oidc[key] = value.clone();
    }
    oidc
}

fn host_with(more: &Value) -> TestHost<Users> {
    let settings = json!({
        "argon2": {"memory_kib": 8, "iterations": 1, "parallelism": 1},
        "oidc": settings(more),
    });
    let host = TestHost::start(&settings.to_string()).unwrap();
    host.set_clock(NOW_S * 1_000);
    host.set_secret("example", "s3c:ret");
    let metadata = json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{ISSUER}/authorize"),
        "token_endpoint": format!("{ISSUER}/token"),
        "jwks_uri": format!("{ISSUER}/keys"),
    });
    respond(&host, "/.well-known/openid-configuration", &metadata);
    publish_keys(&host, &[ec(7).jwk("e1"), rsa_key().jwk("r1")]);
    host
}

fn host() -> TestHost<Users> {
    host_with(&json!({}))
}

fn respond(host: &TestHost<Users>, path: &str, value: &Value) {
    host.set_response(&format!("{ISSUER}{path}"), HttpResponse::json(200, value));
}

fn publish_keys(host: &TestHost<Users>, keys: &[Value]) {
    respond(host, "/keys", &json!({ "keys": keys }));
}

/// A started sign-in on the side of the client.
struct ClientFlow {
    state: String,
    ticket: String,
    url: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

impl ClientFlow {
    fn start(host: &TestHost<Users>, caller: &Caller, more: &Value) -> Self {
        let mut params = json!({"provider": "example"});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        let started = host.call(caller, "oidc_start", &params).unwrap();
        let mut flow = Self {
            state: text(&started["state"]),
            ticket: text(&started["ticket"]),
            url: String::new(),
        };
        if started["url"].is_null() {
            host.run_jobs().unwrap();
            let ready = flow.result(host).unwrap();
            assert_eq!(ready["stage"], "ready");
            flow.url = text(&ready["url"]);
        } else {
            flow.url = text(&started["url"]);
        }
        flow
    }

    /// Returns a parameter of the authorization URL.
    fn query(&self, name: &str) -> String {
        let (_, query) = self.url.split_once('?').unwrap();
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.unwrap().to_owned()
    }

    fn claims(&self) -> Value {
        json!({
            "iss": ISSUER, "sub": "42", "aud": "chat", "nonce": self.query("nonce"),
            "iat": NOW_S, "exp": NOW_S + 300, "name": "Ann A.", "preferred_username": "ann",
        })
    }

    fn finish(&self, host: &TestHost<Users>) -> Result<Value, Error> {
        let params = json!({"state": self.state, "ticket": self.ticket, "code": "c0de"});
        host.call(&anonymous(), "oidc_finish", &params)
    }

    fn result(&self, host: &TestHost<Users>) -> Result<Value, Error> {
        let params = json!({"state": self.state, "ticket": self.ticket});
        host.call(&anonymous(), "oidc_result", &params)
    }

    /// Returns with a code for which the provider issues this token.
    fn finish_with(&self, host: &TestHost<Users>, token: &str) -> Result<Value, Error> {
        respond(
            host,
            "/token",
            &json!({ "id_token": token, "access_token": "x", "token_type": "Bearer" }),
        );
        self.finish(host)?;
        host.run_jobs().unwrap();
        self.result(host)
    }
}

fn es_header() -> Value {
    json!({"alg": "ES256", "kid": "e1"})
}

/// Signs in with a valid token.
fn sign_in(host: &TestHost<Users>) -> Result<Value, Error> {
    let flow = ClientFlow::start(host, &anonymous(), &json!({}));
    flow.finish_with(host, &ec(7).token(&es_header(), &flow.claims()))
}

fn fetched(host: &TestHost<Users>, path: &str) -> Vec<FetchRequest> {
    let url = format!("{ISSUER}{path}");
    host.take_fetched()
        .into_iter()
        .filter(|request| request.url == url)
        .collect()
}
