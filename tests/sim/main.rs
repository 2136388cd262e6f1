//! Deterministic simulations: a seed decides everything that happens.
//!
//! `rules` plays with the pure core alone, `world` with the real workers over the real tables.

#[cfg(test)]
mod rules;
#[cfg(test)]
mod world;
