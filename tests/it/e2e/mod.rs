//! The whole application against the sandbox, over real HTTP.

mod away;
mod callback;
mod changes;
mod doubt;
mod heal;
mod hooks;
mod load;
mod main_job;
mod notice;
mod push;
mod refusals;
mod start;
