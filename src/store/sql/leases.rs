//! Work that one replica does for all.

use super::Conn;
use crate::core::time::Time;
use crate::store::error::Doing;
use crate::store::{Lease, PreviousLease, Result};

pub(super) async fn acquire(
    conn: &mut Conn,
    name: &str,
    owner: &str,
    now: Time,
    until: Time,
) -> Result<Lease> {
    let before: Option<(String, i64)> =
        sqlx::query_as("SELECT owner, until FROM leases WHERE name = $1")
            .bind(name.to_owned())
            .fetch_optional(&mut *conn)
            .await
            .doing("look at a lease")?;
    let previous = match before {
        None => PreviousLease::Nobody,
        Some((holder, ends)) if holder == owner && ends > now.micros() => PreviousLease::Ourselves,
        Some((_, ends)) if ends > now.micros() => {
            return Ok(Lease::Taken { until: Time::from_micros(ends) });
        }
        Some((_, ends)) => PreviousLease::Other { until: Time::from_micros(ends) },
    };
    sqlx::query(
        "INSERT INTO leases (name, owner, until) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until",
    )
    .bind(name.to_owned())
    .bind(owner.to_owned())
    .bind(until.micros())
    .execute(conn)
    .await
    .doing("take a lease")?;
    Ok(Lease::Ours(previous))
}

pub(super) async fn release(conn: &mut Conn, name: &str, owner: &str, now: Time) -> Result<()> {
    sqlx::query("UPDATE leases SET until = $1 WHERE name = $2 AND owner = $3 AND until > $1")
        .bind(now.micros())
        .bind(name.to_owned())
        .bind(owner.to_owned())
        .execute(conn)
        .await
        .doing("give a lease back")
        .map(|_| ())
}
