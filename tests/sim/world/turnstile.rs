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

/// Lets every call through.
pub(super) const ALL_CALLS: u32 = u32::MAX;

#[derive(Clone, Default)]
pub(super) struct Turnstile(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    allowed: u32,
    fate: Option<Fate>,
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
            if state.allowed != ALL_CALLS {
                state.allowed -= 1;
            }
            // The fate is that of the last call of a resumed step, or of the next one when all may
            // go through.
            let is_last = state.allowed == 0 || state.allowed == ALL_CALLS;
            let fate =
                if is_last { state.fate.take() } else { None }.unwrap_or(Fate::Fine);
            state.passed.push((call, fate));
            Poll::Ready(fate)
        })
        .await
    }

    /// Resumes a future until it has made `calls` calls and stands before the next one (`None`), or
    /// until it ends.
    ///
    /// While it waits for the database nothing else runs: what is interleaved are calls.
    pub(super) async fn resume<T>(
        &self,
        mut future: Pin<&mut (dyn Future<Output = T> + Send + '_)>,
        calls: u32,
        fate: Fate,
    ) -> Option<T> {
        {
            let mut state = self.state();
            state.allowed = calls;
            state.fate = Some(fate);
            state.someone_waits = false;
            state.passed.clear();
        }
        let ended = std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if self.state().someone_waits => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.state().allowed = 0;
        ended
    }

    /// Runs a future to its end; its first call has this fate.
    pub(super) async fn run<T>(
        &self,
        future: impl Future<Output = T> + Send,
        fate: Fate,
    ) -> T {
        let mut future = std::pin::pin!(future);
        self.resume(future.as_mut(), ALL_CALLS, fate).await.expect("nothing stops it")
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
