//! A model of 1C-Connect: what is open, what was written, and the broadcasts that are on their way.
//!
//! It follows `connect-api.md` 3 and 5: both kinds of hook get their copies, moves come in two
//! halves, a rating has the id of the close, one user has one open treatment on a line.

use freeline::core::event::{Direction, Event, EventSource, Movement};
use freeline::core::time::Time;

use super::setting::{NAMES, Setting};

/// Who caused something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Author {
    User,
    Specialist,
    Nobody,
}

/// One broadcast as it goes to one hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broadcast {
    pub(super) message_type: i64,
    pub(super) message: u32,
    pub(super) at: Time,
    pub(super) line: u8,
    pub(super) user: u8,
    pub(super) author: Author,
    /// The treatment it is about; whether the broadcast says so is another matter.
    pub(super) treatment: u32,
    says_treatment: bool,
    /// The payment whose number the text carries.
    pub(super) number: Option<u8>,
    movement: Option<(Direction, u8, Option<u32>)>,
    /// The treatment on the other side of a move that can be known from it.
    other_side: Option<u32>,
    initialized_at: Option<Time>,
    pub(super) source: EventSource,
    has_envelope: bool,
}

impl Broadcast {
    /// What makes two deliveries copies of one event.
    pub(super) const fn key(&self) -> (u32, i64, u8, u8) {
        let source = match self.source {
            EventSource::Line => 0,
            EventSource::Bot => 1,
            EventSource::Unstated => 2,
        };
        (self.message, self.message_type, source, self.line)
    }

    pub(super) fn to_event(self) -> Event {
        let names = &*NAMES;
        let user = &names.users[usize::from(self.user)];
        Event {
            family: self.has_envelope.then(|| "line".to_owned()),
            source: self.source,
            message_type: Some(self.message_type),
            message_id: Some(names.message(self.message)),
            message_time: Some(self.at),
            line: Some(names.lines[usize::from(self.line)].clone()),
            user: Some(user.clone()),
            author: match self.author {
                Author::User => Some(user.clone()),
                Author::Specialist => Some(names.specialist.clone()),
                Author::Nobody => None,
            },
            treatment: self.says_treatment.then(|| names.treatment(self.treatment)),
            text: self.number.map(|number| names.numbers[usize::from(number)].to_string()),
            movement: self.movement.map(|(direction, line, treatment)| Movement {
                direction,
                line: Some(names.lines[usize::from(line)].clone()),
                treatment: treatment.map(|number| names.treatment(number)),
            }),
            initialized_at: self.initialized_at,
            current_specialist: None,
            file: None,
            redirect: None,
            directory: None,
        }
    }
}

/// A treatment, open or over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Real {
    pub(super) line: u8,
    pub(super) user: u8,
    pub(super) began_at: Time,
    pub(super) is_open: bool,
    pub(super) moved_to: Option<u32>,
    /// `message_id` of the close or move, which a rating repeats.
    closed_by: u32,
    /// When the first of its broadcasts was taken in.
    pub(super) heard_at: Option<i64>,
}

/// A message of ours that is on the platform.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) payment: u8,
    pub(super) dispatch: i64,
    pub(super) treatment: u32,
    pub(super) line: u8,
}

pub(super) struct Platform {
    setting: Setting,
    pub(super) treatments: Vec<Real>,
    pub(super) taken: Vec<Taken>,
    pub(super) on_the_way: Vec<Broadcast>,
    /// The hooks of each line: that of the line, that of the bot.
    pub(super) hooks: Vec<(bool, bool)>,
    messages: u32,
    pub(super) lost: u32,
}

impl Platform {
    pub(super) fn new(setting: Setting) -> Self {
        let hooks = vec![(false, false); NAMES.lines.len()];
        let (treatments, taken, on_the_way) = (Vec::new(), Vec::new(), Vec::new());
        Self { setting, treatments, taken, on_the_way, hooks, messages: 0, lost: 0 }
    }

    const fn message(&mut self) -> u32 {
        self.messages += 1;
        self.messages
    }

    pub(super) fn open_in(&self, line: u8, user: u8) -> Option<u32> {
        let is_it = |one: &Real| one.is_open && one.line == line && one.user == user;
        self.treatments.iter().rposition(is_it).map(|at| u32::try_from(at).unwrap())
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (u32, &Real)> {
        (0..).zip(&self.treatments).filter(|(_, one)| one.is_open)
    }

    pub(super) fn nth_open(&self, which: u8) -> Option<u32> {
        let count = self.open().count();
        let which = usize::from(which).checked_rem(count)?;
        self.open().nth(which).map(|(number, _)| number)
    }

    pub(super) fn real(&self, number: u32) -> &Real {
        &self.treatments[usize::try_from(number).unwrap()]
    }

    fn real_mut(&mut self, number: u32) -> &mut Real {
        &mut self.treatments[usize::try_from(number).unwrap()]
    }

    /// Makes a broadcast's copies for the hooks that are set.
    fn tell(&mut self, about: Broadcast) {
        let (line, bot) = self.hooks[usize::from(about.line)];
        if line {
            self.on_the_way.push(about);
        } else {
            self.lost += 1;
        }
        let bot_hears = matches!(about.message_type, 1 | 20 | 21 | 70 | 80..=83 | 89..=93);
        if bot && bot_hears {
            let lacks_envelope = self.setting.bot_lacks_envelope();
            self.on_the_way.push(Broadcast {
                source: if lacks_envelope { EventSource::Unstated } else { EventSource::Bot },
                has_envelope: !lacks_envelope,
                says_treatment: !self.setting.bot_lacks_id(),
                ..about
            });
        }
    }

    fn about(&mut self, number: u32, message_type: i64, author: Author, at: Time) -> Broadcast {
        let real = *self.real(number);
        let second = |at: Time| if self.setting.whole_seconds() { at.whole_second() } else { at };
        let carries = matches!(message_type, 17 | 82 | 84 | 90..=93);
        let initialized_at = carries.then(|| second(real.began_at));
        Broadcast {
            message_type,
            message: self.message(),
            at,
            line: real.line,
            user: real.user,
            author,
            treatment: number,
            says_treatment: true,
            number: None,
            movement: None,
            other_side: None,
            initialized_at,
            source: EventSource::Line,
            has_envelope: true,
        }
    }

    fn begin(&mut self, line: u8, user: u8, at: Time) -> u32 {
        self.treatments.push(Real {
            line,
            user,
            began_at: at,
            is_open: true,
            moved_to: None,
            closed_by: 0,
            heard_at: None,
        });
        u32::try_from(self.treatments.len() - 1).unwrap()
    }

    /// Somebody writes into a chat, which opens a treatment if none is open.
    pub(super) fn write(
        &mut self,
        (line, user): (u8, u8),
        author: Author,
        number: Option<u8>,
        at: Time,
    ) -> u32 {
        let open = self.open_in(line, user);
        let treatment = open.unwrap_or_else(|| self.begin(line, user, at));
        let text = Broadcast { number, ..self.about(treatment, 1, author, at) };
        self.tell(text);
        if open.is_none() && self.setting.tells_assignments() {
            // A user is assigned somebody; a specialist takes the treatment with his first message.
            let assigned = self.about(treatment, 80, Author::Specialist, at);
            self.tell(match author {
                Author::User => assigned,
                Author::Specialist | Author::Nobody => {
                    Broadcast { message_type: 81, message: text.message, ..assigned }
                }
            });
        }
        treatment
    }

    pub(super) fn close(&mut self, number: u32, how: u8, at: Time) {
        let (code, author) = match how % 6 {
            0 => (90, Author::Nobody),
            1 => (92, Author::Nobody),
            _ => (82, Author::Specialist),
        };
        let told = self.about(number, code, author, at);
        self.tell(told);
        if how == 0 {
            // Recorded: 90 comes twice with different ids now and then.
            let twice = Broadcast { message: self.message(), ..told };
            self.tell(twice);
        }
        let real = self.real_mut(number);
        real.is_open = false;
        real.closed_by = told.message;
    }

    pub(super) fn reroute(&mut self, number: u32, to: u8, order: u8, at: Time) {
        let real = *self.real(number);
        if real.line == to {
            return;
        }
        let open = self.open_in(to, real.user);
        let target = open.unwrap_or_else(|| self.begin(to, real.user, at));
        let says = |id: u32| Some(id).filter(|_| !self.setting.moves_lack_id());
        let (into, from) = (says(target), says(number));
        let half = self.about(number, 89, Author::Specialist, at);
        let left = Broadcast {
            movement: Some((Direction::To, to, into)),
            // Where it goes without a name there is nothing to know it by before its own events.
            other_side: into,
            ..half
        };
        let half = self.about(target, 89, Author::Specialist, at);
        let came = Broadcast {
            movement: Some((Direction::From, real.line, from)),
            other_side: Some(number),
            ..half
        };
        let halves = if order.is_multiple_of(3) { [came, left] } else { [left, came] };
        for half in halves {
            self.tell(half);
        }
        if open.is_none() && self.setting.tells_assignments() {
            let assigned = self.about(target, 80, Author::Specialist, at);
            self.tell(assigned);
        }
        let real = self.real_mut(number);
        real.is_open = false;
        real.closed_by = left.message;
        real.moved_to = Some(target);
    }

    pub(super) fn rate(&mut self, which: u8, at: Time) {
        let over: Vec<u32> =
            (0..).zip(&self.treatments).filter(|(_, t)| !t.is_open).map(|(n, _)| n).collect();
        let Some(which) = usize::from(which).checked_rem(over.len()) else { return };
        let number = over[which];
        let message = self.real(number).closed_by;
        let rating = Broadcast { message, ..self.about(number, 17, Author::User, at) };
        self.tell(rating);
    }

    /// Something that says nothing new: a file, a hand-over, the end of a remote session.
    pub(super) fn chatter(&mut self, which: u8, what: u8, at: Time) {
        let Some(number) = self.nth_open(which) else { return };
        let code = [70, 84, 80, 53, 1, 200][usize::from(what) % 6];
        let author = if code == 70 || code == 1 { Author::User } else { Author::Specialist };
        let told = self.about(number, code, author, at);
        self.tell(told);
    }

    /// The treatment in which a treatment goes on.
    pub(super) fn follow(&self, number: u32) -> u32 {
        let mut at = number;
        for _ in 0..self.treatments.len() {
            match self.real(at).moved_to {
                Some(next) => at = next,
                None => break,
            }
        }
        at
    }

    /// A broadcast is taken in: of a move both sides are told.
    pub(super) fn heard(&mut self, broadcast: &Broadcast, now: i64) {
        for number in [Some(broadcast.treatment), broadcast.other_side].into_iter().flatten() {
            let real = self.real_mut(number);
            real.heard_at = real.heard_at.or(Some(now));
        }
    }
}
