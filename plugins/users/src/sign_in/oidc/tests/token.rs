//! Tokens and signatures that are refused, and keys that change.

use super::*;

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
