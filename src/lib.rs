//! Freeline hands each new payment to a free support line of 1C-Connect.

pub mod clock;
pub mod config;
pub mod connect;
pub mod core;
pub mod ids;
pub mod lifecycle;
pub mod mail;
pub mod store;
pub mod wake;
pub mod telemetry;
pub mod message;
pub mod text;
pub mod sandbox;
