-- What others could see of payments, treatments and messages, a row for each time it became something
-- else: in the order of the commits and numbered without gaps, so that a reader who keeps the number
-- of what he read last misses nothing. The oldest rows are forgotten, the newest never is.
CREATE TABLE changes (
    seq            BIGINT PRIMARY KEY,
    at             BIGINT NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL CHECK (kind IN ('payment', 'treatment', 'message')),
    id             TEXT COLLATE "C" NOT NULL,
    state          TEXT COLLATE "C" NOT NULL,
    reason         TEXT COLLATE "C",
    reason_line_id TEXT COLLATE "C",
    reason_words   TEXT COLLATE "C",
    line_id        TEXT COLLATE "C",
    user_id        TEXT COLLATE "C",
    treatment_id   TEXT COLLATE "C",
    -- The payment itself, or the one that the treatment serves.
    payment_id     TEXT COLLATE "C",
    moved_to       TEXT COLLATE "C"
);

-- How far the sending of changes has come: one row, from the first start that was told where to.
CREATE TABLE pushing (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    -- The newest change that is, or was, in `pushes`.
    seq        BIGINT NOT NULL,
    -- Since when the receiver wants nothing more.
    stopped_at BIGINT
);

-- Changes that are to be sent. Of one object only the oldest is under way; a parked one is passed by.
CREATE TABLE pushes (
    seq      BIGINT PRIMARY KEY,
    object   TEXT COLLATE "C" NOT NULL,
    state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'sending', 'parked')),
    tries    BIGINT NOT NULL DEFAULT 0,
    fence    BIGINT NOT NULL DEFAULT 0,
    -- The next try; while it is being sent, the end of the claim.
    due_at   BIGINT NOT NULL,
    -- The last try says nothing against this change: the receiver was not there.
    is_away  BIGINT NOT NULL DEFAULT 0 CHECK (is_away IN (0, 1)),
    tried_at BIGINT,
    detail   TEXT COLLATE "C"
);
CREATE INDEX pushes_due ON pushes (due_at, seq) WHERE state <> 'parked';
CREATE INDEX pushes_object ON pushes (object, seq) WHERE state <> 'parked';
CREATE INDEX pushes_parked ON pushes (seq) WHERE state = 'parked';
