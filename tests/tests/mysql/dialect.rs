//! What is said to MariaDB in its own words.

use crate::place::SECOND;
use leasehold_tests::patience::now;
pub(crate) use leasehold_tests::servers::{Mysql as Server, MysqlSettings as Settings};

pub(crate) const SCHEME: &str = "mysql";
pub(crate) const DATABASE: &str = "jobs";
/// A value of the option `table`, as messages show it.
pub(crate) const TABLE: &str = "table=database.name";
/// What a server that wants a password says to who has none.
pub(crate) const NO_PASSWORD: &str = "does not accept";
/// Not encrypted. A server that does not speak first is not waited for.
pub(crate) const PLAIN: &str = "sslmode=disable&connect_timeout=300ms";
/// Whether the statement that takes a free lock makes its row.
pub(crate) const CLAIM_MAKES_ROW: bool = false;
/// Whether clients are told at once what others have done.
pub(crate) const TELLS: bool = false;
/// Whether a statement that hands a lock over does nothing in a table that was made anew.
/// If not, what it took there is given back.
pub(crate) const CHANGES_KNOW_THE_TABLE: bool = false;
/// What the guard of a lost lease says.
pub(crate) const LOST: &str = "lease_is_lost_so_this_transaction_must_not_commit";

/// For how many seconds it is held.
pub(crate) const SECONDS_LEFT: &str = "expires / 1000000 - UNIX_TIMESTAMP(NOW(6))";
/// Whether it keeps out statements that come late.
pub(crate) const IS_CAREFUL: &str = "careful > UNIX_TIMESTAMP() * 1000000";
/// Put somebody unknown in the place of the first who waits for `x`.
pub(crate) const REPLACE_FIRST: &str = "UPDATE leasehold SET line = JSON_SET(line, '$[0].owner', \
    '000000000000000000000000000000aa'), version = version + 1 WHERE name = 'x'";
pub(crate) const LOCK_TABLE: &str = "LOCK TABLES leasehold WRITE";
pub(crate) const UNLOCK_TABLE: &str = "UNLOCK TABLES";
/// A time at which a lease ends that is held now.
pub(crate) const LATER: &str = "99999999999999999";
/// A time at which a lease has ended.
pub(crate) const BEFORE: &str = "1";
/// The column `number` with 1 to 3000.
pub(crate) const NUMBERS: &str = "(SELECT seq AS number FROM seq_1_to_3000) AS numbers";
/// Have a session read texts in another way than it usually does.
pub(crate) const READ_TEXTS_ODDLY: &str = "SET sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'";
/// How much was written to the log.
pub(crate) const WRITTEN: &str = "SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'";
/// How many sessions ann has.
pub(crate) const SESSIONS_OF_ANN: &str =
    "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'ann'";

/// A server that asks ann for her password.
pub(crate) fn asks_ann_for_a_password() -> Settings {
    Settings::default()
}

pub(crate) fn set_password(user: &str, password: &str) -> String {
    format!("SET PASSWORD FOR {user}@'%' = PASSWORD('{password}')")
}

pub(crate) fn make_user(name: &str) -> String {
    format!("CREATE USER {name}@'%'")
}

/// Let a user see whether there is a table.
pub(crate) fn let_look(user: &str) -> String {
    format!("GRANT SELECT ON jobs.* TO {user}@'%'")
}

/// Sessions have no names here.
pub(crate) fn named_jobs(url: &str) -> String {
    url.to_owned()
}

/// Let a user do this with the table.
pub(crate) fn grant(rights: &str, user: &str) -> String {
    format!("GRANT {rights} ON jobs.leasehold TO {user}@'%'")
}

/// A URL of its socket, and a word that is in the name of a client of it.
pub(crate) fn socket_url(server: &Server) -> (String, &'static str) {
    let socket = server.socket().display().to_string();
    (format!("mariadb://rig@localhost/jobs?socket={socket}"), "socket")
}

/// How many elements a column has.
pub(crate) fn length(column: &str) -> String {
    format!("JSON_LENGTH({column})")
}

/// Change the row of `x` again and again, for seconds.
pub(crate) fn keep_changing(server: &Server) {
    let mut busy = server.talk();
    let began = now();
    while began.elapsed() < 5 * SECOND {
        busy.say("UPDATE leasehold SET version = version + 1 WHERE name = 'x'");
    }
}

pub(crate) fn end_sessions(server: &Server) {
    let ours = "SELECT id FROM information_schema.processlist \
                WHERE user IN ('rig', 'ann') AND db = 'jobs' AND id <> CONNECTION_ID()";
    for id in server.sql(ours).lines() {
        // It may have ended by itself.
        drop(server.try_sql(&format!("KILL CONNECTION {id}")));
    }
}

/// Carry out the statement that takes a free lock, for `x`, as an earlier session would.
pub(crate) fn claim(server: &Server) {
    server.sql(&statement(include_str!("../../../core/src/backend/mysql/sql/claim.sql")));
}

/// As it is said to the usual table, for the lock `x`.
fn statement(sql: &str) -> String {
    let now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";
    sql.replace("$table", "leasehold")
        .replace("$now", now)
        .replace("$name", "'x'")
        .replace("$owner", "'0000000000000000000000000000beef'")
        .replace("$ttl", "60000000")
        .replace("$client", "0")
        .replace("$label", "''")
        .replace("$question", "0")
}

#[track_caller]
pub(crate) fn check_that_nothing_deadlocked(server: &Server) {
    let deadlocks = "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'";
    assert_eq!(server.sql(deadlocks), "Innodb_deadlocks\t0");
}
