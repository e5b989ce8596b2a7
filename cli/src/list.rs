//! `ls`: the locks that are held or waited for.

use std::io::IsTerminal;
use std::time::Duration;

use leasehold::backend::Mode;
use leasehold::{Client, Holder, Status};
use serde::Serialize;

use crate::exit::{self, Failure};
use crate::show;

pub(crate) async fn list(client: &Client, json: bool) -> Result<u8, Failure> {
    let locks = client.list().await?;
    client.close().await;
    if json {
        let rows: Vec<Row<'_>> = locks.iter().map(Row::of).collect();
        return print_json(&rows);
    }
    if locks.is_empty() {
        // For a person; a script sees an empty table.
        if std::io::stdout().is_terminal() {
            crate::say("no lock is held or waited for");
        }
        return Ok(exit::OK);
    }
    crate::print(&table(&locks))
}

pub(crate) fn print_json(rows: &impl Serialize) -> Result<u8, Failure> {
    let text = serde_json::to_string_pretty(rows);
    let text = text.map_err(|e| Failure::new(exit::INTERNAL, e.to_string()))?;
    crate::print(&format!("{text}\n"))
}

/// One lock as JSON. The holder's fields are those of the first, and null when only waiters
/// are there.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    holder: Option<&'a str>,
    fence: u64,
    held_for_ms: Option<u64>,
    remaining_ms: Option<u64>,
    holders: Vec<Held<'a>>,
    waiters: Vec<&'a str>,
}

/// One, or one of those who share the lock.
#[derive(Clone, Copy, Serialize)]
struct Held<'a> {
    label: &'a str,
    mode: &'static str,
    slot: Option<u32>,
    fence: u64,
    held_for_ms: u64,
    remaining_ms: u64,
    resting: bool,
}

impl<'a> Held<'a> {
    fn of(holder: &'a Holder) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            label: &holder.label,
            mode: holder.mode.name(),
            slot: holder.permit(),
            fence: holder.fence,
            held_for_ms: millis(holder.held_for),
            remaining_ms: millis(holder.free_in),
            resting: holder.resting,
        }
    }
}

impl<'a> Row<'a> {
    fn of(status: &'a Status) -> Self {
        let holders: Vec<Held<'a>> = status.holders.iter().map(Held::of).collect();
        let first = holders.first().copied();
        Self {
            name: status.name.as_str(),
            holder: first.map(|holder| holder.label),
            fence: status.fence,
            held_for_ms: first.map(|holder| holder.held_for_ms),
            remaining_ms: first.map(|holder| holder.remaining_ms),
            holders,
            waiters: status.waiters.iter().map(|label| &**label).collect(),
        }
    }
}

const HEADS: [&str; 7] = ["NAME", "HOLDER", "KIND", "FENCE", "HELD", "REMAINING", "WAITERS"];

/// A line for each holder, or for a lock that is only waited for.
fn table(locks: &[Status]) -> String {
    let mut rows = vec![HEADS.map(str::to_owned)];
    for status in locks {
        let holders: Vec<Option<&Holder>> = match status.holders.is_empty() {
            true => vec![None],
            false => status.holders.iter().map(Some).collect(),
        };
        rows.extend(holders.into_iter().map(|holder| row(status, holder)));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; HEADS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(status: &Status, holder: Option<&Holder>) -> [String; HEADS.len()] {
    let (label, kind, held, remaining) = match holder {
        Some(it) => {
            (show::text(&it.label), kind(it), show::span(it.held_for), show::span(it.free_in))
        }
        None => ("-".into(), "-".into(), "-".into(), "-".into()),
    };
    // Each permit has a fence of its own.
    let fence = holder.map_or(status.fence, |holder| holder.fence);
    let fence = if fence == 0 { "-".into() } else { fence.to_string() };
    let waiters = status.waiters.len().to_string();
    [show::text(status.name.as_str()), label, kind, fence, held, remaining, waiters]
}

fn kind(holder: &Holder) -> String {
    match holder.mode {
        _ if holder.resting => "resting".to_owned(),
        // Counted as people do nowhere else: as LEASEHOLD_SLOT says it.
        Mode::Counted { permits } => format!("slot {} of {permits}", holder.slot),
        mode => mode.name().to_owned(),
    }
}
