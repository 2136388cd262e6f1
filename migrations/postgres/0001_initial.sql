-- Times are microseconds since the epoch, UTC; money is kopecks; ids and enumerations are text.
-- Text is compared by its bytes whatever the database's language, as SQLite and this program do.

-- Everything that came in on the callback URL, as it came.
CREATE TABLE events (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at  BIGINT NOT NULL,
    message_id   TEXT COLLATE "C",
    message_type BIGINT,
    event_source TEXT COLLATE "C" NOT NULL CHECK (event_source IN ('line', 'bot', 'unstated')),
    event_type   TEXT COLLATE "C",
    message_time BIGINT,
    line_id      TEXT COLLATE "C",
    user_id      TEXT COLLATE "C",
    author_id    TEXT COLLATE "C",
    treatment_id TEXT COLLATE "C",
    body         BYTEA NOT NULL,
    copies       BIGINT NOT NULL DEFAULT 1,
    state        TEXT COLLATE "C" NOT NULL CHECK (state IN ('new', 'applied', 'ignored', 'quarantined')),
    problem      TEXT COLLATE "C"
);
-- The platform delivers at least once: this index is what recognises a copy.
CREATE UNIQUE INDEX events_copy ON events (message_id, message_type, event_source, line_id)
    WHERE message_id IS NOT NULL AND message_type IS NOT NULL AND line_id IS NOT NULL;
CREATE INDEX events_new ON events (id) WHERE state = 'new';
CREATE INDEX events_quarantined ON events (id) WHERE state = 'quarantined';
CREATE INDEX events_line ON events (line_id, id);
CREATE INDEX events_type ON events (message_type, id);
CREATE INDEX events_treatment ON events (treatment_id, id) WHERE treatment_id IS NOT NULL;

CREATE TABLE managers (
    id            TEXT COLLATE "C" PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL,
    email         TEXT COLLATE "C" NOT NULL,
    specialist_id TEXT COLLATE "C",
    enabled       BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    present       BIGINT NOT NULL CHECK (present IN (0, 1)),
    -- When the dispatcher is to look at this manager; null while there is nothing to look for.
    due_at        BIGINT
);
CREATE INDEX managers_due ON managers (due_at, id) WHERE due_at IS NOT NULL;

CREATE TABLE lines (
    line_id      TEXT COLLATE "C" PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL,
    manager_id   TEXT COLLATE "C" NOT NULL REFERENCES managers (id),
    capacity     BIGINT NOT NULL CHECK (capacity >= 1),
    position     BIGINT NOT NULL,
    enabled      BIGINT NOT NULL CHECK (enabled IN (0, 1)),
    present      BIGINT NOT NULL CHECK (present IN (0, 1)),
    paused       TEXT COLLATE "C",
    -- Our hooks on it are set: its events reach us, and messages may be sent.
    hooked_at    BIGINT,
    -- Its open treatments were looked at since it was hooked.
    known_at     BIGINT,
    -- A look at its open treatments is wanted from this time on.
    look_at      BIGINT,
    look_failures BIGINT NOT NULL DEFAULT 0,
    state        TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('free', 'busy', 'reserved', 'paused', 'disabled', 'unknown')),
    since        BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX lines_manager ON lines (manager_id, position, line_id);
CREATE INDEX lines_look ON lines (look_at) WHERE look_at IS NOT NULL;

-- What we know of the registrations of our callback URL.
CREATE TABLE hooks (
    line_id     TEXT COLLATE "C" NOT NULL REFERENCES lines (line_id),
    kind        TEXT COLLATE "C" NOT NULL CHECK (kind IN ('line', 'bot')),
    state       TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('wanted', 'set', 'foreign', 'refused', 'not_allowed', 'no_such_line')),
    -- The address found or set, and a digest of our credentials when we set it.
    url         TEXT COLLATE "C",
    fingerprint TEXT COLLATE "C",
    detail      TEXT COLLATE "C",
    checked_at  BIGINT NOT NULL,
    PRIMARY KEY (line_id, kind)
);

CREATE TABLE counterparties (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    inn        TEXT COLLATE "C",
    manager_id TEXT COLLATE "C" NOT NULL REFERENCES managers (id),
    user_id    TEXT COLLATE "C",
    present    BIGINT NOT NULL CHECK (present IN (0, 1))
);

CREATE TABLE payments (
    id              TEXT COLLATE "C" PRIMARY KEY,
    number          TEXT COLLATE "C" NOT NULL UNIQUE,
    key             TEXT COLLATE "C" NOT NULL UNIQUE,
    -- The request as it came, in canonical form: the same key with other content is a conflict.
    content         TEXT COLLATE "C" NOT NULL,
    counterparty_id TEXT COLLATE "C",
    given_manager_id TEXT COLLATE "C",
    given_user_id   TEXT COLLATE "C",
    given_author_id TEXT COLLATE "C",
    amount          BIGINT NOT NULL CHECK (amount > 0),
    currency        TEXT COLLATE "C" NOT NULL,
    paid_at         BIGINT NOT NULL,
    order_ref       TEXT COLLATE "C",
    purpose         TEXT COLLATE "C",
    priority        BIGINT NOT NULL CHECK (priority BETWEEN 0 AND 9),
    hold            TEXT COLLATE "C",
    mismatch        TEXT COLLATE "C",
    text            TEXT COLLATE "C",
    state           TEXT COLLATE "C" NOT NULL CHECK (state IN ('held', 'queued', 'sending', 'in_doubt',
                        'dispatched', 'closed', 'rejected', 'cancelled')),
    reason          TEXT COLLATE "C" NOT NULL,
    reason_line_id  TEXT COLLATE "C",
    reason_words    TEXT COLLATE "C",
    hold_code       TEXT COLLATE "C",
    hold_words      TEXT COLLATE "C",
    manager_id      TEXT COLLATE "C" REFERENCES managers (id),
    user_id         TEXT COLLATE "C",
    author_id       TEXT COLLATE "C",
    line_id         TEXT COLLATE "C",
    treatment_id    TEXT COLLATE "C",
    episode         BIGINT NOT NULL,
    -- The episode for which a notice was written.
    noticed         BIGINT NOT NULL DEFAULT 0,
    attempts        BIGINT NOT NULL DEFAULT 0,
    received_at     BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    dispatched_at   BIGINT,
    closed_at       BIGINT,
    notified_at     BIGINT,
    -- The directory or the settings have changed: look again whether it may be queued.
    recheck         BIGINT NOT NULL DEFAULT 0 CHECK (recheck IN (0, 1))
);
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
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id TEXT COLLATE "C" NOT NULL REFERENCES payments (id),
    at         BIGINT NOT NULL,
    state      TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    line_id    TEXT COLLATE "C",
    words      TEXT COLLATE "C"
);
CREATE INDEX timeline_payment ON timeline (payment_id, id);

CREATE TABLE treatments (
    treatment_id  TEXT COLLATE "C" PRIMARY KEY,
    line_id       TEXT COLLATE "C" NOT NULL,
    user_id       TEXT COLLATE "C" NOT NULL,
    opened_at     BIGINT NOT NULL,
    opener        TEXT COLLATE "C" NOT NULL CHECK (opener IN ('user', 'specialist', 'moved', 'unknown')),
    last_event_at BIGINT NOT NULL,
    heard_at      BIGINT NOT NULL,
    ended_at      BIGINT,
    end_kind      TEXT COLLATE "C" CHECK (end_kind IN ('closed', 'moved', 'superseded', 'not_listed')),
    moved_to      TEXT COLLATE "C",
    CHECK ((ended_at IS NULL) = (end_kind IS NULL))
);
-- One user has at most one open treatment on a line.
CREATE UNIQUE INDEX treatments_open ON treatments (line_id, user_id) WHERE ended_at IS NULL;
CREATE INDEX treatments_pair ON treatments (line_id, user_id, opened_at, treatment_id);
CREATE INDEX treatments_opened ON treatments (opened_at, treatment_id);
CREATE INDEX treatments_user ON treatments (user_id, opened_at);

-- One try to send one payment to one line. While it is active it is the line's reservation.
CREATE TABLE dispatches (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id   TEXT COLLATE "C" NOT NULL REFERENCES payments (id),
    line_id      TEXT COLLATE "C" NOT NULL,
    user_id      TEXT COLLATE "C" NOT NULL,
    author_id    TEXT COLLATE "C",
    slot         BIGINT,
    capacity     BIGINT NOT NULL,
    phase        TEXT COLLATE "C" NOT NULL CHECK (phase IN ('reserved', 'sending', 'in_doubt', 'sent', 'open',
                     'closed', 'refused', 'undone')),
    treatment_id TEXT COLLATE "C",
    fence        BIGINT NOT NULL DEFAULT 0,
    owner        TEXT COLLATE "C",
    due_at       BIGINT NOT NULL,
    lease_until  BIGINT,
    failures     BIGINT NOT NULL DEFAULT 0,
    created_at   BIGINT NOT NULL,
    claimed_at   BIGINT,
    sent_at      BIGINT,
    rehook       TEXT COLLATE "C" NOT NULL CHECK (rehook IN ('no', 'wanted', 'done')),
    echo         TEXT COLLATE "C",
    CHECK (slot IS NULL OR (slot >= 0 AND slot < capacity))
);
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
    line_id TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    words   TEXT COLLATE "C" NOT NULL,
    until   BIGINT NOT NULL,
    PRIMARY KEY (line_id, user_id)
);

-- E-mails "all lines are busy": one for each payment and busy episode.
CREATE TABLE notices (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id  TEXT COLLATE "C" NOT NULL REFERENCES payments (id),
    episode     BIGINT NOT NULL,
    manager_id  TEXT COLLATE "C" NOT NULL,
    recipient   TEXT COLLATE "C" NOT NULL,
    -- The lines of the manager at that moment, as JSON.
    facts       TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('due', 'sending', 'sent', 'unknown', 'refused', 'shown')),
    fence       BIGINT NOT NULL DEFAULT 0,
    owner       TEXT COLLATE "C",
    due_at      BIGINT NOT NULL,
    lease_until BIGINT,
    failures    BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    sent_at     BIGINT,
    detail      TEXT COLLATE "C",
    UNIQUE (payment_id, episode)
);
CREATE INDEX notices_due ON notices (due_at, id) WHERE state = 'due';
CREATE INDEX notices_sending ON notices (lease_until, id) WHERE state = 'sending';

-- Work that one replica does for all: who does it, and until when that holds.
CREATE TABLE leases (
    name       TEXT COLLATE "C" PRIMARY KEY,
    owner      TEXT COLLATE "C" NOT NULL,
    until      BIGINT NOT NULL
);

-- Addresses that were ever ours, so that a hook left behind by a move of ours is known as ours.
CREATE TABLE own_urls (
    url TEXT COLLATE "C" PRIMARY KEY
);
