//! `leader`: who leads, now or from now on.

use std::time::Duration;

use leasehold::{Client, Kind, Leader};
use serde::Serialize;

use crate::exit::{self, Failure};
use crate::show;

pub(crate) async fn leader(
    client: &Client,
    name: &str,
    is_followed: bool,
    json: bool,
) -> Result<u8, Failure> {
    let election = client.election(name);
    if !is_followed {
        let leader = election.leader().await?;
        client.close().await;
        return match leader {
            None if !json => Ok(exit::NO_LEADER),
            leader => {
                crate::print(&line(leader.as_ref(), json)?)?;
                Ok(if leader.is_some() { exit::OK } else { exit::NO_LEADER })
            }
        };
    }
    let leaders = election.observe();
    loop {
        match leaders.next().await {
            // Whoever reads it has seen enough.
            Ok(leader) if !crate::write(&line(leader.as_ref(), json)?)? => return Ok(exit::OK),
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Unavailable => {
                crate::say(&format!("who leads is not known: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is printed of a leader; nobody is an empty line, and null.
fn line(leader: Option<&Leader>, json: bool) -> Result<String, Failure> {
    let text = match (leader, json) {
        (leader, true) => serde_json::to_string(&leader.map(Row::of))
            .map_err(|e| Failure::new(exit::INTERNAL, e.to_string()))?,
        // Who shows nothing is named all the same.
        (Some(leader), false) if leader.value.is_empty() => show::text(&leader.label),
        (Some(leader), false) => show::text(&leader.value),
        (None, false) => String::new(),
    };
    Ok(format!("{text}\n"))
}

#[derive(Serialize)]
struct Row<'a> {
    value: &'a str,
    term: u64,
    holder: &'a str,
    held_for_ms: u64,
    remaining_ms: u64,
}

impl<'a> Row<'a> {
    fn of(leader: &'a Leader) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            value: &leader.value,
            term: leader.term,
            holder: &leader.label,
            held_for_ms: millis(leader.held_for),
            remaining_ms: millis(leader.free_in),
        }
    }
}
