//! Encryption.

// The driver of MySQL opens and encrypts its connections itself.
#![cfg_attr(
    not(any(feature = "redis", feature = "etcd", feature = "postgres", feature = "zookeeper")),
    allow(dead_code)
)]

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

use crate::error::{Error, Kind};

/// Whom to trust, and as whom to come.
#[derive(Clone, Copy, Default)]
pub(super) struct Trust<'a> {
    /// The authorities that may have signed the server's certificate; `None`:
    /// those of the system.
    pub(super) ca: Option<&'a Path>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(&'a Path, &'a Path)>,
    /// What is spoken then, where a server wants to know.
    pub(super) protocol: Option<&'a str>,
}

impl Trust<'_> {
    /// Encrypt the connection with the server called `host`.
    pub(super) async fn wrap<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> Result<TlsStream<S>, Error> {
        let server = ServerName::try_from(host.to_owned()).map_err(|e| {
            Error::invalid(format!("{host:?} is not a name that a certificate can have")).because(e)
        })?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        connector.connect(server, stream).await.map_err(|e| {
            let cause = e.get_ref().and_then(|cause| cause.downcast_ref());
            let kind = match cause {
                Some(rustls::Error::InvalidCertificate(_)) => Kind::Refused,
                _ => Kind::Unavailable,
            };
            Error::new(kind, "no encrypted connection; a private authority needs ?ca=FILE")
                .because(e)
        })
    }

    fn config(&self) -> Result<ClientConfig, Error> {
        // Named here, so that no other crate's choice for the process matters.
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::unavailable("no usable version of TLS").because(e))?
            .with_root_certificates(roots(self.ca)?.0);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = read("cert", certificate)?;
                let key =
                    PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable("key", key, e))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| {
                    Error::invalid("cert and key in the URL do not fit together").because(e)
                })?
            }
        };
        config.alpn_protocols = self.protocol.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

/// The certificates of the authorities, for those who encrypt by themselves.
#[cfg(feature = "mysql")]
pub(super) fn authorities(ca: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    roots(ca).map(|(_, certificates)| certificates)
}

fn roots(ca: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Error> {
    let mut certificates = match ca {
        Some(ca) => read("ca", ca)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    // The system's store may hold some that cannot be used; those are not trusted.
    certificates.retain(|certificate| roots.add(certificate.clone()).is_ok());
    if roots.is_empty() {
        let place = ca.map_or("the system".to_owned(), |ca| ca.display().to_string());
        let cure = "name a PEM file of the server's authority with ?ca=FILE";
        return Err(Error::invalid(format!("no trusted certificates in {place}; {cure}")));
    }
    Ok((roots, certificates))
}

fn read(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|e| unreadable(option, file, e))
}

fn unreadable(option: &str, file: &Path, e: pem::Error) -> Error {
    Error::invalid(format!("{option}={} cannot be read as PEM", file.display())).because(e)
}
