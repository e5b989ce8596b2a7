//! What many leases and many waiters of a client cost its other locks.

use std::sync::Arc;

use leasehold::backend::Memory;
use leasehold::time::SystemClock;
use leasehold::{Client, Options};

use super::{Clock, Failure, hand_overs, print_latencies, since};

const MANY: [usize; 3] = [0, 10_000, 100_000];
const TURNS: usize = 1000;

/// The hand-over of a lock beside leases and waiters of the same client.
pub(super) fn beside_a_crowd() -> Result<(), Failure> {
    for many in MANY {
        println!("hand-over between 2 tasks of one process that holds {many} other leases");
        let client = open(&Memory::new(Arc::new(SystemClock)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut leases = Vec::new();
        runtime.block_on(async {
            for number in 0..many {
                leases.push(client.lock(format!("held/{number}")).acquire().await?);
            }
            Ok::<_, leasehold::Error>(())
        })?;
        print_latencies("memory", &mut hand_overs(&client, 2, TURNS)?);
        runtime.block_on(client.close());
    }
    for many in MANY {
        println!("hand-over between 2 tasks of one process with {many} other waiters");
        let server = Memory::new(Arc::new(SystemClock));
        let (client, other) = (open(&server)?, open(&server)?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        let held = runtime.block_on(other.lock("crowded").acquire())?;
        let wait = |_| {
            let lock = client.lock("crowded");
            runtime.spawn(async move { drop(lock.acquire().await) })
        };
        let waiters: Vec<_> = (0..many).map(wait).collect();
        // Each has been polled when a task that was spawned after them has.
        runtime.block_on(async { runtime.spawn(async {}).await })?;
        print_latencies("memory", &mut hand_overs(&client, 2, TURNS)?);
        let start = SystemClock.now();
        waiters.iter().for_each(tokio::task::JoinHandle::abort);
        runtime.block_on(async {
            for waiter in waiters {
                drop(waiter.await);
            }
        });
        println!("  all of them cancelled in {:.1?}", since(start));
        runtime.block_on(async {
            held.release().await?;
            client.close().await;
            Ok::<_, leasehold::Error>(())
        })?;
    }
    Ok(())
}

fn open(server: &Memory) -> Result<Client, leasehold::Error> {
    Options::new().open(Arc::new(server.client()))
}
