//! The one place where a worker's step stops and goes on: at every call that it makes.
//!
//! Whatever a worker calls passes the turnstile first. It lets so many calls through as the plan
//! says, and decides how the last of them goes. A step that stands there can be resumed, left
//! standing while others go on, or dropped: that is a crash between two calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// How a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// As it should.
    Fine,
    /// It fails before anything was done, and the caller knows.
    FailsBefore,
    /// It is done, and the caller does not hear so.
    FailsAfter,
    /// It is not done, and the caller does not hear so.
    LostBefore,
    /// 429, or a mail server that wants us to come later.
    Busy,
    /// 403 without a word, or a mail server that refuses.
    Refuses,
    /// 401.
    Unauthorized,
    /// Our own budget of calls is used up.
    NoBudget,
}

impl Fate {
    /// All that go wrong.
    pub(super) const FAULTS: [Self; 7] = [
        Self::FailsBefore,
        Self::FailsAfter,
        Self::LostBefore,
        Self::Busy,
        Self::Refuses,
        Self::Unauthorized,
        Self::NoBudget,
    ];
}

/// Calls after which everything is as it was.
const UNCHANGING: [&str; 14] = [
    "next_due",
    "hook_targets",
    "lines_to_look_at",
    "own_urls",
    "acquire_lease",
    "list_lines",
    "list_treatments",
    "payment",
    "the answer to list_lines",
    "the answer to list_treatments",
    "the answer to set_hook",
    "the answer to send_message",
    "the mail server's answer",
    "set_hook",
];

/// Lets every call through.
const ALL_CALLS: u32 = u32::MAX;

/// How far a step is let on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Calls {
    /// So many calls, at least one.
    pub(super) count: u32,
    /// How the last of them goes.
    pub(super) fate: Fate,
    /// Whether the step then goes on to its end.
    pub(super) goes_on: bool,
}

impl Calls {
    /// To the end, without a fault.
    pub(super) const ALL: Self = Self { count: 1, fate: Fate::Fine, goes_on: true };
}

#[derive(Clone, Default)]
pub(super) struct Turnstile(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    allowed: u32,
    fate: Option<Fate>,
    /// Whether all are let through after the one with the fate.
    goes_on: bool,
    someone_waits: bool,
    /// Where the last one stood or went through.
    at: &'static str,
    passed: Vec<(&'static str, Fate)>,
}

impl Turnstile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits to be let through to a call; answers how it goes.
    pub(super) async fn pass(&self, call: &'static str) -> Fate {
        std::future::poll_fn(|_| {
            let mut state = self.state();
            state.at = call;
            if state.allowed == 0 {
                state.someone_waits = true;
                return Poll::Pending;
            }
            state.allowed -= 1;
            let mut fate = Fate::Fine;
            if state.allowed == 0 {
                fate = state.fate.take().unwrap_or(Fate::Fine);
                if std::mem::take(&mut state.goes_on) {
                    state.allowed = ALL_CALLS;
                }
            }
            state.passed.push((call, fate));
            Poll::Ready(fate)
        })
        .await
    }

    /// Resumes a future until it has made `calls` calls, the last of which has this fate, and stands
    /// before the next one (`None`), or until it ends; if it `goes_on`, it does not stand.
    ///
    /// While it waits for the database nothing else runs: what is interleaved are calls.
    pub(super) async fn resume<T>(
        &self,
        mut future: Pin<&mut (dyn Future<Output = T> + Send + '_)>,
        calls: Calls,
    ) -> Option<T> {
        {
            let mut state = self.state();
            state.allowed = calls.count;
            state.fate = Some(calls.fate);
            state.goes_on = calls.goes_on;
            state.someone_waits = false;
            state.passed.clear();
        }
        let ended = std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if self.state().someone_waits => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        let mut state = self.state();
        (state.allowed, state.fate, state.goes_on) = (0, None, false);
        ended
    }

    /// Runs a future to its end; its first call has this fate.
    pub(super) async fn run<T>(&self, future: impl Future<Output = T> + Send, fate: Fate) -> T {
        let mut future = std::pin::pin!(future);
        self.resume(future.as_mut(), Calls { count: 1, fate, goes_on: true })
            .await
            .expect("nothing stops it")
    }

    /// Forgets what was called so far.
    pub(super) fn forget(&self) {
        self.state().passed.clear();
    }

    /// Whether a call since the last resumption may have changed anything.
    pub(super) fn has_changed(&self) -> bool {
        self.state().passed.iter().any(|(call, _)| !UNCHANGING.contains(call))
    }

    /// Where the step stands.
    pub(super) fn at(&self) -> &'static str {
        self.state().at
    }

    /// The calls made since the last resumption, as words.
    pub(super) fn told(&self) -> String {
        let state = self.state();
        let words = state.passed.iter().map(|(call, fate)| match fate {
            Fate::Fine => (*call).to_owned(),
            fate => format!("{call} ({fate:?})"),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}
