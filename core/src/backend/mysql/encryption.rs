//! Encryption, as the driver of the protocol wants to have it: it opens its connections itself.

use mysql_async::{ClientIdentity, SslOpts};
use tokio_rustls::rustls::crypto;

use crate::backend::sql::Tls;
use crate::backend::tls::authorities;
use crate::error::Error;

/// With a server that proves who it is.
pub(super) fn options(tls: &Tls) -> Result<SslOpts, Error> {
    // The driver asks for the choice of the process. Where there is one it stays.
    drop(crypto::ring::default_provider().install_default());
    let roots = authorities(tls.ca.as_deref())?;
    let roots = roots.into_iter().map(|root| root.as_ref().to_vec().into()).collect();
    let identity = tls.identity.clone();
    let identity = identity.map(|(cert, key)| ClientIdentity::new(cert.into(), key.into()));
    Ok(SslOpts::default()
        .with_disable_built_in_roots(true)
        .with_root_certs(roots)
        .with_client_identity(identity))
}
