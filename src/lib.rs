//! Freeline hands each new payment to a free support line of 1C-Connect.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod core;
pub mod demo;
pub mod health;
pub mod http;
pub mod ids;
pub mod lifecycle;
pub mod mail;
pub mod message;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod wake;
pub mod worker;
