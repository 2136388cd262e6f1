//! Tests of the whole from outside, in one program: it links once and runs in parallel.
//!
//! `support` has databases, builders and helpers; every other folder tests one part.

#[cfg(test)]
mod deploy;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod process;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
