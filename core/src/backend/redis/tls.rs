//! Encryption for `rediss:`.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

use crate::error::{Error, Kind};

/// Encrypt the connection with the server called `host`, which is trusted if
/// its certificate is signed by an authority in `ca`, or by one of the system's.
pub(super) async fn wrap(
    stream: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> Result<TlsStream<TcpStream>, Error> {
    let server = ServerName::try_from(host.to_owned()).map_err(|e| {
        Error::invalid(format!("{host:?} is not a name that a certificate can have")).because(e)
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        // The system's store may hold some that cannot be used; those are not trusted.
        drop(roots.add(certificate));
    }
    if roots.is_empty() {
        let place = ca.map_or("the system".to_owned(), |ca| ca.display().to_string());
        let cure = "name a PEM file of the server's authority with ?ca=FILE";
        return Err(Error::invalid(format!("no trusted certificates in {place}; {cure}")));
    }
    // Named here, so that no other crate's choice for the process matters.
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::unavailable("no usable version of TLS").because(e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(|e| {
        let cause = e.get_ref().and_then(|cause| cause.downcast_ref());
        let kind = match cause {
            Some(rustls::Error::InvalidCertificate(_)) => Kind::Refused,
            _ => Kind::Unavailable,
        };
        Error::new(kind, "no encrypted connection; a private authority needs ?ca=FILE").because(e)
    })
}

fn certificates(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    let Some(ca) = ca else {
        return Ok(rustls_native_certs::load_native_certs().certs);
    };
    let read = CertificateDer::pem_file_iter(ca).and_then(Iterator::collect);
    read.map_err(|e| {
        Error::invalid(format!("ca={} cannot be read as PEM", ca.display())).because(e)
    })
}
