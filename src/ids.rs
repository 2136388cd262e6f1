//! The only place that makes identifiers.

use std::fmt;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::core::time::Time;

/// Makes identifiers that no other process makes.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A UUID v7 (RFC 9562) whose time part is `now`, as lower-case dashed text.
    fn uuid(&self, now: Time) -> String;

    /// 64 random bits.
    fn random(&self) -> u64;
}

/// Identifiers from a random generator: seeded by the system, or by a number for repeatable runs.
#[derive(Debug)]
pub struct RandomIds(Mutex<StdRng>);

impl RandomIds {
    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self(Mutex::new(StdRng::from_os_rng()))
    }

    /// Seeded by `seed`: the same seed gives the same identifiers.
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Ids for RandomIds {
    fn uuid(&self, now: Time) -> String {
        let millis = u64::try_from(now.micros().div_euclid(1_000)).unwrap_or(0);
        let mut random = [0_u8; 10];
        match self.0.lock() {
            Ok(mut rng) => rng.fill_bytes(&mut random),
            Err(poisoned) => poisoned.into_inner().fill_bytes(&mut random),
        }
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
    }

    fn random(&self) -> u64 {
        match self.0.lock() {
            Ok(mut rng) => rng.next_u64(),
            Err(poisoned) => poisoned.into_inner().next_u64(),
        }
    }
}
