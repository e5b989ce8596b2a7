//! `ls --deadlocks`: who waits for whom in a circle.

use leasehold::{Client, Deadlock, Wait};
use serde::Serialize;

use crate::exit::{self, Failure};
use crate::{list, show};

pub(crate) async fn list(client: &Client, json: bool) -> Result<u8, Failure> {
    let circles = client.deadlocks().await?;
    client.close().await;
    if json {
        let rows: Vec<Circle<'_>> = circles.iter().map(Circle::of).collect();
        return list::print_json(&rows);
    }
    if circles.is_empty() {
        crate::say("nobody waits in a circle");
        return Ok(exit::OK);
    }
    crate::print(&circles.iter().map(text).collect::<Vec<_>>().join("\n"))
}

/// One circle as JSON.
#[derive(Serialize)]
struct Circle<'a> {
    waits: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    waiter: &'a str,
    lock: &'a str,
    holder: &'a str,
}

impl<'a> Circle<'a> {
    fn of(circle: &'a Deadlock) -> Self {
        let row = |wait: &'a Wait| {
            let (waiter, lock, holder) = (&*wait.waiter, wait.lock.as_str(), &*wait.holder);
            Row { waiter, lock, holder }
        };
        Self { waits: circle.waits.iter().map(row).collect() }
    }
}

fn text(circle: &Deadlock) -> String {
    let head = "a deadlock, if each of these processes does one thing at a time:\n";
    let line = |wait: &Wait| {
        let (waiter, holder) = (show::text(&wait.waiter), show::text(&wait.holder));
        format!("  {waiter} waits for {}, held by {holder}\n", show::text(wait.lock.as_str()))
    };
    circle.waits.iter().fold(head.to_owned(), |text, wait| text + &line(wait))
}
