//! The whole application against the sandbox, over real HTTP.

mod actions;
mod away;
mod callback;
mod doubt;
mod heal;
mod history;
mod hooks;
mod load;
mod main_job;
mod messages;
mod notice;
mod refusals;
mod start;
mod users;
