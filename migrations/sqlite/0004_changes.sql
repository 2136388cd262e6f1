-- What others could see of payments, treatments and messages, a row for each time it became something
-- else: in the order of the commits and numbered without gaps, so that a reader who keeps the number
-- of what he read last misses nothing. The oldest rows are forgotten, the newest never is.
CREATE TABLE changes (
    seq            INTEGER PRIMARY KEY,
    at             INTEGER NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('payment', 'treatment', 'message')),
    id             TEXT NOT NULL,
    state          TEXT NOT NULL,
    reason         TEXT,
    reason_line_id TEXT,
    reason_words   TEXT,
    line_id        TEXT,
    user_id        TEXT,
    treatment_id   TEXT,
    -- The payment itself, or the one that the treatment serves.
    payment_id     TEXT,
    moved_to       TEXT
) STRICT;

-- How far the sending of changes has come: one row, from the first start that was told where to.
CREATE TABLE pushing (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    -- The newest change that is, or was, in `pushes`.
    seq        INTEGER NOT NULL,
    -- Since when the receiver wants nothing more.
    stopped_at INTEGER
) STRICT;

-- Changes that are to be sent. Of one object only the oldest is under way; a parked one is passed by.
CREATE TABLE pushes (
    seq      INTEGER PRIMARY KEY,
    object   TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'sending', 'parked')),
    tries    INTEGER NOT NULL DEFAULT 0,
    fence    INTEGER NOT NULL DEFAULT 0,
    -- The next try; while it is being sent, the end of the claim.
    due_at   INTEGER NOT NULL,
    -- The last try says nothing against this change: the receiver was not there.
    is_away  INTEGER NOT NULL DEFAULT 0 CHECK (is_away IN (0, 1)),
    tried_at INTEGER,
    detail   TEXT
) STRICT;
CREATE INDEX pushes_due ON pushes (due_at, seq) WHERE state <> 'parked';
CREATE INDEX pushes_object ON pushes (object, seq) WHERE state <> 'parked';
CREATE INDEX pushes_parked ON pushes (seq) WHERE state = 'parked';
