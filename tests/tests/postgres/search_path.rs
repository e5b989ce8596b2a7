//! What somebody else has made is not run by our statements, wherever names are looked for.

use crate::dialect::statement;
use crate::place::{LONG, PROMPT, Place};
use leasehold::Client;

/// Of what somebody else has made where a name may be looked for, nothing is run.
#[test]
fn what_others_make_in_the_search_path_is_never_run() {
    let place = Place::new();
    let url = place.plain_user("ann");
    place.server.sql(
        "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO ann; \
         ALTER ROLE ann SET search_path = evil, pg_catalog",
    );
    place.server.sql(
        "CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql \
         AS 'SELECT ''2040-01-01''::timestamptz'; \
         CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql \
         AS 'SELECT NULL::void'; \
         CREATE FUNCTION evil.differs(text, text) RETURNS boolean LANGUAGE sql \
         AS 'SELECT false'; \
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.differs)",
    );
    hostile_operators(&place);
    let holder = place.client();
    let (a, b) = (place.client_of(&url), place.client_of(&url));
    let (shared, counted) =
        (|c: &Client| c.lock("s").shared(), |c: &Client| c.lock("p").permits(1));
    for (lock, other) in [
        (holder.lock("x"), a.lock("x")),
        (shared(&holder), a.lock("s")),
        (counted(&holder), counted(&a)),
    ] {
        let lease = place.wait(lock.ttl(LONG).acquire()).unwrap();
        let second = place.wait(other.ttl(LONG).try_acquire()).unwrap();
        assert!(second.is_none(), "a second holder");
        place.wait(lease.renew()).unwrap();
        place.wait(lease.release()).unwrap();
    }
    let lease = place.hold(&a, "x");
    assert!(place.try_hold(&holder, "x").is_none(), "a second holder");
    let waiter = place.stand_in_line(&b, "x");
    let (next, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
    place.wait(next.release()).unwrap();
    assert_eq!(place.server.sql("SELECT count(*) FROM ran"), "0");
}

/// A pooler may have a session carry out our statements that knows nothing of our settings.
#[test]
fn statements_mean_the_same_in_a_session_without_our_settings() {
    let place = Place::new();
    let client = place.client();
    hostile_operators(&place);
    let (owner, next) =
        ("'0000000000000000000000000000beef'", "'0000000000000000000000000000feed'");
    let waits = "'[{\"owner\": \"0000000000000000000000000000beef\", \"client\": \"7\", \
                 \"until\": 4000000000000000000}]'";
    let share = |owner: &str| {
        format!(
            "{{\"owner\": \"{}\", \"client\": 7, \"label\": \"\", \"mode\": 0, \"fence\": 1, \
             \"slot\": 0, \"since\": 1000, \"expires\": 4000000000000000000}}",
            owner.trim_matches('\'')
        )
    };
    place.server.sql(&format!(
        "INSERT INTO leasehold (name, version, fence, owner, client, expires, line, sharers) VALUES \
         ('s', 1, 1, {owner}, 7, now() + interval '1 minute', {waits}, '[{}, {}]')",
        share(owner),
        share(next)
    ));
    macro_rules! sql {
        ($name:literal) => {
            statement(include_str!(concat!(
                "../../../core/src/backend/postgres/sql/",
                $name,
                ".sql"
            )))
        };
    }
    let row = format!("1, {owner}, 7, '', now(), now() + interval '1 minute', {waits}, NULL");
    let row_types = "bigint, text, bigint, text, timestamptz, timestamptz, text, text";
    for (sql, types, with) in [
        (
            sql!("insert"),
            format!("text, bigint, {row_types}, bigint, text"),
            format!("'x', 0, {row}, NULL, $id"),
        ),
        (
            sql!("renew"),
            "text[], text[], bigint[]".into(),
            format!("'{{x}}', ARRAY[{owner}], '{{60000000}}'"),
        ),
        (
            sql!("renew_shares"),
            "text[], text[], bigint[]".into(),
            format!("'{{s}}', ARRAY[{owner}], '{{60000000}}'"),
        ),
        (sql!("release_share"), "text, text".into(), format!("'s', {owner}")),
        (sql!("around"), "text".into(), "'s'".into()),
        (sql!("release"), "text, text".into(), format!("'x', {owner}")),
        (
            sql!("claim"),
            "text, text, bigint, bigint, text, text".into(),
            format!("'x', {owner}, 60000000, 7, '', $id"),
        ),
        (
            sql!("take"),
            "text, text, bigint, bigint, text, text".into(),
            format!("'x', {owner}, 60000000, 7, '', $id"),
        ),
        (
            sql!("hand_over"),
            "text, text, text, bigint, bigint, text, text".into(),
            format!("'x', {owner}, {next}, 60000000, 7, '', $id"),
        ),
        (
            sql!("claim"),
            "text, text, bigint, bigint, text, text".into(),
            format!("'new', {owner}, 60000000, 7, '', $id"),
        ),
        (
            sql!("change"),
            format!("text, bigint, {row_types}, bigint, text, text[], bool"),
            format!("'x', $version, {row}, 5, $id, '{{leasehold_7}}', true"),
        ),
        (sql!("read"), "text".into(), "'x'".into()),
        (sql!("read_many"), "text[]".into(), "NULL".into()),
        (sql!("read_old"), "text, bigint".into(), "'', 9".into()),
        (sql!("server"), "text".into(), "'leasehold'".into()),
        (sql!("about"), "text".into(), "'leasehold'".into()),
        (sql!("settings"), "text".into(), "'1000'".into()),
    ] {
        let with = with.replace("$id", &format!("'{}'", place.column("", "label")));
        let with = with.replace("$version", &place.column("x", "version"));
        place.server.sql(&format!("PREPARE said ({types}) AS {sql}; EXECUTE said ({with})"));
    }
    assert_eq!(place.server.sql("SELECT count(*) FROM ran"), "0");
    assert_eq!(place.column("s", "sharers -> 0 ->> 'owner'::text"), next.trim_matches('\''));
    drop(client);
}

/// A guard runs in a session of the user's.
#[test]
fn a_guard_runs_nothing_that_others_have_made() {
    let place = Place::new();
    let client = place.client();
    hostile_operators(&place);
    place.server.sql(
        "CREATE FUNCTION public.convert_from(bytea, text) RETURNS text LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NULL; END'; \
         CREATE FUNCTION public.decode(text, name) RETURNS bytea LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NULL; END'",
    );
    let shared = place.wait(client.lock("s").shared().ttl(LONG).acquire()).unwrap();
    for lease in [place.hold(&client, "x"), shared] {
        let mut work = place.server.talk();
        for path in ["public, pg_catalog", "DEFAULT"] {
            work.say(&format!("SET search_path TO {path}"));
            assert_eq!(work.say(&lease.guard().unwrap()), "1", "{path}");
        }
    }
    assert_eq!(place.server.sql("SELECT count(*) FROM ran"), "0");
}

/// Operators that fit better than those of the server where an operand would have to be cast.
fn hostile_operators(place: &Place) {
    place.server.sql("CREATE TABLE ran (who text); GRANT INSERT ON ran TO PUBLIC");
    for (number, (operator, left, right, result)) in [
        ("*", "bigint", "interval", "interval"),
        ("*", "numeric", "integer", "numeric"),
        ("*", "double precision", "integer", "double precision"),
        ("->>", "jsonb", "jsonb", "text"),
        ("->", "jsonb", "jsonb", "jsonb"),
        (">", "numeric", "double precision", "boolean"),
        ("*", "numeric", "bigint", "numeric"),
        ("||", "text", "bigint", "text"),
        ("=", "text", "name", "boolean"),
        ("+", "bigint", "numeric", "bigint"),
        (">", "numeric", "bigint", "boolean"),
        ("/", "numeric", "integer", "numeric"),
        (">", "bigint", "integer", "boolean"),
    ]
    .into_iter()
    .enumerate()
    {
        let arguments = format!("{left}, {right}");
        place.server.sql(&format!(
            "CREATE FUNCTION public.hostile{number}({arguments}) RETURNS {result} LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NULL; END'; \
             CREATE OPERATOR public.{operator} \
             (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.hostile{number})"
        ));
    }
}
