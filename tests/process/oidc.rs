//! Sign-in with OpenID Connect, with a real provider (npm `oidc-provider`) and with one that forges tokens.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use courtyard_tests::accounts::{anonymous, connect, done, join, refused, site_with};
use courtyard_tests::{Client, Site, operate};
use p256::ecdsa::signature::Signer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// The redirect address; nothing listens there, since the test acts as the page.
const REDIRECT: &str = "http://127.0.0.1:1/back";

fn site_of(issuer: &str, more: &str) -> Site {
    let settings = format!(
        ", oidc = {{ redirects = [\"{REDIRECT}\"]{more}, providers = [{{ id = \"example\", name = \"Example\", \
         issuer = \"{issuer}\", client_id = \"chat\", client_secret = \"example\" }}] }}"
    );
    let grants = format!(
        "[plugins.secrets]\nexample = \"a secret: of both\"\n[plugins.fetch]\nhosts = [\"GET,POST {issuer}\"]\n"
    );
    site_with(&settings, &grants)
}

/// The provider, in a process of its own.
struct Provider {
    _child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    issuer: String,
}

impl Provider {
    async fn start(algorithm: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        assert!(
            folder.join("node_modules").exists(),
            "`cargo xtask test` installs the provider; or run `npm ci` in tests/oidc"
        );
        let mut child = Command::new("node")
            .args(["server.js", algorithm, REDIRECT])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let issuer = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        Self {
            _child: child,
            orders,
            lines,
            issuer,
        }
    }

    /// Rotates its signing key.
    async fn rotate(&mut self) {
        self.orders.write_all(b"\n").await.unwrap();
        timeout(PATIENCE, self.lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// Follows an address as a browser would. Returns the query of the redirect to [`REDIRECT`].
async fn browse(url: &str) -> BTreeMap<String, String> {
    let origin: String = url.split('/').take(3).collect::<Vec<_>>().join("/");
    let address = origin.rsplit_once('/').unwrap().1.to_owned();
    // By path and name.
    let mut cookies = BTreeMap::<(String, String), String>::new();
    let mut url = url.to_owned();
    for _ in 0..20 {
        let path = url.strip_prefix(&origin).unwrap_or(&url).to_owned();
        let sent = cookies
            .iter()
            .filter(|((under, _), _)| path.starts_with(under.as_str()));
        let sent: Vec<String> = sent.map(|((_, name), value)| format!("{name}={value}")).collect();
        let answer = operate(&address, "GET", &path, &format!("cookie: {}\r\n", sent.join("; "))).await;
        for line in answer.head.lines() {
            let Some((name, value)) = line.split_once(": ") else {
                continue;
            };
            if name.eq_ignore_ascii_case("set-cookie") {
                let mut parts = value.split("; ");
                let (name, text) = parts.next().unwrap().split_once('=').unwrap();
                let under = parts.find_map(|part| part.strip_prefix("path=")).unwrap_or("/");
                let key = (under.to_owned(), name.to_owned());
                if text.is_empty() {
                    cookies.remove(&key);
                } else {
                    cookies.insert(key, text.to_owned());
                }
            } else if name.eq_ignore_ascii_case("location") {
                value.clone_into(&mut url);
            }
        }
        assert!(
            (300..400).contains(&answer.status),
            "{path}: {} {}",
            answer.head,
            answer.body
        );
        if let Some(query) = url.strip_prefix(&format!("{REDIRECT}?")) {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let decoded = |text: &str| text.replace("%3A", ":").replace("%2F", "/");
            return pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        }
    }
    panic!("it leads nowhere: {url}");
}

/// Polls the result until it differs from this one.
async fn result(client: &mut Client, started: &Value, but: &str) -> Value {
    let begun = Instant::now();
    let params = json!({"state": started["state"], "ticket": started["ticket"]});
    loop {
        let call = json!({"type": "call", "id": "r", "method": "users.oidc_result", "params": params});
        let answer = client.request(call).await;
        if answer["value"]["stage"] != but {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a sign-in. Returns it and the address of the provider.
async fn start(client: &mut Client, params: Value) -> (Value, String) {
    let mut all = json!({"provider": "example"});
    for (key, value) in params.as_object().unwrap() {
        all[key] = value.clone();
    }
    let started = done(client, "oidc_start", all).await;
    let url = match &started["url"] {
        Value::String(url) => url.clone(),
        _ => result(client, &started, "preparing").await["value"]["url"]
            .as_str()
            .unwrap()
            .to_owned(),
    };
    (started, url)
}

fn finish(started: &Value, back: &BTreeMap<String, String>) -> Value {
    json!({"state": started["state"], "ticket": started["ticket"], "code": back["code"], "iss": back["iss"]})
}

/// Completes a sign-in.
async fn sign_in(client: &mut Client) -> Value {
    let (started, url) = start(client, json!({})).await;
    let back = browse(&url).await;
    assert_eq!(back["state"], started["state"].as_str().unwrap());
    done(client, "oidc_finish", finish(&started, &back)).await;
    result(client, &started, "exchanging").await
}

#[tokio::test]
async fn a_real_provider_signs_a_user_up_and_in() {
    for algorithm in ["RS256", "ES256"] {
        let mut provider = Provider::start(algorithm).await;
        let site = site_of(&provider.issuer, ", keys_pause_s = 0");
        let server = site.start().await;
        let mut stranger = anonymous(&server, "default").await;
        let first = sign_in(&mut stranger).await["value"].clone();
        assert_eq!(
            (&first["stage"], &first["registered"]),
            (&json!("signed_in"), &json!(true)),
            "{first}"
        );
        let (mut ann, welcome) = connect(&server, &first["session"]["token"], "d").await;
        assert_eq!(welcome["actor"], first["session"]["actor"]);
        let who = done(&mut ann, "whoami", json!({})).await;
        assert_eq!((&who["name"], &who["display_name"]), (&json!("ann"), &json!("Ann A.")));

        // The second time, with a rotated key.
        provider.rotate().await;
        let second = sign_in(&mut stranger).await["value"].clone();
        assert_eq!(
            (&second["registered"], &second["session"]["actor"]),
            (&json!(false), &first["session"]["actor"]),
            "{second}"
        );

        // State and code can't be reused.
        let (started, url) = start(&mut stranger, json!({})).await;
        let back = browse(&url).await;
        let mut strange = finish(&started, &back);
        strange["ticket"] = json!("another");
        assert_eq!(
            refused(&mut stranger, "oidc_finish", strange).await,
            "users.unknown_state"
        );
        let mut mixed = finish(&started, &back);
        mixed["iss"] = json!("https://evil.example");
        assert_eq!(
            refused(&mut stranger, "oidc_finish", mixed).await,
            "users.invalid_issuer"
        );
        let mut silent = finish(&started, &back);
        silent.as_object_mut().unwrap().remove("iss");
        assert_eq!(
            refused(&mut stranger, "oidc_finish", silent).await,
            "users.invalid_issuer",
            "this provider says who it is"
        );
        done(&mut stranger, "oidc_finish", finish(&started, &back)).await;
        assert_eq!(
            refused(&mut stranger, "oidc_finish", finish(&started, &back)).await,
            "users.conflict"
        );
        let third = result(&mut stranger, &started, "exchanging").await;
        assert_eq!(third["value"]["stage"], "signed_in", "{third}");
        assert_eq!(result(&mut stranger, &started, "").await["code"], "users.unknown_state");
        let (again, _) = start(&mut stranger, json!({})).await;
        done(&mut stranger, "oidc_finish", finish(&again, &back)).await;
        let replayed = result(&mut stranger, &again, "exchanging").await;
        assert_eq!(replayed["code"], "users.unavailable", "{replayed}");
        server.stop().await;
    }
}

#[tokio::test]
async fn an_identity_can_be_added_to_an_account_and_used_to_sign_in() {
    let provider = Provider::start("ES256").await;
    let site = site_of(&provider.issuer, ", register = false");
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    assert_eq!(sign_in(&mut stranger).await["code"], "users.unknown_account");
    let (mut ann, session) = join(&server, "default", "ann").await;
    let (started, url) = start(&mut ann, json!({"link": true})).await;
    let back = browse(&url).await;
    done(&mut ann, "oidc_finish", finish(&started, &back)).await;
    assert_eq!(
        result(&mut ann, &started, "exchanging").await["value"]["stage"],
        "linked"
    );
    assert_eq!(
        sign_in(&mut stranger).await["value"]["session"]["actor"],
        session["actor"]
    );
    let identities = done(&mut ann, "identities", json!({})).await["identities"].clone();
    assert_eq!(identities[0]["subject"], "ann-at-the-provider");
    server.stop().await;
}

#[tokio::test]
async fn an_ungranted_provider_gets_no_request() {
    let provider = Provider::start("ES256").await;
    let site = site_of(&provider.issuer, "");
    site.reconfigure(&format!("hosts = [\"GET,POST {}\"]", provider.issuer), "hosts = []");
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    let started = done(&mut stranger, "oidc_start", json!({"provider": "example"})).await;
    let refused = result(&mut stranger, &started, "preparing").await;
    assert_eq!(refused["code"], "users.unavailable", "{refused}");
    assert!(server.stop().await.contains("fetch_not_granted"));
}

/// The ID token that the forging provider returns, and the number of requests for its keys.
#[derive(Default)]
struct Forgery {
    token: String,
    keys_asked: usize,
    tokens_asked: usize,
    /// True to return tokens only to the next process.
    is_silent: bool,
}

impl Forgery {
    /// Counts a request for a token. Returns true if it gets no response.
    fn asked_for_token(&mut self) -> bool {
        self.tokens_asked += 1;
        self.is_silent
    }
}

fn key(seed: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(seed: u8, header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    let signature: p256::ecdsa::Signature = key(seed).sign(text.as_bytes());
    format!("{text}.{}", encoded(signature.to_bytes()))
}

/// Serves a provider whose tokens the test creates. Returns its issuer.
async fn forging() -> (String, Arc<Mutex<Forgery>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let forgery = Arc::new(Mutex::new(Forgery::default()));
    let (base, shared) = (issuer.clone(), forgery.clone());
    tokio::spawn(async move {
        let mut waiting = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap_or_default() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            let _ = stream.read_exact(&mut body).await;
            let answer = match head.split(' ').nth(1).unwrap_or_default() {
                "/.well-known/openid-configuration" => json!({
                    "issuer": base, "authorization_endpoint": format!("{base}/authorize"),
                    "token_endpoint": format!("{base}/token"), "jwks_uri": format!("{base}/keys"),
                }),
                "/keys" => {
                    shared.lock().unwrap().keys_asked += 1;
                    let point = key(7).verifying_key().to_sec1_point(false);
                    let (x, y) = (encoded(&point.as_bytes()[1..33]), encoded(&point.as_bytes()[33..]));
                    json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y}]})
                }
                _ if shared.lock().unwrap().asked_for_token() => {
                    waiting.push(stream);
                    continue;
                }
                _ => json!({"id_token": shared.lock().unwrap().token, "access_token": "x", "token_type": "Bearer"}),
            };
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
        }
    });
    (issuer, forgery)
}

#[tokio::test]
async fn forged_tokens_are_rejected() {
    let (issuer, forgery) = forging().await;
    let site = site_of(&issuer, "");
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    let now_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let good = json!({"alg": "ES256", "kid": "k"});
    let with = |claims: &Value, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let none = |claims: &Value| format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(claims.to_string()));
    type Forge<'a> = Box<dyn Fn(&Value) -> String + 'a>;
    let forgeries: Vec<(&str, Forge<'_>)> = vec![
        ("its algorithm is not accepted", Box::new(none)),
        (
            "its algorithm is not accepted",
            Box::new(|claims| signed(7, &json!({"alg": "HS256", "kid": "k"}), claims)),
        ),
        ("the signature is wrong", Box::new(|claims| signed(8, &good, claims))),
        (
            "its key is unknown",
            Box::new(|claims| signed(8, &json!({"alg": "ES256", "kid": "mine"}), claims)),
        ),
        (
            "it comes from another issuer",
            Box::new(|claims| signed(7, &good, &with(claims, "iss", json!("https://evil.example")))),
        ),
        (
            "it is for another client",
            Box::new(|claims| signed(7, &good, &with(claims, "aud", json!("other")))),
        ),
        (
            "it was issued to another client",
            Box::new(|claims| signed(7, &good, &with(claims, "azp", json!("other")))),
        ),
        (
            "it is for another sign-in",
            Box::new(|claims| signed(7, &good, &with(claims, "nonce", json!("replayed")))),
        ),
        (
            "it has expired",
            Box::new(|claims| signed(7, &good, &with(claims, "exp", json!(now_s - 120)))),
        ),
        (
            "it isn't valid yet",
            Box::new(|claims| signed(7, &good, &with(claims, "nbf", json!(now_s + 600)))),
        ),
        (
            "it wasn't issued recently",
            Box::new(|claims| signed(7, &good, &with(claims, "iat", json!(now_s - 7_200)))),
        ),
    ];
    for (reason, forge) in &forgeries {
        let (started, url) = start(&mut stranger, json!({})).await;
        let nonce = url.split("nonce=").nth(1).unwrap().split('&').next().unwrap();
        let claims =
            json!({"iss": issuer, "sub": "admin", "aud": "chat", "nonce": nonce, "iat": now_s, "exp": now_s + 300});
        forgery.lock().unwrap().token = forge(&claims);
        let params = json!({"state": started["state"], "ticket": started["ticket"], "code": "c0de"});
        done(&mut stranger, "oidc_finish", params).await;
        let refused = result(&mut stranger, &started, "exchanging").await;
        assert_eq!(refused["code"], "users.invalid_id_token", "{reason}: {refused}");
    }
    assert_eq!(
        forgery.lock().unwrap().keys_asked,
        1,
        "made-up names of keys make nobody ask"
    );

    // The same token, valid.
    let (started, url) = start(&mut stranger, json!({})).await;
    let nonce = url.split("nonce=").nth(1).unwrap().split('&').next().unwrap();
    let claims =
        json!({"iss": issuer, "sub": "admin", "aud": "chat", "nonce": nonce, "iat": now_s, "exp": now_s + 300});
    forgery.lock().unwrap().token = signed(7, &good, &claims);
    let params = json!({"state": started["state"], "ticket": started["ticket"], "code": "c0de"});
    done(&mut stranger, "oidc_finish", params).await;
    let result = result(&mut stranger, &started, "exchanging").await;
    assert_eq!(result["value"]["stage"], "signed_in", "{result}");
    let log = server.stop().await;
    for (reason, _) in &forgeries {
        assert!(log.contains(reason), "{reason} is not in\n{log}");
    }
}

#[tokio::test]
async fn a_sign_in_resumes_after_a_kill_of_the_host() {
    let (issuer, provider) = forging().await;
    let site = site_of(&issuer, "");
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    let (started, url) = start(&mut stranger, json!({})).await;
    let nonce = url.split("nonce=").nth(1).unwrap().split('&').next().unwrap();
    let now_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = json!({"iss": issuer, "sub": "42", "aud": "chat", "nonce": nonce, "iat": now_s, "exp": now_s + 300});
    provider.lock().unwrap().token = signed(7, &json!({"alg": "ES256", "kid": "k"}), &claims);
    provider.lock().unwrap().is_silent = true;
    let params = json!({"state": started["state"], "ticket": started["ticket"], "code": "c0de"});
    done(&mut stranger, "oidc_finish", params).await;
    let begun = Instant::now();
    while provider.lock().unwrap().tokens_asked == 0 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.kill().await;
    provider.lock().unwrap().is_silent = false;
    let server = site.start().await;
    let mut stranger = anonymous(&server, "default").await;
    let signed_in = result(&mut stranger, &started, "exchanging").await;
    assert_eq!(signed_in["value"]["stage"], "signed_in", "{signed_in}");
    server.stop().await;
}
