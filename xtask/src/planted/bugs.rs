//! The bugs: where each is planted, and what is wrong then.

/// Text of one file, and what it is replaced by.
pub(super) struct Bug {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) healthy: &'static str,
    pub(super) broken: &'static str,
}

/// What the simulation must catch.
pub(super) const BUGS: &[Bug] = &[
    Bug {
        name: "the deadline counts from the reply",
        file: "engine/acquire.rs",
        healthy: "        let answer = answer?;
        match answer {",
        broken: "        let answer = answer?;
        let sent = engine.runtime.now();
        match answer {",
    },
    Bug {
        name: "no margin for clocks that drift",
        file: "time.rs",
        healthy: "    span / 50 + Duration::from_millis(5)",
        broken: "    span * 0",
    },
    Bug {
        name: "a renewal answered after the deadline counts",
        file: "engine/keeper.rs",
        healthy: "Renewal::Kept if now < hold.deadline() => {",
        broken: "Renewal::Kept if now < hold.deadline() + hold.held.ttl * 9 => {",
    },
    Bug {
        name: "validity does not look at the clock",
        file: "engine/hold.rs",
        healthy: "!self.is_over() && now < self.deadline()",
        broken: "!self.is_over() && now > Instant::from_nanos(0)",
    },
    Bug {
        name: "nobody is told of an expiry",
        file: "engine/hold.rs",
        healthy: "let is_first = self.end.set(end).is_ok();",
        broken: "let (_, is_first) = (end, false);",
    },
    Bug {
        name: "a released lease is still renewed",
        file: "engine/release.rs",
        healthy: "            self.keeper.remove(hold);
            let unfinished",
        broken: "            let unfinished",
    },
    Bug {
        name: "a cancelled claim is not withdrawn",
        file: "engine/acquire.rs",
        healthy: "            self.engine.withdraw_in_background(claim);",
        broken: "            drop(claim);",
    },
    Bug {
        name: "a waiter that leaves does not wake the next",
        file: "engine/line.rs",
        healthy: "            if was_head {
                line.ring(now);
            }",
        broken: "            let _ = (was_head, now);",
    },
    Bug {
        name: "a release wakes nobody",
        file: "backend/memory.rs",
        healthy: "        self.server.pass_on(&mut state, &held.name, now);",
        broken: "",
    },
    Bug {
        name: "a waiter relies on wake-ups alone",
        file: "engine/acquire.rs",
        healthy: "() = self.engine.runtime.sleep(pause) => {}",
        broken: "() = std::future::pending::<()>(), if pause > Duration::ZERO => {}
                () = self.engine.runtime.sleep(pause), if pause.is_zero() => {}",
    },
    Bug {
        name: "the server grants a claim that was withdrawn",
        file: "backend/memory.rs",
        healthy: "match self.retired.contains(claim.owner) {",
        broken: "match false {",
    },
    Bug {
        name: "the server lets anybody release",
        file: "backend/record.rs",
        healthy: "        self.tenants.retain(|tenant| tenant.owner != owner);",
        broken: "        let _ = (owner, self.tenants.pop());",
    },
    Bug {
        name: "the fence is the clock alone",
        file: "backend/record.rs",
        healthy: "self.fence = (self.fence + 1).max(now.wall_micros);",
        broken: "self.fence = now.wall_micros;",
    },
    Bug {
        name: "one more than the permits shares",
        file: "backend/record.rs",
        healthy: "self.tenants.len() < permits as usize",
        broken: "self.tenants.len() <= permits as usize",
    },
    Bug {
        name: "a permit's slot shares its fence with the last",
        file: "backend/record.rs",
        healthy: "if to.mode != Mode::Shared || self.tenants.is_empty() {",
        broken: "if self.tenants.is_empty() {",
    },
    Bug {
        name: "a shared turn has the fence of the writer before it",
        file: "backend/record.rs",
        healthy: "if to.mode != Mode::Shared || self.tenants.is_empty() {",
        broken: "if to.mode != Mode::Shared {",
    },
    Bug {
        name: "a reader from before a writer passes",
        file: "backend/record.rs",
        healthy: "if to.mode != Mode::Shared || self.tenants.is_empty() {",
        broken: "if to.mode != Mode::Exclusive && self.tenants.is_empty() || self.fence == 0 {",
    },
    Bug {
        name: "a queued writer is passed for ever",
        file: "backend/record.rs",
        healthy: "if ahead == 0 && self.has_room(claim.mode) {",
        broken: "if (ahead == 0 || claim.mode == Mode::Shared) && self.has_room(claim.mode) {",
    },
    Bug {
        name: "a rest is half as long",
        file: "backend/record.rs",
        healthy: "(tenant.since, tenant.expires) = (now, now + rest.lasts);",
        broken: "(tenant.since, tenant.expires) = (now, now + rest.lasts / 2);",
    },
    Bug {
        name: "a ticket is good for whoever comes",
        file: "backend/record.rs",
        healthy: "let Some(tenant) = self.tenant(from) else { return false };",
        broken: "let Some(tenant) = self.tenants.first_mut().filter(|_| from != to.owner) else { return false };",
    },
    Bug {
        name: "a body works on beyond its term",
        file: "election.rs",
        healthy: "_ = term.lost() => None,",
        broken: "_ = async { term.lost().await; std::future::pending::<()>().await } => None,",
    },
    Bug {
        name: "an exclusive one is let in beside those who share",
        file: "backend/record.rs",
        healthy: "Mode::Exclusive => false,",
        broken: "Mode::Exclusive => self.tenants.iter().all(|t| t.mode == Mode::Shared),",
    },
    Bug {
        name: "a grant that is over already is believed",
        file: "engine/acquire.rs",
        healthy: "if grant.fence > busy.fence && is_enough {",
        broken: "if grant.fence > 0 && is_enough {",
    },
    Bug {
        name: "a lease handed on counts from its arrival",
        file: "engine/acquire.rs",
        healthy: "Start::handed_on(plan, busy.asked, ",
        broken: "Start::handed_on(plan, now, ",
    },
    Bug {
        name: "a quorum is less than a majority",
        file: "backend/quorum/tally.rs",
        healthy: "self.heard.len() / 2 + 1",
        broken: "self.heard.len() / 2",
    },
    Bug {
        name: "a server with two names has two votes",
        file: "backend/quorum/round.rs",
        healthy: "state.answered_by() == Some(server)",
        broken: "state.answered_by() == Some(server) && self.nodes.is_empty()",
    },
    Bug {
        name: "a node grants a ballot twice",
        file: "backend/quorum/slot.rs",
        healthy: "if ask.ballot <= above {",
        broken: "if ask.ballot < above {",
    },
    Bug {
        name: "a node that lost its data votes at once",
        file: "backend/quorum/memory.rs",
        healthy: "until: now + quarantine.as_micros() as u64",
        broken: "until: now + quarantine.as_micros() as u64 * 0",
    },
    Bug {
        name: "a lease that was released is taken in again",
        file: "backend/quorum/slot.rs",
        healthy: "if !open || vow.ballot <= self.freed || self.turn.is_alive() {",
        broken: "if !open || self.turn.is_alive() {",
    },
    Bug {
        name: "a ballot that was given back is granted",
        file: "backend/quorum/slot.rs",
        healthy: "self.stored = self.stored.max(back.ballot);",
        broken: "",
    },
    Bug {
        name: "a late return takes away a later vote",
        file: "backend/quorum/slot.rs",
        healthy: " && t.ballot <= back.ballot",
        broken: "",
    },
    Bug {
        name: "a node whose clock is behind keeps the line",
        file: "backend/quorum/mod.rs",
        healthy: " && self.ballots.is_in_step(node, now)",
        broken: "",
    },
    Bug {
        name: "a withdrawal gives back nothing",
        file: "backend/quorum/mod.rs",
        healthy: "        let debt = Debt { back, until: self.attempts.end(self.runtime.now(), claim.ttl) };",
        broken: "        let debt = Debt { back, until: self.attempts.end(self.runtime.now(), claim.ttl) };
        if debt.back.ballot > 0 {
            return Ok(());
        }",
    },
    Bug {
        name: "a node wakes nobody",
        file: "backend/quorum/memory.rs",
        healthy: "        state.wake_next(&back.name);",
        broken: "",
    },
    Bug {
        name: "a node lets anybody give back",
        file: "backend/quorum/slot.rs",
        healthy: "t.owner == back.owner && t.ballot",
        broken: "t.ballot",
    },
    Bug {
        name: "a node never takes a lease in",
        file: "backend/quorum/slot.rs",
        healthy: "if !open || vow.ballot <= self.freed || self.turn.is_alive() {",
        broken: "if open || vow.ballot <= self.freed || self.turn.is_alive() {",
    },
    Bug {
        name: "a new connection to etcd watches nothing",
        file: "backend/etcd/mod.rs",
        healthy: "                    self.watch_anew();",
        broken: "",
    },
    Bug {
        name: "a line in etcd is not looked at",
        file: "backend/etcd/claim.rs",
        healthy: "Some(Stands::Behind(before)) => Ok(self.behind(place, &before, done.revision)),",
        broken: "Some(Stands::Behind(_)) => Ok(self.granted(place, &session, done.revision)),",
    },
    Bug {
        name: "whoever comes to etcd takes the lock",
        file: "backend/etcd/claim.rs",
        healthy: "vec![Condition::Absent(Keys::Under(self.line.clone())), self.not_refused()],
            then: vec![self.put(&home, \"held\"), read_oldest(self.line.clone())],",
        broken: "vec![no_key(self.key.clone()), self.not_refused()],
            then: vec![self.put(&home, \"held\"), read_newest(self.line.clone(), None, 1)],",
    },
    Bug {
        name: "a lease in an old session is counted as a new one",
        file: "backend/etcd/sessions.rs",
        healthy: "began: sent.since(self.alive_since)",
        broken: "began: sent.since(sent)",
    },
    Bug {
        name: "a claim that etcd may get late is not kept out",
        file: "backend/etcd/release.rs",
        healthy: "        then.push(Step::Put { key, value, session: Some(session) });",
        broken: "        let _ = (key, value, session);",
    },
    Bug {
        name: "a claim does not look whether it is kept out of etcd",
        file: "backend/etcd/claim.rs",
        healthy: "vec![no_key(self.key.clone()), self.not_refused(), nobody_counts]",
        broken: "vec![no_key(self.key.clone()), nobody_counts]",
    },
    Bug {
        name: "nobody waits for what is on its way to etcd",
        file: "backend/etcd/places.rs",
        healthy: "Some(requests) if requests.under_way > 0 => None,",
        broken: "Some(requests) if requests.under_way > 0 => {
                self.settle(owner);
                Some(Left::Nothing)
            }",
    },
    Bug {
        name: "a key in etcd has a new owner before the last is deleted",
        file: "backend/etcd/places.rs",
        healthy: "                    self.send(owner);
",
        broken: "",
    },
    Bug {
        name: "a key in etcd that may be made late is used again",
        file: "backend/etcd/places.rs",
        healthy: "state.slots.give_up(owner);
        state.requests",
        broken: "state.slots.give_back(owner);
        state.requests",
    },
    Bug {
        name: "who waits behind its own client's debts does not pay them",
        file: "backend/etcd/claim.rs",
        healthy: "        self.etcd.pay_debts().await;",
        broken: "",
    },
    Bug {
        name: "a claim goes on in etcd after its withdrawal",
        file: "backend/etcd/mod.rs",
        healthy: "        self.places.retire(claim.owner, &claim.name, self.now());",
        broken: "",
    },
];

/// What the run against real servers must catch, each in the parts that have these words in
/// their name: weather is not replayed, so a bug is here only if it shows in seconds.
pub(super) const SOAK_BUGS: &[(&str, Bug)] = &[
    (
        "redis that keeps",
        Bug {
            name: "a real server lets anybody release",
            file: "backend/redis/lua/release_last.lua",
            healthy: "if not holder or string.sub(holder, 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then return {0, 0, 0} end",
            broken: "",
        },
    ),
    (
        "etcd of",
        Bug {
            name: "a line in a real cluster is not looked at",
            file: "backend/etcd/claim.rs",
            healthy: "Some(Stands::Behind(before)) => Ok(self.behind(place, &before, done.revision)),",
            broken: "Some(Stands::Behind(_)) => Ok(self.granted(place, &session, done.revision)),",
        },
    ),
    (
        "clock",
        Bug {
            name: "the register does not look at fences",
            file: "../../tests/src/register.rs",
            healthy: "if fence < seen.fence {",
            broken: "if fence < 1 {",
        },
    ),
];
