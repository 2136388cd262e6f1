//! The rules alone: random histories of the pure core, with a model of the platform and of the
//! tables around it, no database and no workers.
//!
//! One seed decides a whole history. `FREELINE_SIM_SEED=123` plays one seed alone,
//! `FREELINE_SIM_SEEDS` and `FREELINE_SIM_FROM` say how many there are and which is the first. A
//! failure is shrunk and printed step by step; its line belongs into `seeds.txt`.

mod calls;
mod calm;
mod checks;
mod company;
mod dice;
mod history;
mod platform;
mod service;
mod setting;
mod shrink;
mod step;
mod tables;
mod world;
