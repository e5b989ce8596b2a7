//! The line on a terminal that says whom we wait for.

use std::convert::Infallible;
use std::future::pending;
use std::io::IsTerminal;
use std::time::Duration;

use leasehold::backend::Mode;
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
    mode: Mode,
    runtime: &dyn Runtime,
) -> Infallible {
    if !std::io::stderr().is_terminal() {
        return pending().await;
    }
    runtime.sleep(PATIENCE).await;
    let line = Line;
    loop {
        // Not to be told is no reason not to wait.
        let (name, holders) = held_by_others(client, names, mode).await;
        let holder = show::held_by(&holders).map(|holder| format!(", {holder}"));
        let holder = holder.unwrap_or_default();
        line.draw(&format!("leasehold: waiting for {name:?}{holder}"));
        runtime.sleep(REFRESH).await;
    }
}

/// The first of the locks that others hold, so that this process cannot, and who they are.
/// Where there is none, the first that others hold at all: somebody may stand in line.
pub(crate) async fn held_by_others<'a>(
    client: &Client,
    names: &'a [String],
    mode: Mode,
) -> (&'a str, Vec<Holder>) {
    let mut shared_by_others = None;
    for name in names {
        let status = client.status(name).await.ok().flatten();
        let holders = status.map(|status| status.holders).unwrap_or_default();
        if holders.is_empty() || holders.iter().any(is_own) {
            continue;
        }
        if keep_out(&holders, mode) {
            return (name, holders);
        }
        shared_by_others.get_or_insert((name.as_str(), holders));
    }
    shared_by_others.unwrap_or((names.first().map_or("", String::as_str), Vec::new()))
}

/// Whether there is no room beside them for one who would hold it in that way.
fn keep_out(holders: &[Holder], mode: Mode) -> bool {
    match mode {
        Mode::Counted { permits } => u32::try_from(holders.len()).is_ok_and(|held| held >= permits),
        _ => holders.iter().any(|holder| holder.mode != mode || !mode.is_shared()),
    }
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
