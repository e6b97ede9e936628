//! Whole sign-ins, from the start to the result.

use super::*;

#[test]
fn the_same_identity_signs_in_to_the_same_account() {
    let host = host();
    let listed = host.call(&anonymous(), "oidc_providers", &json!({})).unwrap();
    assert_eq!(listed["providers"], json!([{"id": "example", "name": "Example"}]));
    let flow = ClientFlow::start(&host, &anonymous(), &json!({"device": "Phone"}));
    assert!(
        flow.url
            .starts_with("https://login.example/authorize?response_type=code&client_id=chat&"),
        "{}",
        flow.url
    );
    assert_eq!(flow.query("redirect_uri"), "https%3A%2F%2Fchat.example%2F");
    assert_eq!(
        (flow.query("state"), flow.query("code_challenge_method")),
        (flow.state.clone(), "S256".to_owned())
    );
    assert!(!flow.url.contains(&flow.ticket), "the ticket goes through no URL");
    let _ = host.take_fetched();
    let result = flow
        .finish_with(&host, &ec(7).token(&es_header(), &flow.claims()))
        .unwrap();
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

    // The request to the token endpoint.
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
    assert_eq!(encoded(digest(verifier.as_bytes())), flow.query("code_challenge"));

    // The same identity, signed by a key of another type.
    let again = ClientFlow::start(&host, &anonymous(), &json!({"redirect": "https://chat.example/other"}));
    let mut claims = again.claims();
    claims["aud"] = json!(["chat"]);
    let result = again
        .finish_with(&host, &rsa_key().token(&json!({"alg": "RS256", "kid": "r1"}), &claims))
        .unwrap();
    assert_eq!(
        (&result["registered"], &result["session"]["actor"]),
        (&json!(false), &json!(actor))
    );
    assert!(fetched(&host, "/keys").is_empty(), "keys are cached");

    // Another identity with the same preferred name.
    let other = ClientFlow::start(&host, &anonymous(), &json!({}));
    let mut claims = other.claims();
    claims["sub"] = json!("43");
    let result = other.finish_with(&host, &ec(7).token(&es_header(), &claims)).unwrap();
    assert_ne!(result["session"]["actor"], json!(actor));
}

#[test]
fn only_the_client_that_started_a_sign_in_finishes_it_and_only_once() {
    let host = host();
    let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
    let other = ClientFlow::start(&host, &anonymous(), &json!({}));
    for (state, ticket) in [
        (flow.state.as_str(), other.ticket.as_str()),
        (&flow.state, ""),
        ("other", &flow.ticket),
        (&"x".repeat(5_000), &flow.ticket),
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
    let token = ec(7).token(&es_header(), &flow.claims());
    flow.finish_with(&host, &token).unwrap();
    assert_eq!(
        flow.finish(&host).unwrap_err().code,
        "unknown_state",
        "the state is used up"
    );
    assert_eq!(
        flow.result(&host).unwrap_err().code,
        "unknown_state",
        "the login is returned once"
    );
    // The token of one sign-in is invalid for another one.
    assert_eq!(other.finish_with(&host, &token).unwrap_err().code, "invalid_id_token");
    assert_eq!(other.finish(&host).unwrap_err().code, "conflict");

    // A sign-in expires.
    let late = ClientFlow::start(&host, &anonymous(), &json!({}));
    host.set_clock((NOW_S + 600) * 1_000);
    assert_eq!(late.finish(&host).unwrap_err().code, "unknown_state");
}

#[test]
fn redirects_are_configured_and_providers_are_not_mixed_up() {
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
            "invalid_redirect"
        );
    }
    let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
    let mut params = json!({"state": flow.state, "ticket": flow.ticket, "code": "c0de", "iss": "https://evil.example"});
    let finish = |params: &Value| host.call(&anonymous(), "oidc_finish", params);
    assert_eq!(finish(&params).unwrap_err().code, "invalid_issuer");
    params["iss"] = json!(ISSUER);
    assert!(finish(&params).is_ok());
}

#[test]
fn a_failing_provider_differs_from_a_rejected_token() {
    let host = host();
    let metadata_of = |issuer: &str, token_endpoint: &str| json!({"issuer": issuer, "authorization_endpoint": "https://login.example/a", "token_endpoint": token_endpoint, "jwks_uri": "https://login.example/k"});
    for metadata in [
        metadata_of("https://evil.example", "https://login.example/t"),
        metadata_of(ISSUER, "http://login.example/t"),
        json!({"issuer": ISSUER}),
    ] {
        respond(&host, "/.well-known/openid-configuration", &metadata);
        let started = host
            .call(&anonymous(), "oidc_start", &json!({"provider": "example"}))
            .unwrap();
        assert_eq!(started["url"], json!(null));
        host.run_jobs().unwrap();
        let params = json!({"state": started["state"], "ticket": started["ticket"]});
        assert_eq!(
            host.call(&anonymous(), "oidc_result", &params).unwrap_err().code,
            "unavailable"
        );
    }
    let host = self::host();
    let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
    host.set_response(
        &format!("{ISSUER}/token"),
        HttpResponse::json(400, &json!({"error": "invalid_grant"})),
    );
    flow.finish(&host).unwrap();
    assert_eq!(flow.result(&host).unwrap()["stage"], "exchanging");
    host.run_jobs().unwrap();
    assert_eq!(flow.result(&host).unwrap_err().code, "unavailable");
    let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
    respond(&host, "/token", &json!({"access_token": "x"}));
    flow.finish(&host).unwrap();
    host.run_jobs().unwrap();
    assert_eq!(flow.result(&host).unwrap_err().code, "unavailable");
}

#[test]
fn an_identity_is_linked_and_unlinked() {
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
        let flow = ClientFlow::start(&host, caller, &json!({"link": true}));
        flow.finish_with(&host, &ec(7).token(&es_header(), &flow.claims()))
    };
    let linked = link(&bob).unwrap();
    assert_eq!((&linked["stage"], &linked["session"]), (&json!("linked"), &json!(null)));
    assert_eq!(link(&cleo).unwrap_err().code, "conflict_identity");
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
fn an_address_signs_in_only_if_it_is_verified_and_the_provider_is_trusted() {
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
        let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
        let mut claims = flow.claims();
        claims["email"] = json!("Ann@Example.com");
        claims["email_verified"] = verified.clone();
        let result = flow.finish_with(&host, &ec(7).token(&es_header(), &claims)).unwrap();
        assert_eq!(result["session"]["actor"] == ann, same, "{trust} {verified}");
        // A public client sends its id, and no secret.
        let asked = fetched(&host, "/token").remove(0);
        assert!(asked.headers.iter().all(|(name, _)| name != "authorization"));
        assert!(String::from_utf8(asked.body).unwrap().contains("client_id=chat"));
    }
}

#[test]
fn missing_claims_are_fetched() {
    let host = host();
    let metadata = json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{ISSUER}/authorize"),
        "token_endpoint": format!("{ISSUER}/token"),
        "jwks_uri": format!("{ISSUER}/keys"),
        "userinfo_endpoint": format!("{ISSUER}/me"),
    });
    respond(&host, "/.well-known/openid-configuration", &metadata);
    let named = |said: Value, sub: &str| {
        respond(&host, "/me", &said);
        let flow = ClientFlow::start(&host, &anonymous(), &json!({}));
        let mut claims = flow.claims();
        claims.as_object_mut().unwrap().retain(|name, _| !name.contains("name"));
        claims["sub"] = json!(sub);
        let result = flow.finish_with(&host, &ec(7).token(&es_header(), &claims)).unwrap();
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
    assert!(other.starts_with("user-"), "the claims have another subject: {other}");
}

#[test]
fn unknown_identities_are_rejected_without_registration() {
    let host = host_with(&json!({"register": false}));
    assert_eq!(sign_in(&host).unwrap_err().code, "unknown_account");
}

#[test]
fn invalid_provider_settings_are_rejected() {
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
        assert_eq!(refused.code, "invalid_configuration", "{oidc}");
    }
}
