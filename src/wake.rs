//! Waking the workers.
//!
//! Workers take no input: they are woken and look at the tables. A wake-up is a hint that there
//! may be something to see, never the thing itself, so a lost one costs a timer's tick and no more.

use std::sync::Arc;

use tokio::sync::Notify;

/// The workers that can be woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Worker {
    /// Takes new events into account.
    Intake,
    /// Hands payments to lines.
    Dispatcher,
    /// Ends claims that ran out.
    Expirer,
    /// Sends messages.
    Sender,
    /// Sends what people and the ERP send into chats.
    Courier,
    /// Sends notices.
    Notifier,
    /// Sets hooks and looks at lines.
    Reconciler,
    /// Checks what must always be true.
    Auditor,
    /// Forgets what is old.
    Janitor,
    /// Sends changes to a receiver.
    Pusher,
    /// Tells whoever waits for changes of payments and treatments.
    Feed,
}

impl Worker {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Intake,
        Self::Dispatcher,
        Self::Expirer,
        Self::Sender,
        Self::Courier,
        Self::Notifier,
        Self::Reconciler,
        Self::Auditor,
        Self::Janitor,
        Self::Pusher,
        Self::Feed,
    ];

    /// Its name, as sent between replicas.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Dispatcher => "dispatcher",
            Self::Expirer => "expirer",
            Self::Sender => "sender",
            Self::Courier => "courier",
            Self::Notifier => "notifier",
            Self::Reconciler => "reconciler",
            Self::Auditor => "auditor",
            Self::Janitor => "janitor",
            Self::Pusher => "pusher",
            Self::Feed => "feed",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|worker| worker.name() == name)
    }
}

/// One bell for each worker of this process.
#[derive(Clone, Debug, Default)]
pub struct Wake {
    bells: Arc<[Notify; 11]>,
}

impl Wake {
    /// Rings for a worker; remembered if it is not waiting right now. What is news for the feed is
    /// news for the pusher too.
    pub fn ring(&self, worker: Worker) {
        if worker == Worker::Feed {
            self.bell(Worker::Pusher).notify_one();
        }
        self.bell(worker).notify_one();
    }

    /// Waits until somebody rings for this worker.
    pub async fn rung(&self, worker: Worker) {
        self.bell(worker).notified().await;
    }

    fn bell(&self, worker: Worker) -> &Notify {
        let [
            intake,
            dispatcher,
            expirer,
            sender,
            courier,
            notifier,
            reconciler,
            auditor,
            janitor,
            pusher,
            feed,
        ] = &*self.bells;
        match worker {
            Worker::Intake => intake,
            Worker::Dispatcher => dispatcher,
            Worker::Expirer => expirer,
            Worker::Sender => sender,
            Worker::Courier => courier,
            Worker::Notifier => notifier,
            Worker::Reconciler => reconciler,
            Worker::Auditor => auditor,
            Worker::Janitor => janitor,
            Worker::Pusher => pusher,
            Worker::Feed => feed,
        }
    }
}
