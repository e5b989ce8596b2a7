//! `break`: take a lock from whoever holds it.

use std::io::Write;

use leasehold::Client;

use crate::exit::{self, Failure};
use crate::show;

pub(crate) async fn evict(client: &Client, name: &str, yes: bool) -> Result<u8, Failure> {
    if !yes && !crate::can_ask() {
        return Err(Failure::usage(format!(
            "break stops what runs under {name:?}, and there is no terminal to ask on; pass --yes \
             if that is what you want"
        )));
    }
    let holder = client.status(name).await?.and_then(|status| show::held_by(&status.holders));
    if let Some(holder) = holder.as_ref().filter(|_| !yes)
        && !confirm(&format!("Break {name:?}, {holder}?"))?
    {
        return Ok(exit::NOT_BROKEN);
    }
    let broken = client.break_lock(name).await?;
    client.close().await;
    match broken {
        true => {
            let holder = holder.map(|holder| format!(", {holder}")).unwrap_or_default();
            crate::print(&format!("broke {name:?}{holder}\n"))
        }
        false => {
            crate::print(&format!("nobody holds {name:?}\n"))?;
            Ok(exit::NOT_BROKEN)
        }
    }
}

fn confirm(question: &str) -> Result<bool, Failure> {
    let unreadable = |e| Failure::system("cannot ask", &e);
    let mut out = std::io::stderr().lock();
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).map_err(unreadable)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(unreadable)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
