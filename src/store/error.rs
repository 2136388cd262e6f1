//! What can go wrong with the database.

use std::fmt;

/// A use case of the store did not happen; nothing of it was written.
#[derive(Debug)]
pub struct StoreError {
    doing: &'static str,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("the database did not do it")]
    Database(#[source] sqlx::Error),
    #[error("the migrations could not be applied")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error("{table}.{column} holds {value:?}, which no version of this program writes")]
    Inconsistent { table: &'static str, column: &'static str, value: String },
    #[error("{0}")]
    Refused(String),
    #[error("the database did not answer in time")]
    Silent,
}

/// SQLSTATEs that say nothing about what was to be written: no connection, no room for one, a lock
/// not had, a stop of the server, a transaction ended from outside (PostgreSQL, appendix A).
const OUTAGES: [&str; 6] = ["08", "25P0", "40", "53300", "55P03", "57"];

impl StoreError {
    /// The database failed while doing this.
    pub(crate) const fn database(doing: &'static str, source: sqlx::Error) -> Self {
        Self { doing, cause: Cause::Database(source) }
    }

    /// A migration failed.
    pub(crate) const fn migration(
        doing: &'static str,
        source: sqlx::migrate::MigrateError,
    ) -> Self {
        Self { doing, cause: Cause::Migration(source) }
    }

    /// A stored value is not one of ours.
    pub(crate) fn inconsistent(table: &'static str, column: &'static str, value: &str) -> Self {
        let value = value.chars().take(64).collect();
        Self { doing: "read a row", cause: Cause::Inconsistent { table, column, value } }
    }

    /// The database said nothing within the time of a use case.
    pub(crate) const fn silent(doing: &'static str) -> Self {
        Self { doing, cause: Cause::Silent }
    }

    /// Whether nothing could be written at this moment, whatever it was.
    pub fn is_outage(&self) -> bool {
        match &self.cause {
            Cause::Silent => true,
            Cause::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| OUTAGES.iter().any(|class| code.starts_with(class)))
            }
            Cause::Database(error) => matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
            Cause::Migration(_) | Cause::Inconsistent { .. } | Cause::Refused(_) => false,
        }
    }

    /// Whether it would fail again the same way: a constraint forbids it, the database cannot hold
    /// a value, or a row is not ours.
    pub fn is_contradiction(&self) -> bool {
        match &self.cause {
            Cause::Database(sqlx::Error::Database(error)) => {
                !matches!(error.kind(), sqlx::error::ErrorKind::Other)
                    || error.code().is_some_and(|code| is_of_a_value(&code))
            }
            Cause::Inconsistent { .. } => true,
            Cause::Database(_) | Cause::Migration(_) | Cause::Refused(_) | Cause::Silent => false,
        }
    }

    /// The database cannot be used as it is; `words` say why and what to do.
    pub(crate) fn refused(doing: &'static str, words: impl Into<String>) -> Self {
        Self { doing, cause: Cause::Refused(words.into()) }
    }
}

/// Whether the code of an error says that a value is too large or of a form that cannot be held.
///
/// PostgreSQL: class 22, data exceptions, and 54, limits such as that of an index row. SQLite:
/// `SQLITE_TOOBIG` and `SQLITE_MISMATCH`.
fn is_of_a_value(code: &str) -> bool {
    let is_postgres = code.len() == 5;
    (is_postgres && (code.starts_with("22") || code.starts_with("54")))
        || matches!(code, "18" | "20")
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.doing)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Says what was being done when the database failed.
pub(crate) trait Doing<T> {
    /// `doing` completes the sentence "could not …".
    fn doing(self, doing: &'static str) -> super::Result<T>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> super::Result<T> {
        self.map_err(|error| StoreError::database(doing, error))
    }
}

impl<T> Doing<T> for Result<T, sqlx::migrate::MigrateError> {
    fn doing(self, doing: &'static str) -> super::Result<T> {
        self.map_err(|error| StoreError::migration(doing, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as a database tells it.
    #[derive(Debug, thiserror::Error)]
    #[error("the database says {code}")]
    struct Told {
        code: &'static str,
        /// Whether a constraint is named as its cause.
        of_constraint: bool,
    }

    impl sqlx::error::DatabaseError for Told {
        fn message(&self) -> &str {
            self.code
        }

        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.code.into())
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> sqlx::error::ErrorKind {
            use sqlx::error::ErrorKind;
            if self.of_constraint { ErrorKind::UniqueViolation } else { ErrorKind::Other }
        }
    }

    fn told(code: &'static str, of_constraint: bool) -> StoreError {
        StoreError::database("write", sqlx::Error::Database(Box::new(Told { code, of_constraint })))
    }

    #[test]
    fn what_the_database_refuses_for_its_content_is_a_contradiction_and_what_it_lacks_is_an_outage()
    {
        let check = |code, of_constraint, expected: &str| {
            let error = told(code, of_constraint);
            let found = match (error.is_contradiction(), error.is_outage()) {
                (true, false) => "contradiction",
                (false, true) => "outage",
                (false, false) => "neither",
                (true, true) => "both",
            };
            assert_eq!(found, expected, "{code}");
        };
        // Constraints, under whatever code.
        check("23505", true, "contradiction");
        check("2067", true, "contradiction");
        // PostgreSQL: a text with NUL, a number out of range, an index row that is too large.
        for code in ["22021", "22P05", "22003", "54000", "54001"] {
            check(code, false, "contradiction");
        }
        // SQLite: too big, of another type.
        for code in ["18", "20"] {
            check(code, false, "contradiction");
        }
        // PostgreSQL: no connection, a forgotten transaction ended, a deadlock, too many
        // connections, a lock not had, a stop, a statement that took too long.
        for code in ["08006", "25P03", "40P01", "53300", "55P03", "57P01", "57014"] {
            check(code, false, "outage");
        }
        // A full disk, a broken index, a table that is gone; SQLite: busy, read-only, a failing
        // disk, a full one, a damaged file. Trying again may help, another event may not.
        for code in ["53100", "XX002", "42P01", "5", "8", "10", "13", "11", "1555", "222", "548"] {
            check(code, false, "neither");
        }
    }

    #[test]
    fn a_value_that_is_not_ours_is_a_contradiction_and_no_answer_is_none() {
        assert!(StoreError::inconsistent("lines", "state", "odd").is_contradiction());
        assert!(!StoreError::silent("write").is_contradiction());
        assert!(!StoreError::refused("open", "in use").is_contradiction());
        for error in [sqlx::Error::PoolTimedOut, sqlx::Error::RowNotFound] {
            assert!(!StoreError::database("write", error).is_contradiction());
        }
    }

    #[test]
    fn an_outage_is_told_from_trouble_with_what_was_to_be_written() {
        let outage = |error| StoreError::database("write", error).is_outage();
        assert!(outage(sqlx::Error::PoolTimedOut));
        assert!(outage(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()));
        assert!(StoreError::silent("write").is_outage());
        assert!(!outage(sqlx::Error::RowNotFound));
        assert!(!StoreError::inconsistent("lines", "state", "odd").is_outage());
    }
}
