//! Dependencies that fail while the service runs, and come back.
//!
//! In each of these stories nothing that was acknowledged is lost, refusals are those of the
//! contract and come in time, the log tells of it once a second, the service works again within
//! seconds of the repair, and it can be stopped in the middle of it.

mod bench;
mod clock;
mod connections;
mod disk;
mod locks;
mod mail;
mod platform;
mod restart;
mod silence;
