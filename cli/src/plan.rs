//! The locks of a command, as its options say.

use std::time::Duration;

use leasehold::{Client, Locks, Once};

use crate::args::Run;
use crate::exit::Failure;

/// The locks that the command runs under.
pub(crate) fn locks(client: &Client, args: &Run) -> Locks {
    let mut lock = client.locks(args.names.all());
    if args.shared {
        lock = lock.shared();
    }
    if let Some(permits) = args.permits {
        lock = lock.permits(permits);
    }
    if let Some(delay) = args.delay {
        lock = lock.delay(delay);
    }
    if let Some(ttl) = args.ttl {
        lock = lock.ttl(ttl);
    }
    if let Some(wait) = args.wait {
        lock = lock.wait(wait.unwrap_or(Duration::MAX));
    }
    if let Some(max_hold) = args.max_hold {
        lock = lock.max_hold(max_hold);
    }
    if let Some(min_hold) = args.min_hold {
        lock = lock.min_hold(min_hold);
    }
    if let Some(label) = &args.label {
        lock = lock.label(label);
    }
    lock
}

/// The same of a command that is run once per interval or slot.
pub(crate) fn once(client: &Client, args: &Run) -> Result<Once, Failure> {
    let names: Vec<&str> = args.names.all().collect();
    let [name] = names[..] else {
        return Err(Failure::usage("--every and --slot are for one name, not for several"));
    };
    let mut once = client.once(name);
    if let Some(every) = args.every {
        once = once.every(every);
    }
    if let Some(slot) = &args.slot {
        once = once.slot(slot);
    }
    if let Some(delay) = args.delay {
        once = once.delay(delay);
    }
    if let Some(ttl) = args.ttl {
        once = once.ttl(ttl);
    }
    if let Some(max_hold) = args.max_hold {
        once = once.max_hold(max_hold);
    }
    if let Some(label) = &args.label {
        once = once.label(label);
    }
    Ok(once)
}
