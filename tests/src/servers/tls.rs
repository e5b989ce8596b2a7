//! A certificate authority of one server.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::run;

const EXTENSIONS: &str = "\
basicConstraints = critical, CA:FALSE
keyUsage = digitalSignature
subjectAltName = DNS:localhost, IP:127.0.0.1
";

const KIND: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

pub(super) const AUTHORITY: &str = "ca.crt";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const CLIENT_CERTIFICATE: &str = "client.crt";
pub(super) const CLIENT_KEY: &str = "client.key";

/// Make an authority, and a certificate for this machine by its two names.
pub(super) fn certify(dir: &Path) {
    found(dir);
    sign(dir, "tls", "localhost", "serverAuth");
}

/// Make an authority, a certificate for this machine, and one for a client of it.
pub(super) fn certify_with_client(dir: &Path) {
    found(dir);
    // What translates JSON inside an etcd is a client of it, with the server's certificate.
    sign(dir, "tls", "localhost", "serverAuth, clientAuth");
    sign(dir, "client", "client", "clientAuth");
}

fn found(dir: &Path) {
    openssl(
        dir,
        &format!("req -x509 {KIND} -keyout ca.key -out {AUTHORITY} -days 30 -subj /CN=rig"),
    );
}

/// A key, and a certificate by the authority in the same directory.
fn sign(dir: &Path, file: &str, name: &str, usage: &str) {
    let extensions = format!("{EXTENSIONS}extendedKeyUsage = {usage}\n");
    fs::write(dir.join(format!("{file}.ext")), extensions).expect("a new directory");
    openssl(dir, &format!("req -new {KIND} -keyout {file}.key -out {file}.csr -subj /CN={name}"));
    let signed = format!("-out {file}.crt -days 30 -extfile {file}.ext");
    let authority = format!("-CA {AUTHORITY} -CAkey ca.key -CAcreateserial");
    openssl(dir, &format!("x509 -req -in {file}.csr {authority} {signed}"));
}

fn openssl(dir: &Path, arguments: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments.split_whitespace()).current_dir(dir);
    run(&mut openssl, "apt-get install -y openssl");
}
