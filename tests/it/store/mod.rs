//! The contract of the store: every test runs on SQLite and on PostgreSQL.

mod answers;
mod apply;
mod audit;
mod changes;
mod claims;
mod commands;
mod constraints;
mod directory;
mod dispatch;
mod equality;
mod events;
mod history;
mod hooks;
mod leases;
mod lists;
mod looks;
mod notices;
mod outgoing;
mod payments;
mod plans;
mod pushes;
mod refusals;
mod returns;
mod schema;
mod search;
mod status;
