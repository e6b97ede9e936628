//! Certificates of sites.

use std::sync::Arc;

use crate::Site;

/// Writes a new certificate for `localhost` into a site's folder. Returns a client configuration that trusts it.
pub fn certify(site: &Site) -> rustls::ClientConfig {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(site.folder.path().join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(
        site.folder.path().join("key.pem"),
        certified.signing_key.serialize_pem(),
    )
    .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
