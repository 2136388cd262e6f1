//! What all tests share.
//!
//! ```ignore
//! on_both_engines! {
//!     async fn a_free_line_takes_the_payment(db) {
//!         let store = db.open().await;
//!         furnish(&*store, [line("a", "anna")]).await;
//!         add(&*store, payment(1), NOW).await;
//!         assert_eq!(dispatch(&*store, NOW).await, pairs(&[(1, "a")]));
//!     }
//! }
//! ```

pub(crate) mod build;
pub(crate) mod database;
pub(crate) mod dump;
pub(crate) mod event;
pub(crate) mod history;
mod mail;
pub(crate) mod nginx;
pub(crate) mod postgres;
#[expect(clippy::allow_attributes, reason = "not every target uses all of it")]
#[allow(dead_code, reason = "not every test uses all of it")]
pub(crate) mod process;
pub(crate) mod proxy;
#[expect(clippy::allow_attributes, reason = "not every target uses all of it")]
#[allow(dead_code, reason = "not every test uses all of it")]
pub(crate) mod relay;
pub(crate) mod statements;
pub(crate) mod steps;
mod world;

pub(crate) use database::TestDatabase;
pub(crate) use mail::MailServer;
pub(crate) use world::{HOOK_TOKEN, READ_TOKEN, Setup, TOKEN, World, directory, environment};

/// Makes of an async function that takes a `TestDatabase` two tests, one on each engine.
macro_rules! on_both {
    ($name:ident) => {
        mod $name {
            use crate::support::TestDatabase;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(TestDatabase::postgres().await).await;
            }
        }
    };
}
pub(crate) use on_both;

/// Makes of each async function that takes a `TestDatabase` two tests: `…::on_sqlite` and
/// `…::on_postgres`.
macro_rules! on_both_engines {
    ($($(#[$attr:meta])* async fn $name:ident($db:ident) $body:block)+) => {
        $(mod $name {
            #[expect(clippy::allow_attributes, reason = "not every test needs all of them")]
            #[allow(unused_imports, reason = "not every test needs all of them")]
            use super::*;

            $(#[$attr])*
            async fn test($db: $crate::support::database::TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                test($crate::support::database::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                test($crate::support::database::TestDatabase::postgres().await).await;
            }
        })+
    };
}
pub(crate) use on_both_engines;
