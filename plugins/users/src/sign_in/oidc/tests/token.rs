//! Rejected tokens and signatures, and keys that change.

use super::*;

/// Signs with HMAC (RFC 2104), as an attacker would who uses a public key as the secret.
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

#[test]
fn invalid_tokens_are_rejected_for_their_reason() {
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
        (|header, _| header["crit"] = json!(["exp"]), "it requires an extension"),
        (|header, _| header["kid"] = json!("r1"), "its key is unknown"),
        (|header, _| header["kid"] = json!("e2"), "its key is unknown"),
        (|header, _| header["alg"] = json!("RS256"), "its key is unknown"),
        (
            |_, claims| claims["iss"] = json!("https://login.example/"),
            "it comes from another issuer",
        ),
        (
            |_, claims| claims["iss"] = json!("https://evil.example"),
            "it comes from another issuer",
        ),
        (|_, claims| claims["aud"] = json!("other"), "it is for another client"),
        (|_, claims| claims["aud"] = json!([]), "it is for another client"),
        (
            |_, claims| claims["aud"] = json!(["chat", "other"]),
            "it has several audiences and no authorized party",
        ),
        (
            |_, claims| claims["azp"] = json!("other"),
            "it was issued to another client",
        ),
        (|_, claims| claims["exp"] = json!(NOW_S - 60), "it has expired"),
        (|_, claims| claims["nbf"] = json!(NOW_S + 61), "it isn't valid yet"),
        (
            |_, claims| claims["iat"] = json!(NOW_S + 61),
            "it wasn't issued recently",
        ),
        (
            |_, claims| claims["iat"] = json!(NOW_S - 3_661),
            "it wasn't issued recently",
        ),
        (
            |_, claims| claims["nonce"] = json!("other"),
            "it is for another sign-in",
        ),
        (|_, claims| claims["nonce"] = json!(null), "it is for another sign-in"),
        (|_, claims| claims["sub"] = json!(""), "its subject is malformed"),
        (|_, claims| claims["exp"] = json!("never"), "its claims can't be read"),
        (|_, claims| claims["exp"] = json!(null), "its claims can't be read"),
        (|_, claims| claims["sub"] = json!(42), "its claims can't be read"),
    ];
    for (change, reason) in cases {
        let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
        let (mut header, mut claims) = (es_header(), flow.claims());
        change(&mut header, &mut claims);
        let error = flow.finish_with(&host, &ec(7).token(&header, &claims)).unwrap_err();
        assert_eq!(error.code, "invalid_id_token", "{header} {claims}");
        let log = host.take_log();
        let line = &log.last().unwrap().1;
        assert!(
            line.ends_with(&format!("rejected: {reason}")),
            "{line} instead of {reason}"
        );
    }
    // Times within the leeway are accepted.
    let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
    let mut claims = flow.claims();
    claims["exp"] = json!(NOW_S - 59);
    claims["nbf"] = json!(NOW_S + 60);
    claims["azp"] = json!("chat");
    claims["aud"] = json!(["chat", "other"]);
    assert!(flow.finish_with(&host, &ec(7).token(&es_header(), &claims)).is_ok());
}

#[test]
fn forged_signatures_are_rejected() {
    let host = host();
    let rejected = |make: &dyn Fn(&Value) -> String| {
        let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
        let error = flow.finish_with(&host, &make(&flow.claims())).unwrap_err();
        assert_eq!(error.code, "invalid_id_token");
        host.take_log().pop().unwrap().1.rsplit_once(": ").unwrap().1.to_owned()
    };
    // By another key with the same id.
    assert_eq!(
        rejected(&|claims| ec(8).token(&es_header(), claims)),
        "the signature is wrong"
    );
    // Claims that were changed afterwards.
    let changed = |claims: &Value| {
        let token = ec(7).token(&es_header(), claims);
        let parts: Vec<&str> = token.split('.').collect();
        let mut claims = claims.clone();
        claims["sub"] = json!("admin");
        format!("{}.{}.{}", parts[0], encoded(claims.to_string()), parts[2])
    };
    assert_eq!(rejected(&changed), "the signature is wrong");
    // No signature at all.
    let none = |claims: &Value| format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(claims.to_string()));
    assert_eq!(rejected(&none), "its algorithm is not accepted");
    let empty = |claims: &Value| format!("{}.{}.", encoded(es_header().to_string()), encoded(claims.to_string()));
    assert_eq!(rejected(&empty), "the signature is wrong");
    // The public key as a secret.
    let header = json!({"alg": "HS256", "kid": "r1"});
    let n = URL_SAFE_NO_PAD.decode(text(&rsa_key().jwk("r1")["n"])).unwrap();
    assert_eq!(
        rejected(&|claims| hs256(&n, &header, claims)),
        "its algorithm is not accepted"
    );
    let header = json!({"alg": "RS256", "kid": "r1"});
    assert_eq!(rejected(&|claims| hs256(&n, &header, claims)), "the signature is wrong");
    // A token that brings its own key.
    let header = json!({"alg": "ES256", "jwk": ec(8).jwk("e1"), "kid": "e1"});
    assert_eq!(
        rejected(&|claims| ec(8).token(&header, claims)),
        "the signature is wrong"
    );
    for (broken, reason) in [
        ("x", "it doesn't have three parts"),
        ("a.b.c.d", "it doesn't have three parts"),
        ("!.b.c", "its header can't be read"),
        ("e30.b.c", "its header can't be read"),
    ] {
        assert_eq!(rejected(&|_| broken.to_owned()), reason);
    }
    assert_eq!(rejected(&|_| "x".repeat(16_385)), "it is too long");
    // Without a key id the key must be unambiguous.
    let nameless = |claims: &Value| ec(7).token(&json!({"alg": "ES256"}), claims);
    publish_keys(&host, &[ec(7).jwk("e1"), ec(8).jwk("e2")]);
    host.set_clock((NOW_S + 61) * 1_000);
    rejected(&|claims| ec(9).token(&json!({"alg": "ES256", "kid": "e9"}), claims));
    assert_eq!(rejected(&nameless), "it doesn't name its key");
    // A right signature by a key that is too short.
    publish_keys(&host, &[rsa_of(SHORT_PRIMES).jwk("short")]);
    host.set_clock((NOW_S + 122) * 1_000);
    let header = json!({"alg": "RS256", "kid": "short"});
    let by_short = |claims: &Value| rsa_of(SHORT_PRIMES).token(&header, claims);
    assert_eq!(rejected(&by_short), "the signature is wrong");
}

#[test]
fn changed_keys_are_fetched_again_at_a_limited_rate() {
    let host = host();
    sign_in(&host).unwrap();
    assert_eq!(fetched(&host, "/keys").len(), 1);
    publish_keys(&host, &[ec(9).jwk("e2")]);
    let with_new_key = || {
        let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
        flow.finish_with(
            &host,
            &ec(9).token(&json!({"alg": "ES256", "kid": "e2"}), &flow.claims()),
        )
    };
    assert_eq!(
        with_new_key().unwrap_err().code,
        "invalid_id_token",
        "the keys were fetched a moment ago"
    );
    assert!(fetched(&host, "/keys").is_empty());
    host.set_clock((NOW_S + 60) * 1_000);
    assert!(with_new_key().is_ok());
    assert_eq!(fetched(&host, "/keys").len(), 1);
    // A removed key is invalid, and unknown keys cause no further request.
    assert_eq!(sign_in(&host).unwrap_err().code, "invalid_id_token");
    assert!(fetched(&host, "/keys").is_empty());
    // Keys expire.
    host.set_clock((NOW_S + 60 + 3_600) * 1_000);
    let _ = with_new_key();
    assert_eq!(fetched(&host, "/keys").len(), 1);
}
