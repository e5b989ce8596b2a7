//! A pooler between the clients and the server.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::Kind;
use leasehold::backend::{Backend, Postgres as Client};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::testing::Stage;
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::{PgBouncer, Postgres, PostgresSettings};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A pooler that has this many sessions on the server.
struct Pooled {
    place: Place,
    pooler: PgBouncer,
}

impl Pooled {
    fn by(mode: &str, sessions: usize) -> Self {
        Self::on(PostgresSettings::default(), mode, sessions)
    }

    fn on(settings: PostgresSettings, mode: &str, sessions: usize) -> Self {
        let place = Place::on(settings);
        let pooler = PgBouncer::before(&place.server, mode, sessions);
        Self { place, pooler }
    }

    fn url(&self) -> String {
        self.pooler.url(&self.place.server, &self.place.server.url())
    }

    /// The same, and where the server itself is.
    fn url_and_server(&self) -> String {
        format!("{}&{}", self.url(), listening_at(&self.place.server))
    }
}

/// That notifications are heard on the server itself.
fn listening_at(server: &Postgres) -> String {
    format!("listen={}", server.url().replace('?', "%3F"))
}

/// The public conformance suite, by a pooler.
struct OnPooler {
    url: String,
    runtime: Arc<ThreadRuntime>,
}

impl OnPooler {
    fn new() -> Self {
        static SERVER: OnceLock<(Postgres, PgBouncer)> = OnceLock::new();
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let (server, pooler) = SERVER.get_or_init(|| {
            let server = PostgresSettings::default().start();
            let pooler = PgBouncer::before(&server, "transaction", 4);
            (server, pooler)
        });
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let url = format!(
            "{}&table=stage{number}&{}",
            pooler.url(server, &server.url()),
            listening_at(server)
        );
        Self { url, runtime: ThreadRuntime::start().expect("a thread") }
    }
}

#[async_trait::async_trait]
impl Stage for OnPooler {
    async fn client(&self) -> Arc<dyn Backend> {
        let client = Client::connect(&self.url, self.runtime.clone()).await;
        Arc::new(client.expect("a connection"))
    }

    async fn pass(&self, span: Duration) {
        self.runtime.sleep(span).await;
    }
}

leasehold::conformance_tests!(OnPooler::new());
leasehold::sharing_tests!(OnPooler::new());
leasehold::counting_tests!(OnPooler::new());
leasehold::handing_tests!(OnPooler::new());

#[test]
fn what_a_pooler_shares_is_left_as_it_was() {
    let pooled = Pooled::by("transaction", 1);
    let settings = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings \
                    WHERE name IN ('statement_timeout', 'enable_seqscan', 'jit', \
                    'plan_cache_mode', 'synchronous_commit', 'default_transaction_isolation')";
    let before = pooled.pooler.sql(settings);
    let client = pooled.place.client_of(&pooled.url());
    let lease = pooled.place.hold(&client, "x");
    pooled.place.wait(lease.renew()).unwrap();
    pooled.place.wait(lease.release()).unwrap();
    // It is the one session that the client's requests were on.
    assert_eq!(pooled.pooler.sql(settings), before);
    let kept = "SELECT (SELECT count(*) FROM pg_prepared_statements), \
                (SELECT count(*) FROM pg_listening_channels())";
    assert_eq!(pooled.pooler.sql(kept), "0|0");
}

#[test]
fn conflicts_of_a_serializable_user_are_tried_again() {
    let pooled = Pooled::by("transaction", 8);
    let place = &pooled.place;
    let url = place.plain_user("ann");
    place.server.sql("ALTER ROLE ann SET default_transaction_isolation = 'serializable'");
    let client = place.client_of(&pooled.pooler.url(&place.server, &url));
    let lock = |name: &str| client.lock(name).ttl(LONG);
    let x = Arc::new(place.wait(lock("x").acquire()).unwrap());
    let y = Arc::new(place.wait(lock("y").shared().acquire()).unwrap());
    let mut rig = place.server.talk();
    // Somebody else changes a row that a statement of ours wants to change.
    let mut is_beaten = |name: &str, work: Work| {
        let beaten = || place.server.logged("could not serialize access");
        let before = beaten();
        rig.say(&format!("BEGIN; UPDATE leasehold SET since = since WHERE name = '{name}'"));
        let work = place.spawn(work);
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE usename = 'ann' AND wait_event_type = 'Lock'";
        let waits = || (place.server.sql(waiting) != "0" || work.is_finished()).then_some(());
        assert!(until(LIMIT, waits).is_some());
        rig.say("COMMIT");
        place.wait(work).unwrap();
        assert!(beaten() > before, "nobody was");
    };
    let (alone, shares) = (x.clone(), y.clone());
    is_beaten("x", Box::pin(async move { alone.renew().await.unwrap() }));
    is_beaten("y", Box::pin(async move { shares.renew().await.unwrap() }));
    is_beaten("x", Box::pin(async move { x.release().await.unwrap() }));
    let joins = lock("y").shared();
    is_beaten(
        "y",
        Box::pin(async move { joins.acquire().await.unwrap().release().await.unwrap() }),
    );
    place.wait(y.release()).unwrap();
}

#[test]
fn a_commit_waits_for_the_disk_behind_a_pooler_too() {
    let settings = PostgresSettings::default().config("wal_writer_delay", "10s");
    let pooled = Pooled::on(settings, "transaction", 8);
    let place = &pooled.place;
    let url = place.plain_user("ann");
    place.server.sql("ALTER ROLE ann SET synchronous_commit = off");
    let client = place.client_of(&pooled.pooler.url(&place.server, &url));
    // What is not committed to the disk stays in memory for a while, and is lost with it.
    place.pass(SECOND / 5);
    let lock = |name: &str| client.lock(name).ttl(LONG);
    let alone = place.hold(&client, "x");
    let shares = place.wait(lock("y").shared().acquire()).unwrap();
    place.server.restart();
    let other = place.client();
    for (lease, name) in [(alone, "x"), (shares, "y")] {
        assert!(place.try_hold(&other, name).is_none(), "it was forgotten");
        assert!(until(LIMIT, || place.wait(lease.renew()).ok()).is_some());
    }
}

#[test]
fn who_waits_behind_a_pooler_asks_again_or_hears_the_server_itself() {
    let pooled = Pooled::by("transaction", 4);
    let place = &pooled.place;
    let (a, b) = (place.client_of(&pooled.url()), place.client_of(&pooled.url()));
    let told = b.caveats().join("\n");
    assert!(told.contains("listen=postgres://"), "{told}");
    let (lease, waiter) = (place.hold(&a, "x"), place.stand_in_line(&b, "x"));
    let (lease, took) = place.hand_over(lease, waiter);
    assert!(took < 2 * SECOND, "{took:?}");
    place.wait(lease.release()).unwrap();
    let c = place.client_of(&pooled.url_and_server());
    assert_eq!(c.caveats().len(), 1, "only of fsync: {:?}", c.caveats());
    for round in 0..5 {
        let name = format!("y{round}");
        let (lease, waiter) = (place.hold(&a, &name), place.stand_in_line(&c, &name));
        let (_, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT, "{took:?}");
    }
    // In session mode the pooler delivers what is told.
    let pooler = PgBouncer::before(&place.server, "session", 8);
    let d = place.client_of(&pooler.url(&place.server, &place.server.url()));
    assert_eq!(d.caveats().len(), 1, "only of fsync: {:?}", d.caveats());
    let (lease, waiter) = (place.hold(&a, "z"), place.stand_in_line(&d, "z"));
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
}

#[test]
fn what_is_heard_is_the_same_database() {
    let pooled = Pooled::by("transaction", 4);
    let other = PostgresSettings::default().start();
    leasehold::block_on(leasehold::connect(&other.url())).unwrap();
    let url = format!("{}&{}", pooled.url(), listening_at(&other));
    let error = pooled.place.no_client_of(&url);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("another database"), "{error}");
}

#[test]
fn leases_and_waits_outlive_a_pooler_that_is_restarted() {
    const TTL: Duration = Duration::from_secs(3);
    let pooled = Pooled::by("transaction", 4);
    let place = &pooled.place;
    // By the pooler alone, and with an ear on the server.
    let ways = [("x", pooled.url()), ("y", pooled.url_and_server())];
    let ways = ways.map(|(name, url)| (name, place.client_of(&url), place.client_of(&url)));
    let strikes: [&dyn Fn(); 4] = [
        &|| pooled.pooler.order("RECONNECT"),
        &|| ["KILL postgres", "RESUME postgres"].iter().for_each(|o| pooled.pooler.order(o)),
        &|| pooled.pooler.restart(),
        &|| place.server.restart(),
    ];
    for strike in strikes {
        let held = ways.each_ref().map(|(name, holder, waiter)| {
            let lease = place.wait(holder.lock(*name).ttl(TTL).acquire()).unwrap();
            (lease, place.stand_in_line(waiter, name))
        });
        strike();
        place.pass(TTL);
        for (lease, waiter) in held {
            assert!(lease.is_valid(), "lost: {:?}", lease.loss());
            let (next, took) = place.hand_over(lease, waiter);
            assert!(took < TTL, "{took:?}");
            place.wait(next.release()).unwrap();
        }
    }
}
