//! One question to many nodes, and no waiting for more answers than it takes.
//!
//! Answers are counted by server and not by name: where two nodes' names lead
//! to one server, the second answer is an error.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::node::{ServerId, Signed};
use super::{LAG, Quorum};
use crate::error::{Error, Kind, Outcome};

/// A request under way.
pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<Signed<T>, Error>> + Send + 'a>>;

/// Node by node, what was asked and what was answered.
pub(crate) struct Round<'a, T> {
    nodes: Vec<State<'a, T>>,
}

enum State<'a, T> {
    Unasked,
    Asked(Asking<'a, T>),
    Answered(Option<ServerId>, Result<T, Error>),
}

impl<T> State<'_, T> {
    fn answered_by(&self) -> Option<ServerId> {
        match self {
            State::Answered(by, _) => *by,
            _ => None,
        }
    }
}

impl<'a, T> Round<'a, T> {
    pub(super) fn of(nodes: usize) -> Self {
        Self { nodes: (0..nodes).map(|_| State::Unasked).collect() }
    }

    /// Put a question to all of them.
    pub(crate) fn of_all(questions: impl Iterator<Item = Asking<'a, T>>) -> Self {
        Self { nodes: questions.map(State::Asked).collect() }
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Ask a node, for the first time or anew.
    pub(super) fn ask(&mut self, node: usize, asking: Asking<'a, T>) {
        self.nodes[node] = State::Asked(asking);
    }

    pub(super) fn is_asked(&self, node: usize) -> bool {
        !matches!(self.nodes[node], State::Unasked)
    }

    pub(super) fn answer(&self, node: usize) -> Option<&Result<T, Error>> {
        match &self.nodes[node] {
            State::Answered(_, answer) => Some(answer),
            _ => None,
        }
    }

    pub(crate) fn answers(&self) -> impl Iterator<Item = &T> {
        (0..self.nodes()).filter_map(|node| self.answer(node)?.as_ref().ok())
    }

    #[cfg(feature = "redis")]
    pub(crate) fn into_answers(self) -> Vec<Option<Result<T, Error>>> {
        let answer = |state| match state {
            State::Answered(_, answer) => Some(answer),
            _ => None,
        };
        self.nodes.into_iter().map(answer).collect()
    }

    /// How many may still answer.
    pub(super) fn open(&self) -> usize {
        self.nodes.iter().filter(|state| matches!(state, State::Asked(_))).count()
    }

    /// What a node was asked and has not answered.
    pub(super) fn take_open(&mut self, node: usize) -> Option<Asking<'a, T>> {
        match std::mem::replace(&mut self.nodes[node], State::Unasked) {
            State::Asked(asking) => Some(asking),
            other => {
                self.nodes[node] = other;
                None
            }
        }
    }

    /// Until there are `enough` answers, or all. Each is shown to `hear` when it
    /// comes.
    pub(crate) async fn until(
        &mut self,
        mut hear: impl FnMut(usize, &T),
        enough: impl Fn(&Self) -> bool,
    ) {
        poll_fn(|cx| {
            self.poll(cx, &mut hear);
            if self.open() == 0 || enough(self) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, hear: &mut impl FnMut(usize, &T)) {
        for node in 0..self.nodes.len() {
            let State::Asked(asking) = &mut self.nodes[node] else { continue };
            let Poll::Ready(answer) = asking.as_mut().poll(cx) else { continue };
            let (by, answer) = match answer {
                Ok(Signed { by, .. }) if self.has_answer_by(by) => (None, Err(twin())),
                Ok(Signed { by, said }) => {
                    hear(node, &said);
                    (Some(by), Ok(said))
                }
                Err(e) => (None, Err(e)),
            };
            self.nodes[node] = State::Answered(by, answer);
        }
    }

    fn has_answer_by(&self, server: ServerId) -> bool {
        self.nodes.iter().any(|state| state.answered_by() == Some(server))
    }
}

fn twin() -> Error {
    let why = "its name leads to the server of another node, which has answered already; \
               one server has one vote";
    // The name may lead elsewhere by the next time.
    Error::unavailable(why).with_outcome(Outcome::Unknown)
}

impl Quorum {
    /// The error for an operation that too few nodes have answered.
    pub(super) fn no_quorum<T>(&self, round: &Round<'_, T>) -> Error {
        let failures = self.nodes.iter().enumerate().filter_map(|(number, node)| {
            let name = node.describe();
            match round.answer(number) {
                Some(Ok(_)) => None,
                Some(Err(e)) => Some(format!("{name}: {e}")),
                None => Some(format!("{name}: no answer yet")),
            }
        });
        let failures = failures.collect::<Vec<_>>().join("; ");
        let (answered, all) = (round.answers().count(), self.nodes.len());
        let message = format!(
            "{answered} of {all} nodes answered, and it takes {}: {failures}",
            self.majority()
        );
        let refused = (0..all).filter_map(|node| round.answer(node)?.as_ref().err());
        // What no retry can mend is what the user is to see.
        let kinds: Vec<Kind> = refused.map(Error::kind).collect();
        let kind = kinds.into_iter().find(|kind| *kind != Kind::Unavailable);
        // Every node that was asked says that it was not reached.
        let is_unsent = |node| match round.answer(node) {
            Some(Err(e)) => e.outcome() == Outcome::NotHeld,
            Some(Ok(_)) => false,
            None => !round.is_asked(node),
        };
        let outcome = if (0..all).all(is_unsent) { Outcome::NotHeld } else { Outcome::Unknown };
        Error::new(kind.unwrap_or(Kind::Unavailable), message).with_outcome(outcome)
    }

    /// Ask all nodes, and wait until the answers are `enough` or all there; fails
    /// when a majority has not answered.
    pub(super) async fn ask_all<'a, T>(
        &self,
        mut round: Round<'a, T>,
        enough: impl Fn(&Round<'a, T>) -> bool,
    ) -> Result<Round<'a, T>, Error> {
        let majority = self.majority();
        let is_enough = |round: &Round<'a, T>| round.answers().count() >= majority && enough(round);
        round.until(|_, _| (), is_enough).await;
        match round.answers().count() >= majority {
            true => Ok(round),
            false => Err(self.no_quorum(&round)),
        }
    }

    /// The same, and all answers that come soon.
    pub(super) async fn ask_patiently<'a, T>(
        &self,
        mut round: Round<'a, T>,
    ) -> Result<Round<'a, T>, Error> {
        self.hear_soon(&mut round, |_| false).await;
        self.ask_all(round, |_| true).await
    }

    /// Wait for a majority, and a while for answers that are `enough`.
    pub(super) async fn hear_soon<'a, T>(
        &self,
        round: &mut Round<'a, T>,
        enough: impl Fn(&Round<'a, T>) -> bool,
    ) {
        let majority = self.majority();
        round.until(|_, _| (), |round| round.answers().count() >= majority).await;
        tokio::select! {
            biased;
            () = round.until(|_, _| (), enough) => {}
            () = self.runtime.sleep(LAG) => {}
        }
    }
}
