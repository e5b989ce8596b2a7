//! Bugs that were made elsewhere or nearly here, planted one at a time into a
//! copy of the core. A simulation, or a run against real servers, that does not
//! catch each of them proves nothing when it passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

struct Bug {
    name: &'static str,
    file: &'static str,
    healthy: &'static str,
    broken: &'static str,
}

const BUGS: &[Bug] = &[
    Bug {
        name: "the deadline counts from the reply",
        file: "engine/acquire.rs",
        healthy: "        self.set_trouble(None);
        match answer {",
        broken: "        self.set_trouble(None);
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
        healthy: "self.end.get().is_none() && now < self.deadline()",
        broken: "self.end.get().is_none() && now > Instant::from_nanos(0)",
    },
    Bug {
        name: "nobody is told of an expiry",
        file: "engine/keeper.rs",
        healthy: "hold.lose_and(loss, || self.lines.vacate(&hold.held.name, hold.held.owner, 0));",
        broken: "let _ = loss;\n        self.lines.vacate(&hold.held.name, hold.held.owner, 0);",
    },
    Bug {
        name: "a released lease is still renewed",
        file: "engine/release.rs",
        healthy: "        self.keeper.remove(hold);
        hold.end_by_release();",
        broken: "        hold.end_by_release();",
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
        healthy: "        change(line);
        line.ring();",
        broken: "        change(line);",
    },
    Bug {
        name: "a release wakes nobody",
        file: "backend/memory.rs",
        healthy: "        self.server.pass_on(&mut state, &held.name, now);",
        broken: "",
    },
    Bug {
        name: "a lease handed to a waiter that leaves is kept",
        file: "engine/acquire.rs",
        healthy: "            self.engine.release_in_background(hold);",
        broken: "            drop(hold);",
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
        healthy: "self.tenant.take_if(|tenant| tenant.owner == owner).is_some()",
        broken: "{ let _ = owner; self.tenant.take().is_some() }",
    },
    Bug {
        name: "the fence is the clock alone",
        file: "backend/record.rs",
        healthy: "self.fence = (self.fence + 1).max(now.wall_micros);",
        broken: "self.fence = now.wall_micros;",
    },
    Bug {
        name: "a grant that is over already is believed",
        file: "engine/acquire.rs",
        healthy: "if grant.fence > place.fence {",
        broken: "if grant.fence > 0 {",
    },
    Bug {
        name: "a lease handed on counts from its arrival",
        file: "engine/acquire.rs",
        healthy: "Start { since: place.asked, lasts",
        broken: "Start { since: now, lasts",
    },
    Bug {
        name: "a lock is handed on for longer than its ttl",
        file: "backend/record.rs",
        healthy: "first.ttl = first.ttl.min(window);",
        broken: "first.ttl = window;",
    },
    Bug {
        name: "a quorum is less than a majority",
        file: "backend/quorum/tally.rs",
        healthy: "self.heard.len() / 2 + 1",
        broken: "self.heard.len() / 2",
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
        healthy: "if !open || vow.ballot <= self.freed {",
        broken: "if !open {",
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
        healthy: "        // Also those that are slow.",
        broken: "        if back.ballot > 0 {
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
        healthy: "if !open || vow.ballot <= self.freed {",
        broken: "if open || vow.ballot <= self.freed {",
    },
];

/// What the run against real servers must catch, besides the first two above:
/// in the parts that have these words in their name.
const SOAK_BUGS: &[(&str, Bug)] = &[
    (
        "redis that keeps",
        Bug {
            name: "a real server lets anybody release",
            file: "backend/redis/lua/release.lua",
            healthy: "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 0, 0} end",
            broken: "",
        },
    ),
    (
        "redlock of 5",
        Bug {
            name: "a real node that lost its data has no quarantine",
            file: "backend/redis/lua/epoch.lua",
            healthy: "local ends = is_new and 0 or now + ARGV[1] * 1000",
            broken: "local ends = 0",
        },
    ),
    (
        "redlock of 3 that keep",
        Bug {
            name: "a real node lets anybody give back",
            file: "backend/redis/lua/give_back.lua",
            healthy: "local held = redis.call('GET', KEYS[1]) == owner",
            broken: "local held = true",
        },
    ),
    (
        "redlock of 3 that keep",
        Bug {
            name: "a vote less than a majority will do on real nodes",
            file: "backend/quorum/tally.rs",
            healthy: "self.heard.len() / 2 + 1",
            broken: "self.heard.len() / 2",
        },
    ),
    (
        "redlock of 3 whose",
        Bug {
            name: "a real node grants any ballot",
            file: "backend/redis/lua/ballot.lua",
            healthy: "\n  if ballot <= above then return {STALE, now, above} end",
            broken: "",
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

/// Plant all bugs whose name has `word` in it.
pub(crate) fn all_are_caught(root: &Path, word: &str) -> Result<(), Failure> {
    let copy = root.join("target/planted");
    let failed = |e: std::io::Error| format!("the workspace could not be copied: {e}");
    fs::create_dir_all(&copy).map_err(failed)?;
    for part in ["Cargo.toml", "Cargo.lock", "core", "cli", "tests", "xtask"] {
        copy_changed(&root.join(part), &copy.join(part)).map_err(failed)?;
    }
    let all = BUGS.iter().map(|bug| (bug, Check::Simulation));
    let real = BUGS[..2].iter().map(|bug| (bug, Check::Soak("redis that keeps")));
    let real = real.chain(SOAK_BUGS.iter().map(|(part, bug)| (bug, Check::Soak(part))));
    let mut caught_so_far = 0;
    for (bug, check) in all.chain(real).filter(|(bug, _)| bug.name.contains(word)) {
        let file = copy.join("core/src").join(bug.file);
        let source = fs::read_to_string(&file).map_err(failed)?;
        if source.matches(bug.healthy).count() != 1 {
            let what = "its healthy code must stand exactly once there; bring xtask up to date";
            return Err(format!("cannot plant {:?} in {}: {what}", bug.name, bug.file));
        }
        fs::write(&file, source.replace(bug.healthy, bug.broken)).map_err(failed)?;
        let caught = check.run(root, &copy);
        fs::write(&file, source).map_err(failed)?;
        match caught {
            Ok(how) => {
                caught_so_far += 1;
                println!("caught: {}: {how}", bug.name);
            }
            Err(said) => {
                return Err(format!("a planted bug was missed: {}\n{said}", bug.name));
            }
        }
    }
    println!("planted: {caught_so_far} passed, 0 failed");
    Ok(())
}

/// What is to catch a bug.
#[derive(Clone, Copy)]
enum Check {
    Simulation,
    /// The parts of it that have these words in their name.
    Soak(&'static str),
}

impl Check {
    /// Tells how the bug was caught, or what was said instead.
    fn run(self, root: &Path, copy: &Path) -> Result<String, Failure> {
        match self {
            Self::Simulation => test(root, copy, "simulation", "", "seed "),
            Self::Soak(part) => {
                let soak = || test(root, copy, "soak", part, "soak: broken");
                // Real weather is not replayed: some of it may miss what the next shows.
                soak().or_else(|_| soak()).or_else(|_| soak())
            }
        }
    }
}

/// Tells which line of the test's output has the sign.
fn test(root: &Path, copy: &Path, test: &str, part: &str, sign: &str) -> Result<String, Failure> {
    // Not where the healthy tree is built: cargo takes the copy's crates for the
    // tree's own, and would test a bug there afterwards.
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let output = Command::new("cargo")
        .args(["test", "-p", "leasehold-tests", "--test", test])
        // It is built once for each bug, and the model is not asked.
        .args(["--config", "profile.dev.package.leasehold-tests.opt-level=0"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target.join("planted-build"))
        .env("LEASEHOLD_SEEDS", "3000")
        .env("LEASEHOLD_SOAK", part)
        .output()
        .map_err(|e| format!("cargo could not be started: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let caught = said.lines().find(|line| line.starts_with(sign));
    let all = || format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    caught.map(str::to_owned).ok_or_else(all)
}

/// Copy what differs; what cargo has built of the rest stays fresh.
fn copy_changed(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_changed(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let content = fs::read(from)?;
    if fs::read(to).ok().as_ref() != Some(&content) {
        fs::write(to, content)?;
    }
    Ok(())
}
