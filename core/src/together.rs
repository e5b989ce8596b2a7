//! Several things at once, in the task of whoever waits for all of them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Begin all in their order, and wait for all; what they come to, in their order.
pub(crate) async fn together<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    poll_fn(|context| {
        let mut is_done = true;
        for (one, done) in &mut all {
            if done.is_none() {
                match Pin::new(one).poll(context) {
                    Poll::Ready(answer) => *done = Some(answer),
                    Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}
