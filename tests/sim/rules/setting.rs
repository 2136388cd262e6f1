//! What stays the same during one history: the shape of the company and the habits of the platform.

use std::ops::Deref;

use freeline::core::dispatch::SendMode;
use freeline::core::id::{CounterpartyId, LineId, ManagerId, PaymentId, TreatmentId, UserId};
use freeline::core::number::Number;

/// Everything is named once: making texts would cost more than the rules.
pub(super) struct Names {
    pub(super) lines: Vec<LineId>,
    pub(super) users: Vec<UserId>,
    pub(super) specialist: UserId,
    pub(super) managers: Vec<ManagerId>,
    pub(super) counterparties: Vec<CounterpartyId>,
    pub(super) payments: Vec<PaymentId>,
    pub(super) numbers: Vec<Number>,
    treatments: Vec<TreatmentId>,
    messages: Vec<String>,
}

const PREPARED: u32 = 256;

/// The names, each thread its own: copies share their text and count themselves, and threads that
/// count together wait for each other.
pub(super) static NAMES: NamesOfThread = NamesOfThread;

pub(super) struct NamesOfThread;

thread_local! {
    static OWN: &'static Names = Box::leak(Box::new(names()));
}

impl Deref for NamesOfThread {
    type Target = Names;

    fn deref(&self) -> &Names {
        OWN.with(|own| *own)
    }
}

fn names() -> Names {
    Names {
        lines: (0..5).map(|n| LineId::new(format!("L{n}"))).collect(),
        users: (0..3).map(|n| UserId::new(format!("U{n}"))).collect(),
        specialist: UserId::from("S"),
        managers: (0..3).map(|n| ManagerId::new(format!("M{n}"))).collect(),
        counterparties: (0..3).map(|n| CounterpartyId::new(format!("C{n}"))).collect(),
        payments: (0..PREPARED).map(|n| PaymentId::new(format!("P{n:03}"))).collect(),
        numbers: (0..PREPARED).map(|n| Number::from_random(u64::from(n))).collect(),
        treatments: (0..PREPARED).map(|n| TreatmentId::new(format!("T{n}"))).collect(),
        messages: (0..PREPARED * 4).map(|n| format!("m{n}")).collect(),
    }
}

impl Names {
    pub(super) fn treatment(&self, number: u32) -> TreatmentId {
        let prepared = usize::try_from(number).ok().and_then(|at| self.treatments.get(at)).cloned();
        prepared.unwrap_or_else(|| TreatmentId::new(format!("T{number}")))
    }

    pub(super) fn message(&self, number: u32) -> String {
        let prepared = usize::try_from(number).ok().and_then(|at| self.messages.get(at)).cloned();
        prepared.unwrap_or_else(|| format!("m{number}"))
    }
}

/// The world of a history, spelled as one number so that it can be written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Setting(pub(super) u32);

impl Setting {
    const fn bit(self, place: u32) -> bool {
        self.0 >> place & 1 == 1
    }

    /// The number in two bits.
    const fn two_bits(self, place: u32) -> u8 {
        match self.0 >> place & 3 {
            0 => 0,
            1 => 1,
            2 => 2,
            _ => 3,
        }
    }

    pub(super) const fn mode(self) -> SendMode {
        if self.bit(0) { SendMode::Bot } else { SendMode::Specialist }
    }

    /// Bot events come without the treatment's id.
    pub(super) const fn bot_lacks_id(self) -> bool {
        self.bit(1)
    }

    /// Bot events come without their envelope.
    pub(super) const fn bot_lacks_envelope(self) -> bool {
        self.bit(2)
    }

    /// Moves do not name the treatment of the other side, as in 2022.
    pub(super) const fn moves_lack_id(self) -> bool {
        self.bit(3)
    }

    /// No broadcast is ever lost: then what is known must be what is open.
    pub(super) const fn nothing_is_lost(self) -> bool {
        self.bit(4)
    }

    /// A single process that knows itself to be alone, as with SQLite.
    pub(super) const fn is_alone(self) -> bool {
        self.bit(5)
    }

    pub(super) const fn replicas(self) -> u8 {
        if self.is_alone() { 1 } else { 1 + self.two_bits(6) % 3 }
    }

    /// Lines of the directory; the platform has one more.
    pub(super) const fn lines(self) -> u8 {
        1 + self.two_bits(8)
    }

    pub(super) fn capacity(self, line: u8) -> i64 {
        1 + i64::from(self.bit(10 + u32::from(line % 4)))
    }

    /// Whose line it is at first.
    pub(super) fn manager(self, line: u8) -> u8 {
        if line == 0 { 0 } else { u8::from(self.bit(14 + u32::from(line % 4))) }
    }

    /// Whether the platform lets a user be written to on a line: in three of four histories always.
    pub(super) const fn is_subscribed(self, line: u8, user: u8) -> bool {
        self.two_bits(18) != 3 || (line + user) % 3 != self.two_bits(20)
    }

    /// How far the platform's clock is from the true time, in seconds.
    pub(super) const fn platform_clock(self) -> i64 {
        match self.two_bits(22) {
            0 | 1 => 0,
            2 => 20,
            _ => -20,
        }
    }

    /// Assignments (80, 81) are told, as they mostly are.
    pub(super) const fn tells_assignments(self) -> bool {
        !self.bit(24)
    }

    /// Without fraction, as recorded now and then.
    pub(super) const fn whole_seconds(self) -> bool {
        self.bit(25)
    }
}
