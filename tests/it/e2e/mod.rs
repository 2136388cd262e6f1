//! The whole application against the sandbox, over real HTTP.

mod doubt;
mod hooks;
mod load;
mod main_job;
mod notice;
mod refusals;
mod start;
