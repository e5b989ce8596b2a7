//! What goes wrong between the workers and their server.

use std::time::Duration;

use crate::proxy::{Fault, Gate, Proxy};
use crate::servers::Server;

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climate {
    /// A server that dies comes back without its data.
    pub(super) loses_data: bool,
    /// Its wall clock jumps.
    pub(super) jumps: bool,
}

/// How often each thing happened.
pub(super) type Counts = std::collections::BTreeMap<&'static str, u32>;

/// One server's weather.
pub(super) struct Weather<'a> {
    /// The server.
    pub(super) server: &'a Server,
    /// Through which the workers reach it.
    pub(super) proxy: &'a Proxy,
    /// What may happen.
    pub(super) climate: Climate,
    /// What has happened.
    pub(super) counts: Counts,
}

impl Weather<'_> {
    /// One thing goes wrong, and is mended.
    pub(super) fn strike(&mut self, random: &mut fastrand::Rng, wait: impl Fn(Duration)) {
        let short = Duration::from_millis(random.u64(5..60));
        let long = Duration::from_millis(random.u64(50..900));
        let kinds = if self.climate.jumps { 16 } else { 11 };
        let what = match random.u32(..kinds) {
            0 => {
                self.proxy.cut();
                "cut"
            }
            1 => {
                self.proxy.refuse(true);
                self.proxy.cut();
                wait(long);
                self.proxy.refuse(false);
                "refused"
            }
            2 => self.one_command(Fault::LoseReply, "reply lost"),
            3 => self.one_command(Fault::Duplicate, "command doubled"),
            4 => self.one_command(Fault::CutBefore, "command lost"),
            5 => self.late_command(long, wait),
            6 => {
                self.proxy.delay_commands(short);
                wait(long);
                self.proxy.delay_commands(Duration::ZERO);
                "commands delayed"
            }
            7 => {
                self.proxy.stall_downstream(true);
                wait(long);
                self.proxy.stall_downstream(false);
                "replies stalled"
            }
            8 => {
                self.proxy.drop_pushes(true);
                wait(long);
                self.proxy.drop_pushes(false);
                "pushes lost"
            }
            9 => {
                self.server.freeze();
                wait(long);
                self.server.thaw();
                "server frozen"
            }
            10 => {
                self.server.kill();
                wait(short);
                match self.climate.loses_data {
                    true => self.server.restart_empty(),
                    false => self.server.restart(),
                }
                "server killed"
            }
            _ => {
                self.server.shift_clock(random.f64() * 6.0 - 3.0);
                "clock jumped"
            }
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn one_command(&self, fault: Fault, what: &'static str) -> &'static str {
        drop(self.proxy.next(|command| command[0] == b"EVALSHA", fault));
        what
    }

    /// A command gets to the server when its client has long had another connection.
    fn late_command(&self, long: Duration, wait: impl Fn(Duration)) -> &'static str {
        let gate = Gate::new();
        let what = self.one_command(Fault::Late(gate.clone()), "command late");
        wait(long);
        gate.open();
        what
    }
}
