-- Times are microseconds since the epoch, UTC; money is kopecks; ids and enumerations are text.

-- Everything that came in on the callback URL, as it came.
CREATE TABLE events (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at  INTEGER NOT NULL,
    message_id   TEXT,
    message_type INTEGER,
    event_source TEXT NOT NULL CHECK (event_source IN ('line', 'bot', 'unstated')),
    event_type   TEXT,
    message_time INTEGER,
    line_id      TEXT,
    user_id      TEXT,
    author_id    TEXT,
    treatment_id TEXT,
    body         BLOB NOT NULL,
    copies       INTEGER NOT NULL DEFAULT 1,
    state        TEXT NOT NULL CHECK (state IN ('new', 'applied', 'ignored', 'quarantined')),
    problem      TEXT
) STRICT;
-- The platform delivers at least once: this index is what recognises a copy.
CREATE UNIQUE INDEX events_copy ON events (message_id, message_type, event_source, line_id)
    WHERE message_id IS NOT NULL AND message_type IS NOT NULL AND line_id IS NOT NULL;
CREATE INDEX events_new ON events (id) WHERE state = 'new';
CREATE INDEX events_quarantined ON events (id) WHERE state = 'quarantined';
CREATE INDEX events_line ON events (line_id, id);
CREATE INDEX events_type ON events (message_type, id);
CREATE INDEX events_treatment ON events (treatment_id, id) WHERE treatment_id IS NOT NULL;

CREATE TABLE managers (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    email         TEXT NOT NULL,
    specialist_id TEXT,
    enabled       INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    present       INTEGER NOT NULL CHECK (present IN (0, 1)),
    -- When the dispatcher is to look at this manager; null while there is nothing to look for.
    due_at        INTEGER
) STRICT;
CREATE INDEX managers_due ON managers (due_at, id) WHERE due_at IS NOT NULL;

CREATE TABLE lines (
    line_id      TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    manager_id   TEXT NOT NULL REFERENCES managers (id),
    capacity     INTEGER NOT NULL CHECK (capacity >= 1),
    position     INTEGER NOT NULL,
    enabled      INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    present      INTEGER NOT NULL CHECK (present IN (0, 1)),
    paused       TEXT,
    -- Our hooks on it are set: its events reach us, and messages may be sent.
    hooked_at    INTEGER,
    -- Its open treatments were looked at since it was hooked.
    known_at     INTEGER,
    -- A look at its open treatments is wanted from this time on.
    look_at      INTEGER,
    look_failures INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL
        CHECK (state IN ('free', 'busy', 'reserved', 'paused', 'disabled', 'unknown')),
    since        INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;
CREATE INDEX lines_manager ON lines (manager_id, position, line_id);
CREATE INDEX lines_look ON lines (look_at) WHERE look_at IS NOT NULL;

-- What we know of the registrations of our callback URL.
CREATE TABLE hooks (
    line_id     TEXT NOT NULL REFERENCES lines (line_id),
    kind        TEXT NOT NULL CHECK (kind IN ('line', 'bot')),
    state       TEXT NOT NULL
        CHECK (state IN ('wanted', 'set', 'foreign', 'refused', 'not_allowed', 'no_such_line')),
    -- The address found or set, and a digest of our credentials when we set it.
    url         TEXT,
    fingerprint TEXT,
    detail      TEXT,
    checked_at  INTEGER NOT NULL,
    PRIMARY KEY (line_id, kind)
) STRICT;

CREATE TABLE counterparties (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    inn        TEXT,
    manager_id TEXT NOT NULL REFERENCES managers (id),
    user_id    TEXT,
    present    INTEGER NOT NULL CHECK (present IN (0, 1))
) STRICT;

CREATE TABLE payments (
    id              TEXT PRIMARY KEY,
    number          TEXT NOT NULL UNIQUE,
    key             TEXT NOT NULL UNIQUE,
    -- The request as it came, in canonical form: the same key with other content is a conflict.
    content         TEXT NOT NULL,
    counterparty_id TEXT,
    given_manager_id TEXT,
    given_user_id   TEXT,
    given_author_id TEXT,
    amount          INTEGER NOT NULL CHECK (amount > 0),
    currency        TEXT NOT NULL,
    paid_at         INTEGER NOT NULL,
    order_ref       TEXT,
    purpose         TEXT,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    hold            TEXT,
    mismatch        TEXT,
    text            TEXT,
    state           TEXT NOT NULL CHECK (state IN ('held', 'queued', 'sending', 'in_doubt',
                        'dispatched', 'closed', 'rejected', 'cancelled')),
    reason          TEXT NOT NULL,
    reason_line_id  TEXT,
    reason_words    TEXT,
    hold_code       TEXT,
    hold_words      TEXT,
    manager_id      TEXT REFERENCES managers (id),
    user_id         TEXT,
    author_id       TEXT,
    line_id         TEXT,
    treatment_id    TEXT,
    episode         INTEGER NOT NULL,
    -- The episode for which a notice was written.
    noticed         INTEGER NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,
    received_at     INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    dispatched_at   INTEGER,
    closed_at       INTEGER,
    notified_at     INTEGER,
    -- The directory or the settings have changed: look again whether it may be queued.
    recheck         INTEGER NOT NULL DEFAULT 0 CHECK (recheck IN (0, 1))
) STRICT;
CREATE INDEX payments_manager ON payments (manager_id, received_at, id);
CREATE INDEX payments_recheck ON payments (received_at, id) WHERE recheck = 1;
CREATE INDEX payments_state ON payments (state, received_at, id);
CREATE INDEX payments_received ON payments (received_at, id);
CREATE INDEX payments_updated ON payments (updated_at, id);
CREATE INDEX payments_counterparty ON payments (counterparty_id, received_at, id);
-- SQLite takes the index made last when two would serve: these two, of a few rows only.
CREATE INDEX payments_waiting ON payments (manager_id, priority DESC, received_at, id)
    WHERE state = 'queued';
CREATE INDEX payments_unnoticed ON payments (manager_id, received_at, id)
    WHERE state = 'queued' AND noticed < episode;

CREATE TABLE timeline (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id TEXT NOT NULL REFERENCES payments (id),
    at         INTEGER NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    line_id    TEXT,
    words      TEXT
) STRICT;
CREATE INDEX timeline_payment ON timeline (payment_id, id);

CREATE TABLE treatments (
    treatment_id  TEXT PRIMARY KEY,
    line_id       TEXT NOT NULL,
    user_id       TEXT NOT NULL,
    opened_at     INTEGER NOT NULL,
    opener        TEXT NOT NULL CHECK (opener IN ('user', 'specialist', 'moved', 'unknown')),
    last_event_at INTEGER NOT NULL,
    heard_at      INTEGER NOT NULL,
    ended_at      INTEGER,
    end_kind      TEXT CHECK (end_kind IN ('closed', 'moved', 'superseded', 'not_listed')),
    moved_to      TEXT,
    CHECK ((ended_at IS NULL) = (end_kind IS NULL))
) STRICT;
-- One user has at most one open treatment on a line.
CREATE UNIQUE INDEX treatments_open ON treatments (line_id, user_id) WHERE ended_at IS NULL;
CREATE INDEX treatments_pair ON treatments (line_id, user_id, opened_at, treatment_id);
CREATE INDEX treatments_opened ON treatments (opened_at, treatment_id);
CREATE INDEX treatments_user ON treatments (user_id, opened_at);

-- One try to send one payment to one line. While it is active it is the line's reservation.
CREATE TABLE dispatches (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id   TEXT NOT NULL REFERENCES payments (id),
    line_id      TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    author_id    TEXT,
    slot         INTEGER,
    capacity     INTEGER NOT NULL,
    phase        TEXT NOT NULL CHECK (phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open',
                     'closed', 'refused', 'undone')),
    treatment_id TEXT,
    fence        INTEGER NOT NULL DEFAULT 0,
    owner        TEXT,
    due_at       INTEGER NOT NULL,
    lease_until  INTEGER,
    failures     INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    claimed_at   INTEGER,
    sent_at      INTEGER,
    rehook       TEXT NOT NULL CHECK (rehook IN ('no', 'wanted', 'done')),
    echo         TEXT,
    CHECK (slot IS NULL OR (slot >= 0 AND slot < capacity))
) STRICT;
-- At most one message of a payment: no second try while one may have been taken.
CREATE UNIQUE INDEX dispatches_once ON dispatches (payment_id)
    WHERE phase NOT IN ('refused', 'undone');
-- Never more on a line than its capacity, never two to the same user on it.
CREATE UNIQUE INDEX dispatches_slot ON dispatches (line_id, slot)
    WHERE slot IS NOT NULL AND phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open');
CREATE UNIQUE INDEX dispatches_pair ON dispatches (line_id, user_id)
    WHERE slot IS NOT NULL AND phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open');
CREATE INDEX dispatches_payment ON dispatches (payment_id);
CREATE INDEX dispatches_treatment ON dispatches (treatment_id) WHERE treatment_id IS NOT NULL;
CREATE INDEX dispatches_reserved ON dispatches (due_at, id) WHERE phase = 'reserved';
CREATE INDEX dispatches_sending ON dispatches (lease_until, id) WHERE phase = 'sending';
CREATE INDEX dispatches_look ON dispatches (due_at, id)
    WHERE phase = 'in_doubt' OR (phase = 'sent' AND treatment_id IS NULL);
CREATE INDEX dispatches_active ON dispatches (line_id, user_id)
    WHERE phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open');

-- Users that the platform refused on a line, remembered for a while.
CREATE TABLE refusals (
    line_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    words   TEXT NOT NULL,
    until   INTEGER NOT NULL,
    PRIMARY KEY (line_id, user_id)
) STRICT;

-- E-mails "all lines are busy": one for each payment and busy episode.
CREATE TABLE notices (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id  TEXT NOT NULL REFERENCES payments (id),
    episode     INTEGER NOT NULL,
    manager_id  TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    -- The lines of the manager at that moment, as JSON.
    facts       TEXT NOT NULL,
    state       TEXT NOT NULL
        CHECK (state IN ('due', 'sending', 'sent', 'unknown', 'refused', 'shown')),
    fence       INTEGER NOT NULL DEFAULT 0,
    owner       TEXT,
    due_at      INTEGER NOT NULL,
    lease_until INTEGER,
    failures    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    sent_at     INTEGER,
    detail      TEXT,
    UNIQUE (payment_id, episode)
) STRICT;
CREATE INDEX notices_due ON notices (due_at, id) WHERE state = 'due';
CREATE INDEX notices_sending ON notices (lease_until, id) WHERE state = 'sending';

-- Work that one replica does for all: who does it, and until when that holds.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    until      INTEGER NOT NULL
) STRICT;

-- Addresses that were ever ours, so that a hook left behind by a move of ours is known as ours.
CREATE TABLE own_urls (
    url TEXT PRIMARY KEY
) STRICT;
