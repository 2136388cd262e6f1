//! The one source of chance: a small generator whose numbers never change between versions.

/// `SplitMix64`: every seed is a good one.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    pub(super) fn below(&mut self, sides: u32) -> u32 {
        let scaled = (self.roll() >> 32) * u64::from(sides.max(1));
        u32::try_from(scaled >> 32).unwrap_or(0)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[7]
    }
}
