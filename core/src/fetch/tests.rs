//! Requests against real servers on loopback.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::connect::Resolving;
use super::*;

/// Returns the response to a request.
type Responses = Arc<dyn Fn(&str) -> TestResponse + Send + Sync>;

enum TestResponse {
    /// Send these bytes and close the connection.
    Bytes(Vec<u8>),
    /// Never respond.
    Silence,
}

/// Starts a server; returns its port.
async fn serve(answers: impl Fn(&str) -> TestResponse + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers: Responses = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, answers.clone()));
        }
    });
    port
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: Responses) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or_default();
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let head = text.split_once("\r\n\r\n");
        let length = text
            .to_lowercase()
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| {
                rest.split("\r\n").next().unwrap().parse::<usize>().unwrap()
            });
        if read == 0 || head.is_some_and(|(_, body)| body.len() >= length) {
            break;
        }
    }
    match answers(&String::from_utf8_lossy(&request)) {
        TestResponse::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        TestResponse::Silence => std::future::pending().await,
    }
}

fn ok(body: &str) -> TestResponse {
    let length = body.len();
    TestResponse::Bytes(
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into(),
    )
}

fn redirect(status: u16, to: &str) -> TestResponse {
    TestResponse::Bytes(
        format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into(),
    )
}

/// Names with the addresses that they resolve to, on any port.
#[derive(Default)]
struct Names(HashMap<&'static str, Vec<&'static str>>);

impl Resolve for Names {
    fn resolve(&self, name: String, port: u16) -> Resolving {
        let found = self.0.get(&*name).cloned();
        Box::pin(async move {
            let found = found.ok_or_else(|| io::Error::other("no such name"))?;
            let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), port);
            Ok(found.iter().map(address).collect())
        })
    }
}

fn policy(hosts: &[String], private: &[String]) -> Policy {
    Policy {
        hosts: hosts.iter().map(|text| text.parse().unwrap()).collect(),
        private: private.iter().map(|text| text.parse().unwrap()).collect(),
        roots: Vec::new(),
        limits: FetchLimits {
            time: Duration::from_secs(5),
            ..FetchLimits::default()
        },
    }
}

fn fetcher(policy: Policy) -> Fetcher {
    let names = Names(HashMap::from([
        ("loop.test", vec!["127.0.0.1"]),
        ("mixed.test", vec!["93.184.216.34", "127.0.0.1"]),
        ("metadata.test", vec!["169.254.169.254"]),
        ("mapped.test", vec!["::ffff:127.0.0.1"]),
        ("six.test", vec!["::1"]),
        ("nothing.test", vec![]),
    ]));
    Fetcher::resolving_with("courier", policy, Arc::new(names)).unwrap()
}

async fn code(fetcher: &Fetcher, url: &str) -> &'static str {
    match fetcher.fetch(FetchRequest::get(url)).await {
        Ok(_) => "ok",
        Err(error) => error.code(),
    }
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[tokio::test]
async fn a_granted_request_is_sent_with_its_headers_and_body() {
    let port = serve(ok_echo).await;
    let fetcher = fetcher(policy(&[local(port)], &[]));
    let mut request = FetchRequest::post_json(format!("{}/path?a=b", local(port)), &7);
    request = request.header("x-own", "yes");
    let response = fetcher.fetch(request).await.unwrap();
    let sent = String::from_utf8(response.body).unwrap();
    assert_eq!(response.status, 200);
    for part in [
        "POST /path?a=b HTTP/1.1",
        "x-own: yes",
        "content-type: application/json",
        "accept-encoding: identity",
        "(courier)",
        "\r\n\r\n7",
    ] {
        assert!(sent.contains(part), "{part} is not in\n{sent}");
    }
}

fn ok_echo(request: &str) -> TestResponse {
    ok(request)
}

#[tokio::test]
async fn a_request_without_a_grant_is_not_sent() {
    let port = serve(ok_echo).await;
    let fetcher = fetcher(policy(&[format!("GET http://127.0.0.1:{port}/v1")], &[]));
    assert_eq!(code(&fetcher, &format!("{}/v1/a", local(port))).await, "ok");
    for url in [
        format!("{}/v10", local(port)),
        format!("{}/v1/../secret", local(port)),
        format!("{}/v1/%2e%2e/secret", local(port)),
        format!("https://127.0.0.1:{port}/v1"),
        "http://127.0.0.1:1/v1".to_owned(),
        format!("http://loop.test:{port}/v1"),
    ] {
        assert_eq!(code(&fetcher, &url).await, "fetch_not_granted", "{url}");
    }
    let post = FetchRequest::new("POST", format!("{}/v1", local(port)));
    assert_eq!(fetcher.fetch(post).await.unwrap_err().code(), "fetch_not_granted");
}

#[tokio::test]
async fn a_name_never_leads_to_an_address_that_is_not_public() {
    let port = serve(ok_echo).await;
    let names = ["loop.test", "mixed.test", "metadata.test", "mapped.test", "six.test"];
    let hosts: Vec<String> = names.iter().map(|name| format!("http://{name}:{port}")).collect();
    let closed = fetcher(policy(&hosts, &[]));
    for host in &hosts {
        assert_eq!(code(&closed, host).await, "fetch_private_address", "{host}");
    }
    // The operator opens one of them, on this port.
    let open = fetcher(policy(
        &hosts,
        &[format!("loop.test:{port}"), "metadata.test".to_owned()],
    ));
    assert_eq!(code(&open, &hosts[0]).await, "ok");
    assert_eq!(
        code(&open, &hosts[2]).await,
        "fetch_private_address",
        "link-local opens to no name"
    );
}

#[tokio::test]
async fn odd_spellings_of_an_address_are_that_address() {
    let fetcher = fetcher(policy(&["https://api.example.com".to_owned()], &[]));
    for host in [
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "[::ffff:7f00:1]",
        "localhost",
    ] {
        let url = format!("http://{host}:80/");
        assert_eq!(code(&fetcher, &url).await, "fetch_not_granted", "{url}");
    }
    for url in [
        "ftp://api.example.com/",
        "https://user:secret@api.example.com/",
        "https://api.example.com:0/",
        " https://api.example.com/",
        "https://api.exa\nmple.com/",
        "https://api..example.com/",
        "nonsense",
    ] {
        assert_eq!(code(&fetcher, url).await, "fetch_bad_url", "{url:?}");
    }
}

#[tokio::test]
async fn every_redirect_is_checked_as_the_first_request_was() {
    let target = serve(ok_echo).await;
    let port = serve(move |request| match request.split(' ').nth(1).unwrap() {
        "/granted" => redirect(302, &format!("http://127.0.0.1:{target}/landed")),
        "/elsewhere" => redirect(302, "http://127.0.0.1:1/"),
        "/name" => redirect(307, &format!("http://loop.test:{target}/")),
        "/metadata" => redirect(308, "http://169.254.169.254/latest/meta-data"),
        "/nowhere" => redirect(301, "http://"),
        "/round" => redirect(303, "/round"),
        _ => ok("there"),
    })
    .await;
    let hosts = [local(port), local(target), format!("http://loop.test:{target}")];
    let fetcher = fetcher(policy(&hosts, &[]));
    for (path, wanted) in [
        ("granted", "ok"),
        ("elsewhere", "fetch_not_granted"),
        ("name", "fetch_private_address"),
        ("metadata", "fetch_not_granted"),
        ("nowhere", "fetch_bad_redirect"),
        ("round", "fetch_too_many_redirects"),
    ] {
        assert_eq!(
            code(&fetcher, &format!("{}/{path}", local(port))).await,
            wanted,
            "{path}"
        );
    }
    let mut request = FetchRequest::post_json(format!("{}/granted", local(port)), &7).header("authorization", "secret");
    let landed = fetcher.fetch(request.clone()).await.unwrap();
    let landed = String::from_utf8(landed.body).unwrap();
    assert!(landed.starts_with("GET /landed"), "{landed}");
    assert!(
        !landed.contains("secret") && !landed.contains("content-type"),
        "{landed}"
    );
    request.follow = false;
    assert_eq!(fetcher.fetch(request).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_message_that_is_too_large_or_too_slow_is_cut_off() {
    let port = serve(|request| match request.split(' ').nth(1).unwrap() {
        "/large" => ok(&"x".repeat(2_000)),
        "/endless" => TestResponse::Bytes(
            [
                b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(),
                vec![b'x'; 5_000],
            ]
            .concat(),
        ),
        "/heads" => TestResponse::Bytes(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000)).into()),
        "/nonsense" => TestResponse::Bytes(b"SMTP ready\r\n\r\n".to_vec()),
        "/cut" => TestResponse::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec()),
        _ => TestResponse::Silence,
    })
    .await;
    let mut policy = policy(&[local(port)], &[]);
    policy.limits.response_bytes = 1_000;
    policy.limits.header_bytes = 1_000;
    policy.limits.request_bytes = 10;
    policy.limits.time = Duration::from_millis(300);
    let fetcher = fetcher(policy);
    for (path, wanted) in [
        ("large", "fetch_response_too_large"),
        ("endless", "fetch_response_too_large"),
        ("heads", "fetch_response_too_large"),
        ("nonsense", "fetch_protocol"),
        ("cut", "fetch_closed"),
        ("silence", "fetch_timeout"),
    ] {
        assert_eq!(
            code(&fetcher, &format!("{}/{path}", local(port))).await,
            wanted,
            "{path}"
        );
    }
    let request = || FetchRequest::new("POST", local(port));
    for (request, wanted) in [
        (
            FetchRequest {
                body: vec![0; 11],
                ..request()
            },
            "fetch_request_too_large",
        ),
        (request().header("x", "y".repeat(1_000)), "fetch_request_too_large"),
        (request().header("host", "other"), "fetch_bad_header"),
        (request().header("x", "a\r\nb: c"), "fetch_bad_header"),
        (request().header("a b", ""), "fetch_bad_header"),
        (FetchRequest::new("CONNECT", local(port)), "fetch_bad_method"),
    ] {
        assert_eq!(fetcher.fetch(request).await.unwrap_err().code(), wanted);
    }
}

#[tokio::test]
async fn an_unreachable_host_is_retryable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let hosts = [
        local(port),
        format!("http://nothing.test:{port}"),
        format!("http://unknown.test:{port}"),
    ];
    let fetcher = fetcher(policy(&hosts, &[]));
    for (host, wanted) in hosts.iter().zip(["fetch_connect", "fetch_dns", "fetch_dns"]) {
        let error = fetcher.fetch(FetchRequest::get(host)).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (wanted, true));
    }
}

#[tokio::test]
async fn https_needs_a_certificate_that_the_operator_trusts() {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["loop.test".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, Arc::new(|_: &str| redirect(302, "http://loop.test:1/"))).await;
                }
            });
        }
    });

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("ca.pem");
    std::fs::write(&root, ca_certificate.pem()).unwrap();
    let url = format!("https://loop.test:{port}/");
    let mut policy = policy(&[format!("https://loop.test:{port}")], &[format!("loop.test:{port}")]);
    policy.roots = vec![root];
    let trusting = fetcher(policy.clone());
    let mut request = FetchRequest::get(&url);
    assert_eq!(
        trusting.fetch(request.clone()).await.unwrap_err().code(),
        "fetch_insecure_redirect"
    );
    request.follow = false;
    assert_eq!(trusting.fetch(request).await.unwrap().status, 302);

    policy.roots = vec![folder.path().join("absent.pem")];
    assert!(matches!(
        Fetcher::new("courier", policy.clone()),
        Err(FetcherError::Roots { .. })
    ));
    policy.roots.clear();
    // On a system without any root certificate, the fetcher can't be created.
    if let Ok(names) = Fetcher::resolving_with(
        "courier",
        policy,
        Arc::new(Names(HashMap::from([("loop.test", vec!["127.0.0.1"])]))),
    ) {
        assert_eq!(code(&names, &url).await, "fetch_tls");
    }
}

#[tokio::test]
async fn the_number_of_requests_at_a_time_is_limited() {
    let port = serve(|_| TestResponse::Silence).await;
    let mut policy = policy(&[local(port)], &[]);
    policy.limits.requests = 1;
    policy.limits.time = Duration::from_millis(200);
    let fetcher = fetcher(policy);
    let url = local(port);
    // The second one waits for the permit of the first, which counts towards its time.
    let both = tokio::join!(code(&fetcher, &url), code(&fetcher, &url));
    assert_eq!(both, ("fetch_timeout", "fetch_timeout"));
}

#[test]
fn an_invalid_grant_is_refused_with_the_reason() {
    for text in [
        "",
        "api.example.com",
        "ftp://api.example.com",
        "https://*.com",
        "https://a.*.example.com",
        "https://user@api.example.com",
        "https://api.example.com/?q=1",
        "TRACE https://api.example.com",
        "GET, POST https://api.example.com",
        "http://127.1",
        "http://0.0.0.0",
        "https://api.example.com:0",
    ] {
        assert!(text.parse::<HostRule>().is_err(), "{text:?}");
    }
    for text in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "0.0.0.0",
        "224.0.0.1",
        "*.internal",
        "db:0",
        "",
    ] {
        assert!(text.parse::<PrivateRule>().is_err(), "{text:?}");
    }
    for text in [
        "10.0.0.0/8",
        "fd00::/8",
        "10.1.2.3",
        "10.1.2.3:8080",
        "[fd00::1]:8080",
        "localhost:9000",
    ] {
        assert_eq!(
            text.parse::<PrivateRule>().unwrap().to_string().replace("/32", ""),
            text
        );
    }
}

#[test]
fn addresses_that_are_not_public_are_recognized_in_every_form() {
    use super::address::{Scope, scope};
    for text in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
    ] {
        assert_ne!(scope(text.parse().unwrap()), Scope::Public, "{text}");
    }
    for text in [
        "93.184.216.34",
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert_eq!(scope(text.parse().unwrap()), Scope::Public, "{text}");
    }
}
