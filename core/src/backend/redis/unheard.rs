//! Why a server ended a connection before it answered anything.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::address::Endpoint;
use super::failure::Failure;
use crate::backend::net::connect_tcp;
use crate::error::Error;
use crate::runtime::Runtime;

/// How long a server is listened to that was asked nothing.
const LISTEN: Duration = Duration::from_millis(200);

/// The error with what can be found out.
pub(super) async fn explain(endpoint: &Endpoint, error: Error, runtime: &dyn Runtime) -> Failure {
    let Endpoint::Tcp { host, port } = endpoint else { return error.into() };
    let said = tokio::select! {
        biased;
        said = listen(host, *port) => said,
        () = runtime.sleep(LISTEN) => None,
    };
    if let Some(said) = said {
        return Failure::refusal(&said);
    }
    let hint = "the server answered nothing; does this port want TLS (rediss:), or is it no Redis?";
    Error::unavailable(hint).because(error).into()
}

/// A server that turns clients away says why at once. Who has sent something by
/// then may not hear it: it is lost to the reset of the connection.
async fn listen(host: &str, port: u16) -> Option<String> {
    let (mut stream, mut said) = (connect_tcp(host, port).await.ok()?, [0; 512]);
    let length = stream.read(&mut said).await.ok()?;
    let line = said.get(..length)?.split(|byte| *byte == b'\r').next()?;
    line.strip_prefix(b"-").map(|line| String::from_utf8_lossy(line).into_owned())
}
