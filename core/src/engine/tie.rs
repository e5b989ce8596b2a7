//! Leases that are held together: the loss of one is the loss of all.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use super::{Engine, Hold, Loss};
use crate::error::{Error, Kind};

/// The leases of a group, or a single one.
#[derive(Debug)]
pub(crate) struct Tie {
    holds: Vec<Arc<Hold>>,
    /// Which of them was lost first.
    first: OnceLock<usize>,
}

type Ended<'a> = Pin<Box<dyn Future<Output = Option<Loss>> + Send + 'a>>;

impl Tie {
    pub(crate) fn of(holds: Vec<Arc<Hold>>) -> Arc<Self> {
        Arc::new(Self { holds, first: OnceLock::new() })
    }

    pub(crate) fn holds(&self) -> &[Arc<Hold>] {
        &self.holds
    }

    /// The lease that was lost first, and why.
    pub(crate) fn lost(&self) -> Option<(&Arc<Hold>, Loss)> {
        if self.first.get().is_none() {
            let at = self.holds.iter().position(|hold| hold.loss().is_some())?;
            self.first.get_or_init(|| at);
        }
        let hold = &self.holds[*self.first.get()?];
        Some((hold, hold.loss()?))
    }

    /// Ready when one is lost, or all are released.
    pub(crate) async fn ended(&self) -> Option<Loss> {
        if let [hold] = &*self.holds {
            return hold.ended().await;
        }
        let mut ends: Vec<Ended<'_>> =
            self.holds.iter().map(|hold| Box::pin(hold.ended()) as Ended<'_>).collect();
        std::future::poll_fn(|context| {
            let mut is_lost = false;
            ends.retain_mut(|ended| match ended.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(loss) => {
                    is_lost |= loss.is_some();
                    false
                }
            });
            if is_lost || ends.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.lost().map(|(_, loss)| loss)
    }
}

impl Engine {
    /// See that the loss of one is the loss of all.
    pub(crate) fn tie(self: &Arc<Self>, tie: Arc<Tie>) {
        let engine = self.clone();
        self.runtime.spawn(Box::pin(async move {
            let ended = tokio::select! {
                biased;
                () = engine.stopped() => return,
                ended = tie.ended() => ended,
            };
            if ended.is_some() {
                engine.end_together(&tie);
            }
        }));
    }

    /// If one was lost, all are from here on.
    pub(crate) fn end_together(self: &Arc<Self>, tie: &Tie) {
        if let Some((_, loss)) = tie.lost() {
            tie.holds().iter().for_each(|hold| self.lose_with_others(hold, loss));
        }
    }

    /// Another one of its group was lost. It is not renewed any more, and given back when
    /// its holder says that it has stopped, at its deadline at the latest.
    fn lose_with_others(self: &Arc<Self>, hold: &Arc<Hold>, loss: Loss) {
        if !hold.is_over() {
            hold.lose_with_others();
            self.keep_lost(hold);
            self.lose(hold, loss);
        }
    }

    /// The error for using a group after its end.
    pub(crate) fn over_together(&self, tie: &Tie) -> Error {
        let is_over = |hold: &&Arc<Hold>| !hold.is_valid(self.runtime.now());
        let ended = tie.lost().map(|(hold, _)| hold);
        let hold = ended.or_else(|| tie.holds().iter().find(is_over)).or(tie.holds().first());
        match hold {
            Some(hold) => self.over(hold),
            None => Error::new(Kind::Internal, "a group without a lease"),
        }
    }
}
