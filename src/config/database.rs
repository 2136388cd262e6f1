//! Section "Database": where everything is kept.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::config::reader::{Expected, Reader, Reported};
use crate::config::variables::DATABASE_URL;

const EXPECTED: &str = "expected sqlite:FILE or postgres://user:password@host/database";

/// Where everything is kept.
#[derive(Clone, Debug)]
pub enum Database {
    /// In the process, for one replica.
    Sqlite(SqlitePlace),
    /// On a server, for any number of replicas.
    Postgres {
        /// `postgres://…` or `postgresql://…`, read before by sqlx without complaint.
        url: SecretString,
    },
}

/// Where a SQLite database is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SqlitePlace {
    /// In a file, made when it is not there.
    File(PathBuf),
    /// In memory, gone with the process.
    Memory,
}

impl Database {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        reader.or_default(&DATABASE_URL, Self::parse)
    }

    fn parse(text: &str) -> Result<Self, Expected> {
        if let Some(place) = text.strip_prefix("sqlite:") {
            let place = place.strip_prefix("//").unwrap_or(place);
            return parse_sqlite_place(place).map(Self::Sqlite);
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // sqlx's reason is left out: it may quote the password.
            return match text.parse::<PgConnectOptions>() {
                Ok(_) => Ok(Self::Postgres { url: SecretString::from(text) }),
                Err(_) => Err(format!(
                    "{EXPECTED}; special characters in user and password must be percent-encoded, \
                     and parameters be ones of PostgreSQL"
                )),
            };
        }
        Err(EXPECTED.to_owned())
    }
}

impl fmt::Display for Database {
    /// Which database it is, without user, password and parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(SqlitePlace::File(path)) => write!(f, "sqlite:{}", path.display()),
            Self::Sqlite(SqlitePlace::Memory) => f.write_str("sqlite::memory:"),
            Self::Postgres { url } => match Url::parse(url.expose_secret()) {
                Ok(url) => {
                    write!(f, "postgres://{}", url.host_str().unwrap_or_default())?;
                    url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
                    f.write_str(url.path())
                }
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

fn parse_sqlite_place(place: &str) -> Result<SqlitePlace, Expected> {
    match place {
        "" => Err(format!("{EXPECTED}; the file is missing")),
        ":memory:" => Ok(SqlitePlace::Memory),
        _ if place.contains('?') => Err(format!("{EXPECTED}; SQLite takes no parameters here")),
        path => Ok(SqlitePlace::File(PathBuf::from(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_are_read() {
        let check = |text: &str, shown: &str| {
            let database = Database::parse(text).unwrap();
            assert_eq!(database.to_string(), shown, "{text}");
            let debug = format!("{database:?}");
            assert!(!debug.contains("canary"), "{debug}");
        };
        check("sqlite:freeline.db", "sqlite:freeline.db");
        check("sqlite://data/freeline.db", "sqlite:data/freeline.db");
        check("sqlite:///var/lib/freeline.db", "sqlite:/var/lib/freeline.db");
        check("sqlite::memory:", "sqlite::memory:");
        check("sqlite://:memory:", "sqlite::memory:");
        check("postgres://me:canary@db:5433/freeline", "postgres://db:5433/freeline");
        check("postgresql://me@db/freeline?password=canary", "postgres://db/freeline");
        check("postgres:///freeline?host=/run/postgresql", "postgres:///freeline");
    }

    #[test]
    fn what_is_no_database_is_refused_without_its_text() {
        for text in [
            "sqlite:",
            "sqlite:canary.db?mode=ro",
            "mysql://me:canary@db",
            "postgres://me:canary@db:port/x",
            "postgres://me:canary@db/x?sslmode=canary",
            "canary.db",
        ] {
            let reason = Database::parse(text).unwrap_err();
            assert!(reason.starts_with(EXPECTED), "{text}: {reason}");
            assert!(!reason.contains("canary"), "{text}: {reason}");
        }
    }
}
