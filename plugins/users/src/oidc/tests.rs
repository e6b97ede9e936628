#![allow(clippy::unwrap_used, reason = "tests")]

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

/// Of a key of 1,024 bits, which can be broken.
const SHORT_PRIMES: [&str; 2] = [
    "d9c276362eb65fa6c7079470be25bda26e8acda32b0af2ec53e33a526907784886bf0a4fdb4417fa9d6bbb90bfdc266316ede84ea12a634db0ac4d43aee212bf",
    "c3195879a30cee5b59fd5c3569909a1a76b9c89fffcd64c30592a28d7502def3edacc7fbff65ca977c68c99e95d9da22a3fb1b88ff1b3d47f044c043c37f0ecd",
];

/// A key that signs.
enum Signs {
    Ec(SigningKey),
    Rsa(Box<rsa::PrivateKey>),
}

fn ec(seed: u8) -> Signs {
    Signs::Ec(SigningKey::from_slice(&[seed; 32]).unwrap())
}

fn rsa_key() -> Signs {
    rsa_of(PRIMES)
}

fn rsa_of(primes: [&str; 2]) -> Signs {
    let number = |hex: &str| {
        let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        BoxedUint::from_be_slice_vartime(&bytes)
    };
    let key = rsa::PrivateKey::from_p_q(number(primes[0]), number(primes[1]), BoxedUint::from(65_537_u64));
    Signs::Rsa(Box::new(key.unwrap()))
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signs {
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

    /// The public key as a provider shows it.
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

/// Signs with a secret, as a token would be that takes a public key for one (RFC 2104).
fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    let mut block = [0; 64];
    let secret = if secret.len() > 64 {
        digest(secret).to_vec()
    } else {
        secret.to_vec()
    };
    block[..secret.len()].copy_from_slice(&secret);
    let inner = digest(&[&block.map(|byte| byte ^ 0x36)[..], signed.as_bytes()].concat());
    let outer = digest(&[&block.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat());
    format!("{signed}.{}", encoded(outer))
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
    answer(&host, "/.well-known/openid-configuration", &metadata);
    show_keys(&host, &[ec(7).jwk("e1"), rsa_key().jwk("r1")]);
    host
}

fn host() -> TestHost<Users> {
    host_with(&json!({}))
}

fn answer(host: &TestHost<Users>, path: &str, value: &Value) {
    host.set_response(&format!("{ISSUER}{path}"), HttpResponse::json(200, value));
}

fn show_keys(host: &TestHost<Users>, keys: &[Value]) {
    answer(host, "/keys", &json!({ "keys": keys }));
}

/// A sign-in on its way, as the client sees it.
struct Sign {
    state: String,
    ticket: String,
    url: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

impl Sign {
    fn start(host: &TestHost<Users>, caller: &Caller, more: &Value) -> Self {
        let mut params = json!({"provider": "example"});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        let started = host.call(caller, "oidc_start", &params).unwrap();
        let mut sign = Self {
            state: text(&started["state"]),
            ticket: text(&started["ticket"]),
            url: String::new(),
        };
        if started["url"].is_null() {
            host.run_jobs().unwrap();
            let ready = sign.result(host).unwrap();
            assert_eq!(ready["stage"], "ready");
            sign.url = text(&ready["url"]);
        } else {
            sign.url = text(&started["url"]);
        }
        sign
    }

    /// What is in the address that somebody is sent to.
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

    /// Comes back with a code that the provider changes for this token.
    fn with(&self, host: &TestHost<Users>, token: &str) -> Result<Value, Error> {
        answer(
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

/// Signs somebody in with a good token.
fn sign_in(host: &TestHost<Users>) -> Result<Value, Error> {
    let sign = Sign::start(host, &anonymous(), &json!({}));
    sign.with(host, &ec(7).token(&es_header(), &sign.claims()))
}

fn fetched(host: &TestHost<Users>, path: &str) -> Vec<FetchRequest> {
    let url = format!("{ISSUER}{path}");
    host.take_fetched()
        .into_iter()
        .filter(|request| request.url == url)
        .collect()
}

#[test]
fn a_provider_vouches_for_somebody_who_is_the_same_the_next_time() {
    let host = host();
    let listed = host.call(&anonymous(), "oidc_providers", &json!({})).unwrap();
    assert_eq!(listed["providers"], json!([{"id": "example", "name": "Example"}]));
    let sign = Sign::start(&host, &anonymous(), &json!({"device": "Phone"}));
    assert!(
        sign.url
            .starts_with("https://login.example/authorize?response_type=code&client_id=chat&"),
        "{}",
        sign.url
    );
    assert_eq!(sign.query("redirect_uri"), "https%3A%2F%2Fchat.example%2F");
    assert_eq!(
        (sign.query("state"), sign.query("code_challenge_method")),
        (sign.state.clone(), "S256".to_owned())
    );
    assert!(!sign.url.contains(&sign.ticket), "the ticket goes through no URL");
    let _ = host.take_fetched();
    let result = sign.with(&host, &ec(7).token(&es_header(), &sign.claims())).unwrap();
    assert_eq!(
        (&result["stage"], &result["registered"]),
        (&json!("signed_in"), &json!(true))
    );
    let token = text(&result["session"]["token"]);
    let actor = host.authenticate(&token).unwrap().unwrap().actor;
    let people = host
        .call(&anonymous(), "profiles", &json!({"actors": [actor]}))
        .unwrap();
    assert_eq!(
        (&people["people"][0]["name"], &people["people"][0]["display_name"]),
        (&json!("ann"), &json!("Ann A."))
    );

    // What the provider was asked.
    let asked = fetched(&host, "/token").remove(0);
    let header = |name: &str| {
        asked
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(
        header("authorization").unwrap(),
        b"Basic Y2hhdDpzM2MlM0FyZXQ=",
        "chat:s3c%3Aret"
    );
    let body = String::from_utf8(asked.body.clone()).unwrap();
    assert!(
        body.contains("grant_type=authorization_code&code=c0de&") && !asked.follow,
        "{body}"
    );
    let verifier = body.rsplit_once("code_verifier=").unwrap().1;
    assert_eq!(encoded(digest(verifier.as_bytes())), sign.query("code_challenge"));

    // The same person, by a key of another kind.
    let again = Sign::start(&host, &anonymous(), &json!({"redirect": "https://chat.example/other"}));
    let mut claims = again.claims();
    claims["aud"] = json!(["chat"]);
    let result = again
        .with(&host, &rsa_key().token(&json!({"alg": "RS256", "kid": "r1"}), &claims))
        .unwrap();
    assert_eq!(
        (&result["registered"], &result["session"]["actor"]),
        (&json!(false), &json!(actor))
    );
    assert!(fetched(&host, "/keys").is_empty(), "keys are kept");

    // Another person who wants the same name.
    let other = Sign::start(&host, &anonymous(), &json!({}));
    let mut claims = other.claims();
    claims["sub"] = json!("43");
    let result = other.with(&host, &ec(7).token(&es_header(), &claims)).unwrap();
    assert_ne!(result["session"]["actor"], json!(actor));
}

#[test]
fn tokens_that_are_not_what_they_should_be_are_refused_each_for_its_reason() {
    type Change = fn(&mut Value, &mut Value);
    let host = host();
    let cases: &[(Change, &str)] = &[
        (
            |header, _| header["alg"] = json!("none"),
            "its algorithm is not accepted",
        ),
        (
            |header, _| header["alg"] = json!("ES384"),
            "its algorithm is not accepted",
        ),
        (
            |header, _| header["alg"] = json!("es256"),
            "its algorithm is not accepted",
        ),
        (|header, _| header["crit"] = json!(["exp"]), "it demands an extension"),
        (|header, _| header["kid"] = json!("r1"), "its key is unknown"),
        (|header, _| header["kid"] = json!("e2"), "its key is unknown"),
        (|header, _| header["alg"] = json!("RS256"), "its key is unknown"),
        (
            |_, claims| claims["iss"] = json!("https://login.example/"),
            "it is of another issuer",
        ),
        (
            |_, claims| claims["iss"] = json!("https://evil.example"),
            "it is of another issuer",
        ),
        (|_, claims| claims["aud"] = json!("other"), "it is for somebody else"),
        (|_, claims| claims["aud"] = json!([]), "it is for somebody else"),
        (
            |_, claims| claims["aud"] = json!(["chat", "other"]),
            "it is for several and does not say whom it was given to",
        ),
        (
            |_, claims| claims["azp"] = json!("other"),
            "it was given to somebody else",
        ),
        (|_, claims| claims["exp"] = json!(NOW_S - 60), "it has expired"),
        (|_, claims| claims["nbf"] = json!(NOW_S + 61), "it is not good yet"),
        (
            |_, claims| claims["iat"] = json!(NOW_S + 61),
            "it was not made just now",
        ),
        (
            |_, claims| claims["iat"] = json!(NOW_S - 3_661),
            "it was not made just now",
        ),
        (
            |_, claims| claims["nonce"] = json!("other"),
            "it is for another sign-in",
        ),
        (|_, claims| claims["nonce"] = json!(null), "it is for another sign-in"),
        (|_, claims| claims["sub"] = json!(""), "its subject has no good form"),
        (|_, claims| claims["exp"] = json!("never"), "what it says can't be read"),
        (|_, claims| claims["exp"] = json!(null), "what it says can't be read"),
        (|_, claims| claims["sub"] = json!(42), "what it says can't be read"),
    ];
    for (change, reason) in cases {
        let sign = Sign::start(&host, &anonymous(), &json!({}));
        let (mut header, mut claims) = (es_header(), sign.claims());
        change(&mut header, &mut claims);
        let refused = sign.with(&host, &ec(7).token(&header, &claims)).unwrap_err();
        assert_eq!(refused.code, "token_refused", "{header} {claims}");
        let log = host.take_log();
        let line = &log.last().unwrap().1;
        assert!(
            line.ends_with(&format!("refused: {reason}")),
            "{line} instead of {reason}"
        );
    }
    // What lies within the leeway is taken.
    let sign = Sign::start(&host, &anonymous(), &json!({}));
    let mut claims = sign.claims();
    claims["exp"] = json!(NOW_S - 59);
    claims["nbf"] = json!(NOW_S + 60);
    claims["azp"] = json!("chat");
    claims["aud"] = json!(["chat", "other"]);
    assert!(sign.with(&host, &ec(7).token(&es_header(), &claims)).is_ok());
}

#[test]
fn signatures_that_were_made_otherwise_are_refused() {
    let host = host();
    let refused = |make: &dyn Fn(&Value) -> String| {
        let sign = Sign::start(&host, &anonymous(), &json!({}));
        let refused = sign.with(&host, &make(&sign.claims())).unwrap_err();
        assert_eq!(refused.code, "token_refused");
        host.take_log().pop().unwrap().1.rsplit_once(": ").unwrap().1.to_owned()
    };
    // By another key of the same name.
    assert_eq!(
        refused(&|claims| ec(8).token(&es_header(), claims)),
        "the signature is wrong"
    );
    // What it says was changed afterwards.
    let changed = |claims: &Value| {
        let token = ec(7).token(&es_header(), claims);
        let parts: Vec<&str> = token.split('.').collect();
        let mut claims = claims.clone();
        claims["sub"] = json!("admin");
        format!("{}.{}.{}", parts[0], encoded(claims.to_string()), parts[2])
    };
    assert_eq!(refused(&changed), "the signature is wrong");
    // No signature at all.
    let none = |claims: &Value| format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(claims.to_string()));
    assert_eq!(refused(&none), "its algorithm is not accepted");
    let empty = |claims: &Value| format!("{}.{}.", encoded(es_header().to_string()), encoded(claims.to_string()));
    assert_eq!(refused(&empty), "the signature is wrong");
    // The public key taken for a secret.
    let header = json!({"alg": "HS256", "kid": "r1"});
    let n = URL_SAFE_NO_PAD.decode(text(&rsa_key().jwk("r1")["n"])).unwrap();
    assert_eq!(
        refused(&|claims| hs256(&n, &header, claims)),
        "its algorithm is not accepted"
    );
    let header = json!({"alg": "RS256", "kid": "r1"});
    assert_eq!(refused(&|claims| hs256(&n, &header, claims)), "the signature is wrong");
    // A token that brings its own key.
    let header = json!({"alg": "ES256", "jwk": ec(8).jwk("e1"), "kid": "e1"});
    assert_eq!(
        refused(&|claims| ec(8).token(&header, claims)),
        "the signature is wrong"
    );
    for (broken, reason) in [
        ("x", "it has not three parts"),
        ("a.b.c.d", "it has not three parts"),
        ("!.b.c", "its header can't be read"),
        ("e30.b.c", "its header can't be read"),
    ] {
        assert_eq!(refused(&|_| broken.to_owned()), reason);
    }
    assert_eq!(refused(&|_| "x".repeat(16_385)), "it is too long");
    // Without a name there must be no choice.
    let nameless = |claims: &Value| ec(7).token(&json!({"alg": "ES256"}), claims);
    show_keys(&host, &[ec(7).jwk("e1"), ec(8).jwk("e2")]);
    host.set_clock((NOW_S + 61) * 1_000);
    refused(&|claims| ec(9).token(&json!({"alg": "ES256", "kid": "e9"}), claims));
    assert_eq!(refused(&nameless), "it does not say which key signed it");
    // The signature is right, but the key is too short.
    show_keys(&host, &[rsa_of(SHORT_PRIMES).jwk("short")]);
    host.set_clock((NOW_S + 122) * 1_000);
    let header = json!({"alg": "RS256", "kid": "short"});
    let by_short = |claims: &Value| rsa_of(SHORT_PRIMES).token(&header, claims);
    assert_eq!(refused(&by_short), "the signature is wrong");
}

#[test]
fn a_sign_in_is_finished_once_and_by_the_client_that_began_it() {
    let host = host();
    let sign = Sign::start(&host, &anonymous(), &json!({}));
    let other = Sign::start(&host, &anonymous(), &json!({}));
    for (state, ticket) in [
        (sign.state.as_str(), other.ticket.as_str()),
        (&sign.state, ""),
        ("other", &sign.ticket),
        (&"x".repeat(5_000), &sign.ticket),
    ] {
        let params = json!({"state": state, "ticket": ticket, "code": "c0de"});
        assert_eq!(
            host.call(&anonymous(), "oidc_finish", &params).unwrap_err().code,
            "unknown_state"
        );
        let params = json!({"state": state, "ticket": ticket});
        assert_eq!(
            host.call(&anonymous(), "oidc_result", &params).unwrap_err().code,
            "unknown_state"
        );
    }
    let token = ec(7).token(&es_header(), &sign.claims());
    sign.with(&host, &token).unwrap();
    assert_eq!(
        sign.finish(&host).unwrap_err().code,
        "unknown_state",
        "the state is used up"
    );
    assert_eq!(
        sign.result(&host).unwrap_err().code,
        "unknown_state",
        "there is one login"
    );
    // The token of one sign-in is good for no other one.
    assert_eq!(other.with(&host, &token).unwrap_err().code, "token_refused");
    assert_eq!(other.finish(&host).unwrap_err().code, "state_used");

    // It has a time.
    let late = Sign::start(&host, &anonymous(), &json!({}));
    host.set_clock((NOW_S + 600) * 1_000);
    assert_eq!(late.finish(&host).unwrap_err().code, "unknown_state");
}

#[test]
fn nobody_is_sent_elsewhere_and_no_other_provider_is_mixed_in() {
    let host = host();
    let start = |params: Value| host.call(&anonymous(), "oidc_start", &params).unwrap_err().code;
    assert_eq!(start(json!({"provider": "other"})), "unknown_provider");
    for redirect in [
        "https://evil.example/",
        "https://chat.example",
        "https://chat.example/?x",
        "",
    ] {
        assert_eq!(
            start(json!({"provider": "example", "redirect": redirect})),
            "bad_redirect"
        );
    }
    let sign = Sign::start(&host, &anonymous(), &json!({}));
    let mut params = json!({"state": sign.state, "ticket": sign.ticket, "code": "c0de", "iss": "https://evil.example"});
    let finish = |params: &Value| host.call(&anonymous(), "oidc_finish", params);
    assert_eq!(finish(&params).unwrap_err().code, "wrong_issuer");
    params["iss"] = json!(ISSUER);
    assert!(finish(&params).is_ok());
}

#[test]
fn keys_that_change_are_fetched_again_but_not_all_the_time() {
    let host = host();
    sign_in(&host).unwrap();
    assert_eq!(fetched(&host, "/keys").len(), 1);
    show_keys(&host, &[ec(9).jwk("e2")]);
    let with_new_key = || {
        let sign = Sign::start(&host, &anonymous(), &json!({}));
        sign.with(
            &host,
            &ec(9).token(&json!({"alg": "ES256", "kid": "e2"}), &sign.claims()),
        )
    };
    assert_eq!(
        with_new_key().unwrap_err().code,
        "token_refused",
        "it was asked a moment ago"
    );
    assert!(fetched(&host, "/keys").is_empty());
    host.set_clock((NOW_S + 60) * 1_000);
    assert!(with_new_key().is_ok());
    assert_eq!(fetched(&host, "/keys").len(), 1);
    // The key that is gone is good for nothing any more, and unknown ones don't make this host ask.
    assert_eq!(sign_in(&host).unwrap_err().code, "token_refused");
    assert!(fetched(&host, "/keys").is_empty());
    // They end with their time as well.
    host.set_clock((NOW_S + 60 + 3_600) * 1_000);
    let _ = with_new_key();
    assert_eq!(fetched(&host, "/keys").len(), 1);
}

#[test]
fn a_provider_that_fails_is_told_from_a_token_that_is_refused() {
    let host = host();
    let metadata_of = |issuer: &str, token_endpoint: &str| json!({"issuer": issuer, "authorization_endpoint": "https://login.example/a", "token_endpoint": token_endpoint, "jwks_uri": "https://login.example/k"});
    for metadata in [
        metadata_of("https://evil.example", "https://login.example/t"),
        metadata_of(ISSUER, "http://login.example/t"),
        json!({"issuer": ISSUER}),
    ] {
        answer(&host, "/.well-known/openid-configuration", &metadata);
        let started = host
            .call(&anonymous(), "oidc_start", &json!({"provider": "example"}))
            .unwrap();
        assert_eq!(started["url"], json!(null));
        host.run_jobs().unwrap();
        let params = json!({"state": started["state"], "ticket": started["ticket"]});
        assert_eq!(
            host.call(&anonymous(), "oidc_result", &params).unwrap_err().code,
            "provider_failed"
        );
    }
    let host = self::host();
    let sign = Sign::start(&host, &anonymous(), &json!({}));
    host.set_response(
        &format!("{ISSUER}/token"),
        HttpResponse::json(400, &json!({"error": "invalid_grant"})),
    );
    sign.finish(&host).unwrap();
    assert_eq!(sign.result(&host).unwrap()["stage"], "exchanging");
    host.run_jobs().unwrap();
    assert_eq!(sign.result(&host).unwrap_err().code, "provider_failed");
    let sign = Sign::start(&host, &anonymous(), &json!({}));
    answer(&host, "/token", &json!({"access_token": "x"}));
    sign.finish(&host).unwrap();
    host.run_jobs().unwrap();
    assert_eq!(sign.result(&host).unwrap_err().code, "provider_failed");
}

#[test]
fn an_account_is_linked_and_unlinked() {
    let host = host();
    let register = |name: &str| {
        let params = json!({"name": name, "password": "correct horse"});
        let session = host.call(&anonymous(), "register", &params).unwrap();
        let identity = host.authenticate(session["token"].as_str().unwrap()).unwrap().unwrap();
        Caller {
            actor: identity.actor,
            credential: identity.credential,
            ..anonymous()
        }
    };
    let (bob, cleo) = (register("bob"), register("cleo"));
    let refused = host.call(
        &anonymous(),
        "oidc_start",
        &json!({"provider": "example", "link": true}),
    );
    assert_eq!(refused.unwrap_err().code, "unauthenticated");
    let link = |caller: &Caller| {
        let sign = Sign::start(&host, caller, &json!({"link": true}));
        sign.with(&host, &ec(7).token(&es_header(), &sign.claims()))
    };
    let linked = link(&bob).unwrap();
    assert_eq!((&linked["stage"], &linked["session"]), (&json!("linked"), &json!(null)));
    assert_eq!(link(&cleo).unwrap_err().code, "identity_taken");
    assert_eq!(sign_in(&host).unwrap()["session"]["actor"], json!(bob.actor));
    let listed = host.call(&bob, "identities", &json!({})).unwrap();
    assert_eq!(listed["identities"][0]["subject"], "42");
    let which = json!({"provider": "example", "subject": "42"});
    assert_eq!(
        host.call(&cleo, "remove_identity", &which).unwrap_err().code,
        "unknown_identity"
    );
    host.call(&bob, "remove_identity", &which).unwrap();
    assert_ne!(sign_in(&host).unwrap()["session"]["actor"], json!(bob.actor));
}

#[test]
fn an_address_counts_only_if_the_provider_vouches_for_it_and_is_trusted() {
    for (trust, verified, same) in [
        (true, json!(true), true),
        (true, json!(false), false),
        (true, json!(null), false),
        (false, json!(true), false),
    ] {
        let provider =
            json!([{"id": "example", "name": "Example", "issuer": ISSUER, "client_id": "chat", "trust_email": trust}]);
        let host = host_with(&json!({ "providers": provider }));
        host.call(&anonymous(), "request_code", &json!({"address": "ann@example.com"}))
            .unwrap();
        let code = host
            .take_log()
            .pop()
            .unwrap()
            .1
            .split_whitespace()
            .last()
            .unwrap()
            .to_owned();
        let params = json!({"address": "ann@example.com", "code": code});
        let ann = host.call(&anonymous(), "sign_in", &params).unwrap()["session"]["actor"].clone();
        let sign = Sign::start(&host, &anonymous(), &json!({}));
        let mut claims = sign.claims();
        claims["email"] = json!("Ann@Example.com");
        claims["email_verified"] = verified.clone();
        let result = sign.with(&host, &ec(7).token(&es_header(), &claims)).unwrap();
        assert_eq!(result["session"]["actor"] == ann, same, "{trust} {verified}");
        // A public client says who it is, and has no secret.
        let asked = fetched(&host, "/token").remove(0);
        assert!(asked.headers.iter().all(|(name, _)| name != "authorization"));
        assert!(String::from_utf8(asked.body).unwrap().contains("client_id=chat"));
    }
}

#[test]
fn what_a_token_does_not_say_is_asked_for() {
    let host = host();
    let metadata = json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{ISSUER}/authorize"),
        "token_endpoint": format!("{ISSUER}/token"),
        "jwks_uri": format!("{ISSUER}/keys"),
        "userinfo_endpoint": format!("{ISSUER}/me"),
    });
    answer(&host, "/.well-known/openid-configuration", &metadata);
    let named = |said: Value, sub: &str| {
        answer(&host, "/me", &said);
        let sign = Sign::start(&host, &anonymous(), &json!({}));
        let mut claims = sign.claims();
        claims.as_object_mut().unwrap().retain(|name, _| !name.contains("name"));
        claims["sub"] = json!(sub);
        let result = sign.with(&host, &ec(7).token(&es_header(), &claims)).unwrap();
        let actors = json!({"actors": [result["session"]["actor"]]});
        text(&host.call(&anonymous(), "profiles", &actors).unwrap()["people"][0]["display_name"])
    };
    assert_eq!(named(json!({"sub": "1", "name": "Ann A."}), "1"), "Ann A.");
    let asked = fetched(&host, "/me").remove(0);
    assert!(
        asked
            .headers
            .contains(&("authorization".to_owned(), b"Bearer x".to_vec()))
    );
    let other = named(json!({"sub": "1", "name": "Ann A."}), "2");
    assert!(other.starts_with("user-"), "it is about somebody else: {other}");
}

#[test]
fn strangers_stay_out_where_nobody_registers() {
    let host = host_with(&json!({"register": false}));
    assert_eq!(sign_in(&host).unwrap_err().code, "not_registered");
}

#[test]
fn settings_of_providers_that_make_no_sense_are_refused() {
    let provider = |more: Value| {
        let mut provider = json!({"id": "example", "name": "Example", "issuer": ISSUER, "client_id": "chat"});
        for (key, value) in more.as_object().unwrap() {
            provider[key] = value.clone();
        }
        provider
    };
    for oidc in [
        settings(&json!({"redirects": []})),
        settings(&json!({"leeway_s": 601})),
        settings(&json!({"providers": [provider(json!({})), provider(json!({"id": "twice"}))]})),
        settings(&json!({"providers": [provider(json!({"id": "A"}))]})),
        settings(&json!({"providers": [provider(json!({"issuer": "login.example"}))]})),
        settings(&json!({"providers": [provider(json!({"scopes": ["email"]}))]})),
        settings(&json!({"providers": [provider(json!({"secret": "x"}))]})),
    ] {
        let refused = TestHost::<Users>::start(&json!({ "oidc": oidc }).to_string()).unwrap_err();
        assert_eq!(refused.code, "bad_configuration", "{oidc}");
    }
}
