//! Freeline hands each new payment to a free support line of 1C-Connect.

pub mod clock;
pub mod connect;
pub mod core;
pub mod ids;
pub mod lifecycle;
pub mod mail;
pub mod sandbox;
