//! The whole application against the sandbox, over real HTTP.

mod actions;
mod away;
mod callback;
mod changes;
mod doubt;
mod flood;
mod hand_over;
mod heal;
mod history;
mod hooks;
mod load;
mod main_job;
mod messages;
mod notice;
mod push;
mod refusals;
mod start;
mod users;
