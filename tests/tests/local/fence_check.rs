//! The check that the protected resource makes, in SQL.

use leasehold::Lease;
use rusqlite::{Connection, params};

/// A first operation of a holder, which raises the fence: reads included.
fn read(db: &Connection, lease: &Lease) -> rusqlite::Result<Option<i64>> {
    let sql = "UPDATE account SET fence = ?1 WHERE id = 1 AND fence <= ?1 RETURNING balance";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query([lease.fence() as i64])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

/// Whether it was accepted.
fn write(db: &Connection, lease: &Lease, balance: i64) -> rusqlite::Result<bool> {
    let sql = "UPDATE account SET balance = ?2, fence = ?1 WHERE id = 1 AND fence <= ?1";
    Ok(db.execute(sql, params![lease.fence() as i64, balance])? == 1)
}

#[tokio::test(flavor = "current_thread")]
async fn a_write_with_an_old_fence_changes_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, fence INTEGER NOT NULL);
         INSERT INTO account VALUES (1, 100, 0)",
    )?;
    let client = leasehold::connect("memory:").await?;
    let paused = client.lock("account/1").acquire().await?;
    assert_eq!(read(&db, &paused)?, Some(100));
    // It is taken for dead, and does not know.
    client.break_lock("account/1").await?;
    let next = client.lock("account/1").acquire().await?;
    assert_eq!(read(&db, &next)?, Some(100));
    assert!(!write(&db, &paused, 999)?, "the late write");
    assert_eq!(read(&db, &paused)?, None, "the late read");
    assert!(write(&db, &next, 150)?);
    assert_eq!(read(&db, &next)?, Some(150));
    Ok(())
}
