//! The recipe of docs/database-guard.md, word for word.

pub(crate) async fn charge(
    client: &mut tokio_postgres::Client,
    lease: &leasehold::Lease,
) -> Result<(), Box<dyn std::error::Error>> {
    let work = client.transaction().await?;
    work.batch_execute("UPDATE accounts SET balance = balance - 10 WHERE id = 1").await?;
    work.batch_execute(&lease.guard()?).await?;
    work.commit().await?;
    Ok(())
}
