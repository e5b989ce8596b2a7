//! `ls`: the locks that are held or waited for.

use std::io::IsTerminal;
use std::time::Duration;

use leasehold::{Client, Status};
use serde::Serialize;

use crate::exit::{self, Failure};
use crate::show;

pub(crate) async fn list(client: &Client, json: bool) -> Result<u8, Failure> {
    let locks = client.list().await?;
    client.close().await;
    if json {
        let rows: Vec<Row<'_>> = locks.iter().map(Row::of).collect();
        let text = serde_json::to_string_pretty(&rows)
            .map_err(|e| Failure::new(exit::INTERNAL, e.to_string()))?;
        return crate::print(&format!("{text}\n"));
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

/// One lock as JSON. The holder's fields are null when only waiters are there.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    holder: Option<&'a str>,
    fence: u64,
    held_for_ms: Option<u64>,
    remaining_ms: Option<u64>,
    waiters: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn of(status: &'a Status) -> Self {
        let holder = status.holder();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: status.name.as_str(),
            holder: holder.map(|holder| &*holder.label),
            fence: status.fence,
            held_for_ms: holder.map(|holder| millis(holder.held_for)),
            remaining_ms: holder.map(|holder| millis(holder.free_in)),
            waiters: status.waiters.iter().map(|label| &**label).collect(),
        }
    }
}

fn table(locks: &[Status]) -> String {
    let heads = ["NAME", "HOLDER", "FENCE", "HELD", "REMAINING", "WAITERS"].map(str::to_owned);
    let mut rows = vec![heads];
    rows.extend(locks.iter().map(|status| {
        let (holder, held, remaining) = match status.holder() {
            Some(it) => (show::text(&it.label), show::span(it.held_for), show::span(it.free_in)),
            None => ("-".into(), "-".into(), "-".into()),
        };
        let (fence, waiters) = (status.fence.to_string(), status.waiters.len().to_string());
        [show::text(status.name.as_str()), holder, fence, held, remaining, waiters]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
