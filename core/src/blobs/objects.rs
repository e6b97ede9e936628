//! Where objects are: a folder, or a bucket of S3 or of what speaks its protocol.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Plain;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};
use rustls::{ClientConfig, RootCertStore};

use super::BlobsError;
use crate::fetch::{FetcherError, tls_config};
use crate::store::StoreError;

/// How long a connection to a bucket may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long connections to a bucket are kept for the next request.
const IDLE: Duration = Duration::from_secs(60);
/// How often a request to a bucket is sent again, and until when it may be.
const RETRIES: usize = 4;
const RETRIED: Duration = Duration::from_secs(20);

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: String,
    /// The server, with `http://` or `https://`; that of AWS without one.
    pub endpoint: Option<String>,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
    /// What requests are signed with. Without them they are those of the role of the machine, which AWS tells it.
    pub keys: Option<BucketKeys>,
    /// Whether the endpoint is that of the bucket alone (`https://BUCKET.HOST`), instead of its path beginning with the bucket.
    pub virtual_hosted: bool,
    /// Files of root certificates that are trusted besides those of the system.
    pub roots: Vec<PathBuf>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// What requests to a bucket are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketKeys {
    /// The id of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
}

impl std::fmt::Debug for BucketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketKeys").finish_non_exhaustive()
    }
}

/// Opens a folder, which is made if need be. Waits for the disk.
///
/// # Errors
/// When it can't be used.
pub fn folder(path: &Path) -> Result<Arc<dyn ObjectStore>, BlobsError> {
    let failed = |error: std::io::Error| {
        BlobsError::Store(StoreError::Io {
            context: format!("making {}", path.display()),
            cause: error,
        })
    };
    std::fs::create_dir_all(path).map_err(failed)?;
    let objects = LocalFileSystem::new_with_prefix(path)?
        .with_automatic_cleanup(true)
        .with_fsync(true);
    Ok(Arc::new(objects))
}

/// Opens a bucket, and sees whether it can be written and read.
///
/// # Errors
/// When it can't be reached or used.
pub async fn bucket(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, BlobsError> {
    let unusable = |source: object_store::Error| BlobsError::Bucket {
        bucket: bucket.name.clone(),
        source,
    };
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRIED,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_virtual_hosted_style_request(bucket.virtual_hosted)
        .with_retry(retry)
        .with_http_connector(Connector::new(bucket)?);
    if let Some(endpoint) = &bucket.endpoint {
        // Whether that may be `http` is the configuration's to say.
        builder = builder.with_endpoint(endpoint).with_allow_http(true);
    }
    if let Some(keys) = &bucket.keys {
        builder = builder
            .with_access_key_id(&keys.access_key)
            .with_secret_access_key(&keys.secret_key);
    }
    let objects = PrefixStore::new(builder.build().map_err(unusable)?, bucket.prefix.as_str());
    check(&objects).await.map_err(unusable)?;
    Ok(Arc::new(objects))
}

/// Writes an object, reads it, and removes it.
async fn check(objects: &dyn ObjectStore) -> Result<(), object_store::Error> {
    // Others may be starting at the same time.
    let place = object_store::path::Path::from(format!("check/{:032x}", rand::random::<u128>()));
    objects.put(&place, PutPayload::from_static(b"courtyard")).await?;
    let written = objects.get_range(&place, 0..9).await?;
    objects.delete(&place).await?;
    if &written[..] == b"courtyard" {
        return Ok(());
    }
    Err(object_store::Error::Generic {
        store: "S3",
        source: "what was written is not what is read".into(),
    })
}

/// Sends the requests of the object store over the same parts as everything else here.
#[derive(Clone, Debug)]
struct Connector {
    client: Client<HttpsConnector<Plain>, HttpRequestBody>,
    timeout: Duration,
}

impl Connector {
    fn new(bucket: &Bucket) -> Result<Self, FetcherError> {
        let is_plain = bucket.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        let tls = if is_plain {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth()
        } else {
            tls_config(&bucket.roots)?
        };
        let mut plain = Plain::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            timeout: bucket.timeout,
        })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.client.request(request).await.map_err(|error| {
            let kind = match error.is_connect() {
                true => HttpErrorKind::Connect,
                false => HttpErrorKind::Interrupted,
            };
            HttpError::new(kind, error)
        })?;
        let (parts, body) = response.into_parts();
        // Parts are read in pieces of a megabyte, so that nothing large is kept here.
        let body = body.collect().await;
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        let body = Full::new(body.to_bytes()).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let late = |error| HttpError::new(HttpErrorKind::Timeout, error);
        tokio::time::timeout(self.timeout, self.send(request))
            .await
            .map_err(late)?
    }
}
