//! One run of a script.

use ::redis::{Arg, Cmd, Value};

use super::failure::Failure;
use super::keys::Keys;
use super::link::Link;
use super::scripts::Script;
use super::strange;
use crate::error::Error;

/// A script with its keys and arguments.
pub(super) struct Request<'a> {
    script: &'static Script,
    command: Cmd,
    /// The last argument, where it matters which server it is.
    identity: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(super) fn about(
        script: &'static Script,
        keys: &Keys,
        epoch: Option<(String, &'a str)>,
    ) -> Self {
        let mut all = vec![keys.lock.as_str(), &keys.side, &keys.line];
        let identity = epoch.as_ref().map(|(_, identity)| *identity);
        if let Some((key, _)) = &epoch {
            all.push(key);
        }
        Self { identity, ..Self::over(script, &all) }
    }

    pub(super) fn over(script: &'static Script, keys: &[impl AsRef<str>]) -> Self {
        let mut command = Cmd::with_capacity(keys.len() + 8, 512);
        command.arg("EVALSHA").arg(&script.hash).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        Self { script, command, identity: None }
    }

    pub(super) fn arg(mut self, argument: impl ::redis::ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// The same with the script itself, which the server then knows. It may be
    /// told to forget it at any moment, so loading it first is not enough.
    fn with_body(&self) -> Cmd {
        let mut eval = Cmd::new();
        eval.arg("EVAL").arg(&self.script.body);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                eval.arg(bytes);
            }
        }
        eval
    }

    /// Send it, and teach the server the script if it has forgotten it.
    pub(super) async fn send(mut self, link: &Link) -> Result<Value, Failure> {
        self.command.arg(self.identity);
        let mut answer = link.call(&self.command).await;
        if answer.as_ref().is_err_and(|failure| failure.code == "NOSCRIPT") {
            answer = link.call(&self.with_body()).await;
        }
        if answer.as_ref().is_err_and(Failure::is_about_the_server) {
            // Its name may lead to another server by now.
            link.shut("the server became a replica");
        }
        answer
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
