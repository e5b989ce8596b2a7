//! One run of a script.

use std::sync::Arc;

use ::redis::Value;

use super::command::{Command, Number, Word};
use super::failure::Failure;
use super::link::{Answering, Link};
use super::queue::{Expected, Repeat};
use super::scripts::Script;
use super::strange;
use crate::error::Error;

/// A script with its keys and arguments.
pub(super) struct Request<'a> {
    script: &'static Script,
    command: Command,
    /// The last argument, where it matters which server it is.
    identity: Option<&'a str>,
    is_owed: bool,
}

impl<'a> Request<'a> {
    /// `epoch`: the key of the record of which server it is, and what we take it for.
    pub(super) fn about(
        script: &'static Script,
        keys: &[impl Word + Copy],
        epoch: Option<(&str, &'a str)>,
    ) -> Self {
        let mut command = script.by_hash();
        command.add((keys.len() + usize::from(epoch.is_some())) as u64);
        keys.iter().for_each(|key| command.add(*key));
        command.add(epoch.map(|(key, _)| key));
        let identity = epoch.map(|(_, identity)| identity);
        Self { script, command, identity, is_owed: false }
    }

    pub(super) fn over(script: &'static Script, keys: &[impl Word + Copy]) -> Self {
        Self::about(script, keys, None)
    }

    pub(super) fn arg(mut self, argument: impl Word) -> Self {
        self.command.add(argument);
        self
    }

    /// It is to be carried out whether its answer is waited for or not, also if
    /// the server must be taught the script first. Not for one that asks for a
    /// lock: its owner may have left by then.
    pub(super) fn owed(mut self) -> Self {
        self.is_owed = true;
        self
    }

    /// Send it, and teach the server the script if it has forgotten it.
    pub(super) async fn send(self, link: &Arc<Link>) -> Result<Value, Failure> {
        Self::answer(self.begin(link), link).await
    }

    /// Put it on its way, and wait for nothing.
    pub(super) fn begin(mut self, link: &Arc<Link>) -> Result<Answering, Failure> {
        let number = self.finish(link);
        let repeat = Repeat { script: self.script, is_owed: self.is_owed };
        link.send(self.command, Expected::Number(number), Some(repeat))
    }

    pub(super) async fn answer(
        begun: Result<Answering, Failure>,
        link: &Arc<Link>,
    ) -> Result<Value, Failure> {
        let answer = match begun {
            Ok(answering) => answering.wait(link).await,
            Err(failure) => Err(failure),
        };
        if answer.as_ref().is_err_and(Failure::is_about_the_server) {
            // Its name may lead to another server by now.
            link.shut("the server became a replica");
        }
        answer
    }

    /// The same with the script itself, for one that the server is not asked often.
    pub(super) async fn send_whole(mut self, link: &Arc<Link>) -> Result<Value, Failure> {
        let number = self.finish(link);
        let whole = self.script.whole(&self.command);
        link.ask(whole, Expected::Number(number), None).await
    }

    fn finish(&mut self, link: &Arc<Link>) -> Number {
        let number = link.next_number();
        self.command.add(self.identity);
        self.command.add(number);
        number
    }
}

/// An answer that is a list of numbers.
pub(super) fn numbers(value: Value) -> Result<Vec<i64>, Error> {
    let Value::Array(values) = value else { return Err(strange(&value)) };
    let number = |value: &Value| match value {
        Value::Int(number) => Ok(*number),
        other => Err(strange(other)),
    };
    values.iter().map(number).collect()
}
