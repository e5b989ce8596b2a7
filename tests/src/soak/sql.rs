//! One SQL database, and what goes wrong in it and between it and the workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Counts, Failure, Ground, WORKERS, Weather, wait};
use crate::patience::{LIMIT, until};
use crate::proxy::Proxy;
use crate::servers::{Mysql, MysqlSettings, PgBouncer, Postgres, PostgresSettings};

/// The server's clock is that much faster than ours; 2 % are allowed for.
const FAST: f64 = 0.019;
const TICK: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(60);

/// What keeps the table.
enum Server {
    Postgres(Postgres),
    Mysql(Mysql),
}

/// Something that both servers do.
macro_rules! each {
    ($server:expr, $it:ident => $does:expr) => {
        match $server {
            Server::Postgres($it) => $does,
            Server::Mysql($it) => $does,
        }
    };
}

impl Server {
    fn port(&self) -> u16 {
        each!(self, server => server.port())
    }

    fn url(&self) -> String {
        each!(self, server => server.url())
    }

    /// It may fail, as all sessions are ended now and then.
    fn try_sql(&self, sql: &str) -> Result<String, String> {
        each!(self, server => server.try_sql(sql))
    }

    /// Of what the clients do, or of their sessions.
    fn end(&self, sessions: bool) {
        match self {
            Self::Postgres(server) => {
                let how = if sessions { "pg_terminate_backend" } else { "pg_cancel_backend" };
                let sql = format!(
                    "SELECT {how}(pid) FROM pg_stat_activity WHERE application_name = 'leasehold'"
                );
                drop(server.try_sql(&sql));
            }
            Self::Mysql(server) => {
                let how = if sessions { "CONNECTION" } else { "QUERY" };
                let all = "SELECT id FROM information_schema.processlist \
                           WHERE db = 'jobs' AND id <> CONNECTION_ID()";
                for id in server.try_sql(all).unwrap_or_default().lines() {
                    drop(server.try_sql(&format!("KILL {how} {id}")));
                }
            }
        }
    }

    /// All rows are somebody else's for a while, or the whole table is.
    fn keep(&self, table: bool, span: Duration) {
        let seconds = span.as_secs_f64();
        let sql = match (self, table) {
            (Self::Postgres(_), true) => {
                format!("BEGIN; LOCK TABLE leasehold; SELECT pg_sleep({seconds}); COMMIT")
            }
            (Self::Postgres(_), false) => format!(
                "BEGIN; SELECT FROM leasehold FOR UPDATE; SELECT pg_sleep({seconds}); COMMIT"
            ),
            (Self::Mysql(_), true) => {
                format!("LOCK TABLES leasehold WRITE; SELECT SLEEP({seconds}); UNLOCK TABLES")
            }
            (Self::Mysql(_), false) => format!(
                "BEGIN; SELECT name FROM leasehold FOR UPDATE; SELECT SLEEP({seconds}); COMMIT"
            ),
        };
        drop(self.try_sql(&sql));
    }

    /// How many rows somebody holds or waits for.
    fn in_use(&self) -> Result<String, String> {
        let now = match self {
            Self::Postgres(_) => "clock_timestamp()",
            Self::Mysql(_) => "UNIX_TIMESTAMP(NOW(6)) * 1000000",
        };
        self.try_sql(&format!(
            "SELECT count(*) FROM leasehold WHERE name <> '' AND (line IS NOT NULL \
             OR owner IS NOT NULL AND owner <> repeat('0', 32) AND expires > {now})"
        ))
    }
}

/// The server, and the way that each worker has to it.
pub(super) struct Database {
    server: Server,
    /// Some ways lead through it.
    pooler: Option<PgBouncer>,
    ways: Vec<Proxy>,
}

impl Database {
    pub(super) fn postgres(is_pooled: bool) -> Self {
        let server = PostgresSettings::default().shifted_clock().start();
        let pooler = is_pooled.then(|| PgBouncer::before(&server, "transaction", 4));
        Self::reached(Server::Postgres(server), pooler)
    }

    pub(super) fn mysql() -> Self {
        Self::reached(Server::Mysql(MysqlSettings::default().shifted_clock().start()), None)
    }

    /// Every other worker is led through the pooler.
    fn reached(server: Server, pooler: Option<PgBouncer>) -> Self {
        let way = |number| match &pooler {
            Some(pooler) if number % 2 == 0 => Proxy::of_bytes(pooler.port()),
            _ => Proxy::of_bytes(server.port()),
        };
        let ways = (0..WORKERS).map(way).collect();
        Self { server, pooler, ways }
    }
}

impl Ground for Database {
    fn urls(&self) -> Vec<String> {
        let (url, port) = (self.server.url(), format!(":{}/", self.server.port()));
        let by = |way: &Proxy| url.replace(&port, &format!(":{}/", way.port()));
        self.ways.iter().map(by).collect()
    }

    fn weather<'a>(&'a self, _: &mut fastrand::Rng) -> Box<dyn Weather + 'a> {
        Box::new(DatabaseWeather { database: self, counts: Counts::new() })
    }

    /// The clock runs fast, and answers slow down and come fast again within the life of a
    /// lease: who counts from an answer is wrong by that much.
    fn pass_time(&self, ended: &AtomicBool) {
        for tick in 0.. {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            for (number, way) in self.ways.iter().enumerate() {
                let tick = tick + 12 * number;
                if tick % 35 == 0 {
                    way.delay_replies(if tick % 70 == 0 { SLOW } else { Duration::ZERO });
                }
            }
            wait(TICK);
            each!(&self.server, server => server.shift_clock(TICK.as_secs_f64() * FAST));
        }
    }

    fn nothing_stays(&self) -> Result<(), Failure> {
        let free = || (self.server.in_use().ok()? == "0").then_some(());
        match until(LIMIT, free) {
            Some(()) => Ok(()),
            None => Err(format!("rows that stay in use: {:?}", self.server.in_use()).into()),
        }
    }
}

struct DatabaseWeather<'a> {
    database: &'a Database,
    counts: Counts,
}

impl Weather for DatabaseWeather<'_> {
    fn strike(&mut self, random: &mut fastrand::Rng) {
        let what = match random.u32(..8) {
            0..4 => self.hinder(random),
            4..7 => self.strike_server(random),
            _ => self.strike_pooler(random),
        };
        *self.counts.entry(what).or_default() += 1;
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl DatabaseWeather<'_> {
    /// Of one worker mostly, or of all.
    fn some_ways(&self, random: &mut fastrand::Rng) -> &[Proxy] {
        let worker = random.usize(..WORKERS);
        match random.u32(..4) {
            0 => &self.database.ways,
            _ => &self.database.ways[worker..=worker],
        }
    }

    /// Some ways are bad for a while.
    fn hinder(&self, random: &mut fastrand::Rng) -> &'static str {
        let ways = self.some_ways(random);
        let late = Duration::from_millis(random.u64(20..600));
        let span = Duration::from_millis(random.u64(50..1200));
        let each = |act: &dyn Fn(&Proxy)| ways.iter().for_each(act);
        match random.u32(..5) {
            0 => {
                each(&Proxy::cut);
                "cut"
            }
            1 => {
                each(&|way| way.refuse(true));
                each(&Proxy::cut);
                wait(span);
                each(&|way| way.refuse(false));
                "refused"
            }
            2 => {
                each(&|way| way.delay_commands(late));
                wait(span);
                each(&|way| way.delay_commands(Duration::ZERO));
                "requests delayed"
            }
            up_or_down => {
                let stall = |on| match up_or_down {
                    3 => each(&|way| way.stall_upstream(on)),
                    _ => each(&|way| way.stall_downstream(on)),
                };
                stall(true);
                wait(span);
                if random.bool() {
                    each(&Proxy::cut);
                }
                stall(false);
                if up_or_down == 3 { "requests stalled" } else { "answers stalled" }
            }
        }
    }

    fn strike_server(&self, random: &mut fastrand::Rng) -> &'static str {
        let server = &self.database.server;
        let span = Duration::from_millis(random.u64(50..1200));
        match random.u32(..9) {
            0 | 1 => {
                each!(server, server => {
                    server.kill();
                    wait(span / 4);
                    server.restart();
                });
                "server killed"
            }
            2 => {
                each!(server, server => server.freeze());
                wait(span);
                each!(server, server => server.thaw());
                "server frozen"
            }
            // What it has got already, it does when nobody listens any more.
            3 | 4 => {
                each!(server, server => server.freeze());
                wait(span);
                self.database.ways.iter().for_each(Proxy::cut);
                wait(span / 2);
                each!(server, server => server.thaw());
                "requests late"
            }
            kind @ (5 | 6) => {
                server.end(kind == 5);
                if kind == 5 { "sessions ended" } else { "statements cancelled" }
            }
            kind => {
                server.keep(kind == 7, span);
                if kind == 7 { "table locked" } else { "rows locked" }
            }
        }
    }

    fn strike_pooler(&self, random: &mut fastrand::Rng) -> &'static str {
        let Some(pooler) = &self.database.pooler else { return self.hinder(random) };
        match random.u32(..3) {
            0 => {
                pooler.kill();
                wait(Duration::from_millis(random.u64(50..600)));
                pooler.restart();
                "pooler killed"
            }
            1 => {
                ["KILL postgres", "RESUME postgres"].iter().for_each(|order| pooler.order(order));
                "pool ended"
            }
            _ => {
                pooler.order("RECONNECT");
                "pool renewed"
            }
        }
    }
}
