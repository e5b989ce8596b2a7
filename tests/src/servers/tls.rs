//! A certificate authority of one server.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::run;

const EXTENSIONS: &str = "\
basicConstraints = critical, CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
";

pub(super) const AUTHORITY: &str = "ca.crt";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

/// Make an authority, and a certificate for this machine by its two names.
pub(super) fn certify(dir: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    fs::write(dir.join("tls.ext"), EXTENSIONS).expect("a new directory");
    let steps = [
        format!("req -x509 {key} -keyout ca.key -out {AUTHORITY} -days 30 -subj /CN=rig"),
        format!("req -new {key} -keyout {KEY} -out tls.csr -subj /CN=localhost"),
        format!(
            "x509 -req -in tls.csr -CA {AUTHORITY} -CAkey ca.key -CAcreateserial \
             -out {CERTIFICATE} -days 30 -extfile tls.ext"
        ),
    ];
    for step in steps {
        let mut openssl = Command::new("openssl");
        openssl.args(step.split_whitespace()).current_dir(dir);
        run(&mut openssl, "apt-get install -y openssl");
    }
}
