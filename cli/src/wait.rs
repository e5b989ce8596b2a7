//! The line on a terminal that says whom we wait for.

use std::convert::Infallible;
use std::future::pending;
use std::io::IsTerminal;
use std::time::Duration;

use leasehold::runtime::Runtime;
use leasehold::{Client, Holder};

use crate::{show, stderr};

/// A lock that is free or handed over at once needs no line.
const PATIENCE: Duration = Duration::from_millis(300);
const REFRESH: Duration = Duration::from_secs(1);

/// Show and refresh the line for as long as this is polled; dropped, it is
/// erased. Without a terminal on stderr nothing is written.
pub(crate) async fn tell_waiting(
    client: &Client,
    names: &[String],
    runtime: &dyn Runtime,
) -> Infallible {
    if !std::io::stderr().is_terminal() {
        return pending().await;
    }
    runtime.sleep(PATIENCE).await;
    let line = Line;
    loop {
        // Not to be told is no reason not to wait.
        let (name, holder) = held_by_others(client, names).await;
        let holder = holder.map(|holder| format!(", {}", show::held_by(&holder)));
        let holder = holder.unwrap_or_default();
        line.draw(&format!("leasehold: waiting for {name:?}{holder}"));
        runtime.sleep(REFRESH).await;
    }
}

/// The first of the locks that this process does not hold itself, and who does.
pub(crate) async fn held_by_others<'a>(
    client: &Client,
    names: &'a [String],
) -> (&'a str, Option<Holder>) {
    for name in names {
        let status = client.status(name).await.ok().flatten();
        let holder = status.and_then(|status| status.holders.into_iter().next());
        if let Some(holder) = holder.filter(|holder| !is_own(holder)) {
            return (name, Some(holder));
        }
    }
    (names.first().map_or("", String::as_str), None)
}

/// A label begins with the host and the process.
fn is_own(holder: &Holder) -> bool {
    let who = holder.label.split(' ').next().unwrap_or_default();
    who.ends_with(&format!(":{}", std::process::id()))
}

struct Line;

impl Line {
    fn draw(&self, text: &str) {
        // A line that wraps could not be erased; a pty may not know its width.
        let columns =
            rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col);
        let columns = if columns == 0 { 80 } else { usize::from(columns) };
        let text: String = text.chars().take(columns - 1).collect();
        stderr::write(format!("\r{text}\x1b[K"));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        stderr::write("\r\x1b[K".to_owned());
    }
}
