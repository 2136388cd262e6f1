//! What a sandbox consists of, and the ids its inhabitants always have.

use std::time::Duration;

use crate::core::id::{LineId, UserId};

/// Login of the API user unless configured otherwise.
pub const LOGIN: &str = "sandbox";
/// Password of the API user unless configured otherwise.
pub const PASSWORD: &str = "sandbox";
/// The technical user, number 1: subscribed to every line from the start.
pub const TECHNICAL_USER_ID: &str = "11111111-aaaa-4aaa-8aaa-000000000001";
/// Specialist number 1; every specialist serves every line.
pub const FIRST_SPECIALIST_ID: &str = "55555555-0000-4000-8000-000000000001";
/// Line number 1.
pub const FIRST_LINE_ID: &str = "22222222-bbbb-11e3-bab7-000000000001";

/// The longest file that is taken unless configured otherwise; the platform's limit is not
/// documented.
pub const FILE_BYTES_MAX: usize = 50 * 1_024 * 1_024;

/// Names of the first lines; a line beyond them is called by its number.
const LINE_NAMES: [&str; 9] = [
    "Бухгалтерия",
    "Зарплата и кадры",
    "Торговля и склад",
    "Производство",
    "Отчётность",
    "Обмен данными",
    "Оборудование",
    "Сопровождение",
    "Разработка",
];

/// The id of line `number`, counted from 1: `22222222-bbbb-11e3-bab7-` and twelve digits.
pub fn line_id(number: u16) -> LineId {
    LineId::new(format!("22222222-bbbb-11e3-bab7-{number:012}"))
}

/// The id of user `number`, counted from 1: `11111111-aaaa-4aaa-8aaa-` and twelve digits.
pub fn user_id(number: u16) -> UserId {
    UserId::new(format!("11111111-aaaa-4aaa-8aaa-{number:012}"))
}

/// The id of specialist `number`, counted from 1: `55555555-0000-4000-8000-` and twelve digits.
pub fn specialist_id(number: u16) -> UserId {
    UserId::new(format!("55555555-0000-4000-8000-{number:012}"))
}

/// The name of line `number`, counted from 1.
pub(super) fn line_name(number: u16) -> String {
    let named = usize::from(number).checked_sub(1).and_then(|index| LINE_NAMES.get(index));
    named.map_or_else(|| format!("Линия {number}"), |name| (*name).to_owned())
}

/// What a sandbox consists of and how it behaves while nothing is told to go wrong.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// How many lines there are, numbered from 1.
    pub lines: u16,
    /// Numbers of the lines that do not permit a bot (`allow_bot` is false).
    pub lines_without_bot: Vec<u16>,
    /// How many users there are, numbered from 1, each subscribed to every line.
    pub users: u16,
    /// How many specialists there are, numbered from 1; with none, users wait in the queue.
    pub specialists: u16,
    /// Login of the API user.
    pub login: String,
    /// Password of the API user.
    pub password: String,
    /// Budget of calls, above it 429; `None` = no limit.
    pub rate_limits: Option<RateLimits>,
    /// How long the platform takes to answer any call.
    pub latency: Duration,
    /// How long the callback URL may take to answer.
    pub delivery_timeout: Duration,
    /// How often one event is sent to one hook at the most, until it is answered with 200.
    pub copies_max: u16,
    /// Pause before an event that was not answered with 200 is sent again.
    pub retry_after: Duration,
    /// Pause before the second copy of an event struck by the fault `duplicate`.
    pub duplicate_after: Duration,
    /// The longest an event struck by the fault `reorder` is held back.
    pub held_back_max: Duration,
    /// How long a user waits for the bot's answer before a specialist is given the treatment.
    pub bot_patience: Duration,
    /// Whether that happens by itself; if not, by `SandboxHandle::hand_over_overdue` alone.
    pub bot_timer: bool,
    /// The longest file that is taken, in bytes; above it 413.
    pub file_bytes_max: usize,
    /// What ids, small oddities and faults are derived from: the same seed, the same run.
    pub seed: u64,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            lines: 9,
            lines_without_bot: Vec::new(),
            users: 1,
            specialists: 3,
            login: LOGIN.to_owned(),
            password: PASSWORD.to_owned(),
            rate_limits: Some(RateLimits::default()),
            latency: Duration::ZERO,
            delivery_timeout: Duration::from_secs(10),
            copies_max: 3,
            retry_after: Duration::from_secs(15),
            duplicate_after: Duration::from_millis(50),
            held_back_max: Duration::from_millis(200),
            bot_patience: Duration::from_secs(30),
            bot_timer: true,
            file_bytes_max: FILE_BYTES_MAX,
            seed: 1,
        }
    }
}

impl SandboxConfig {
    /// For tests: no budget of calls, every pause is a few milliseconds long, and the bot's time
    /// is over when the test says so.
    pub fn quick() -> Self {
        Self {
            rate_limits: None,
            retry_after: Duration::from_millis(5),
            duplicate_after: Duration::from_millis(2),
            held_back_max: Duration::from_millis(50),
            bot_timer: false,
            ..Self::default()
        }
    }

    /// The same with another number of lines.
    #[must_use]
    pub fn with_lines(self, lines: u16) -> Self {
        Self { lines, ..self }
    }

    /// The same with another number of users.
    #[must_use]
    pub fn with_users(self, users: u16) -> Self {
        Self { users, ..self }
    }

    /// The same with another budget of calls.
    #[must_use]
    pub fn with_rate_limits(self, rate_limits: Option<RateLimits>) -> Self {
        Self { rate_limits, ..self }
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// The budget of calls of one API user (`connect-api.md` 1.2), over sliding windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimits {
    /// Calls within any second.
    pub per_second: usize,
    /// Calls within any minute.
    pub per_minute: usize,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_second: 20, per_minute: 600 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_inhabitants_have_the_documented_ids() {
        assert_eq!(line_id(1).as_str(), FIRST_LINE_ID);
        assert_eq!(user_id(1).as_str(), TECHNICAL_USER_ID);
        assert_eq!(specialist_id(1).as_str(), FIRST_SPECIALIST_ID);
    }

    #[test]
    fn a_line_beyond_the_named_ones_is_called_by_its_number() {
        assert_eq!(line_name(9), "Разработка");
        assert_eq!(line_name(10), "Линия 10");
    }
}
