//! What is said to PostgreSQL in its own words.

pub(crate) use leasehold_tests::servers::{Postgres as Server, PostgresSettings as Settings};

pub(crate) const SCHEME: &str = "postgres";
pub(crate) const DATABASE: &str = "postgres";
/// A value of the option `table`, as messages show it.
pub(crate) const TABLE: &str = "table=schema.name";
/// What a server that wants a password says to who has none.
pub(crate) const NO_PASSWORD: &str = "password_file";
/// Not encrypted.
pub(crate) const PLAIN: &str = "sslmode=disable";
/// Whether the statement that takes a free lock makes its row.
pub(crate) const CLAIM_MAKES_ROW: bool = true;
/// Whether clients are told at once what others have done.
pub(crate) const TELLS: bool = true;
/// Whether a statement that hands a lock over does nothing in a table that was made anew.
pub(crate) const CHANGES_KNOW_THE_TABLE: bool = true;
/// What the guard of a lost lease says.
pub(crate) const LOST: &str = "the lease is lost, so this transaction must not commit";

/// For how many seconds it is held.
pub(crate) const SECONDS_LEFT: &str = "extract(epoch FROM expires - clock_timestamp())";
/// Whether it keeps out statements that come late.
pub(crate) const IS_CAREFUL: &str = "careful > clock_timestamp()";
/// Put somebody unknown in the place of the first who waits for `x`.
pub(crate) const REPLACE_FIRST: &str = "UPDATE leasehold SET line = jsonb_set(line, '{0,owner}', \
    '\"000000000000000000000000000000aa\"'), version = version + 1 WHERE name = 'x'";
/// Who asks by [`claim`] and [`take`].
pub(crate) const LATE: &str = "0000000000000000000000000000beef";
pub(crate) const LOCK_TABLE: &str = "BEGIN; LOCK TABLE leasehold";
pub(crate) const UNLOCK_TABLE: &str = "COMMIT";
/// A time at which a lease ends that is held now.
pub(crate) const LATER: &str = "clock_timestamp() + interval '1 minute'";
/// A time at which a lease has ended.
pub(crate) const BEFORE: &str = "clock_timestamp() - interval '1 second'";
/// The column `number` with 1 to 3000.
pub(crate) const NUMBERS: &str = "generate_series(1, 3000) AS numbers (number)";
/// Have a session read texts in another way than it usually does.
pub(crate) const READ_TEXTS_ODDLY: &str = "SET standard_conforming_strings = off";
/// How much was written to the log.
pub(crate) const WRITTEN: &str = "SELECT pg_current_wal_insert_lsn()";
/// How many sessions ann has, which are named `jobs`.
pub(crate) const SESSIONS_OF_ANN: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ann' AND application_name = 'jobs'";

/// A server that asks ann for her password.
pub(crate) fn asks_ann_for_a_password() -> Settings {
    Settings::default().host("host all ann 127.0.0.1/32 scram-sha-256")
}

pub(crate) fn set_password(user: &str, password: &str) -> String {
    format!("ALTER ROLE {user} PASSWORD '{password}'")
}

pub(crate) fn make_user(name: &str) -> String {
    format!("CREATE ROLE {name} LOGIN")
}

/// Let a user see whether there is a table.
pub(crate) fn let_look(user: &str) -> String {
    format!("GRANT USAGE ON SCHEMA public TO {user}")
}

/// A URL by which sessions have the name `jobs`.
pub(crate) fn named_jobs(url: &str) -> String {
    format!("{url}&application_name=jobs")
}

/// Let a user do this with the table.
pub(crate) fn grant(rights: &str, user: &str) -> String {
    format!("GRANT {rights} ON leasehold TO {user}")
}

/// A URL of its socket, and a word that is in the name of a client of it.
pub(crate) fn socket_url(server: &Server) -> (String, &'static str) {
    // Its name has the port in it.
    let host = format!("{}:{}", server.socket_dir().display(), server.port());
    (format!("postgres:///postgres?user=rig&host={host}"), "s.PGSQL")
}

/// How many elements a column has.
pub(crate) fn length(column: &str) -> String {
    format!("jsonb_array_length({column})")
}

/// Change the row of `x` again and again, for seconds.
pub(crate) fn keep_changing(server: &Server) {
    server.talk().say(
        "DO $$ BEGIN FOR round IN 1..4000 LOOP \
         UPDATE leasehold SET version = version + 1 WHERE name = 'x'; COMMIT; \
         PERFORM pg_sleep(0.001); END LOOP; END $$",
    );
}

pub(crate) fn end_sessions(server: &Server) {
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'leasehold'",
    );
}

/// Carry out the statements that take a free lock, for `x`, as an earlier session would.
pub(crate) fn claim(server: &Server) {
    ask_for(server, include_str!("../../../core/src/backend/postgres/sql/claim.sql"));
    take(server);
}

/// The shorter one of them; answers what it says, which is nothing if it takes nothing.
pub(crate) fn take(server: &Server) -> String {
    ask_for(server, include_str!("../../../core/src/backend/postgres/sql/take.sql"))
}

fn ask_for(server: &Server, claim: &str) -> String {
    let id = server.sql("SELECT label FROM leasehold WHERE name = ''");
    let said = server.sql(&format!(
        "PREPARE claim (text, text, bigint, bigint, text, text) AS {}; \
         EXECUTE claim ('x', '{LATE}', 60000000, 0, '', '{id}')",
        statement(claim)
    ));
    said.replace("PREPARE", "").trim().to_owned()
}

/// As it is said to the usual table.
pub(crate) fn statement(sql: &str) -> String {
    sql.replace("$table", "leasehold")
}

#[track_caller]
pub(crate) fn check_that_nothing_deadlocked(server: &Server) {
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
    assert_eq!(server.sql(deadlocks), "0");
    let log = server.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
