-- What people and the ERP send into chats: messages, files, and what is to become of treatments.
CREATE TABLE outgoing (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    -- The sender's own key, of messages.
    key               TEXT UNIQUE,
    -- The request in canonical form: the same key with other content is a conflict.
    content           TEXT NOT NULL,
    kind              TEXT NOT NULL
        CHECK (kind IN ('text', 'file', 'image', 'close', 'transfer', 'assign')),
    line_id           TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    author_id         TEXT,
    mode              TEXT NOT NULL CHECK (mode IN ('bot', 'specialist')),
    text              TEXT,
    -- Rows of buttons, as JSON.
    keyboard          TEXT,
    notification_only INTEGER NOT NULL CHECK (notification_only IN (0, 1)),
    general_settings  INTEGER NOT NULL CHECK (general_settings IN (0, 1)),
    file_id           TEXT,
    file_name         TEXT,
    treatment_id      TEXT,
    to_line_id        TEXT,
    specialist_id     TEXT,
    -- To whoever is free where that specialist is not.
    or_any            INTEGER NOT NULL DEFAULT 0 CHECK (or_any IN (0, 1)),
    state             TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'in_doubt', 'sent',
                          'rejected', 'cancelled')),
    reason            TEXT NOT NULL,
    words             TEXT,
    -- Nothing that came in earlier for its chat is still on its way.
    turn              INTEGER NOT NULL CHECK (turn IN (0, 1)),
    fence             INTEGER NOT NULL DEFAULT 0,
    owner             TEXT,
    due_at            INTEGER NOT NULL,
    lease_until       INTEGER,
    failures          INTEGER NOT NULL DEFAULT 0,
    attempts          INTEGER NOT NULL DEFAULT 0,
    claimed_at        INTEGER,
    sent_at           INTEGER,
    proof_at          INTEGER,
    rehook            TEXT NOT NULL CHECK (rehook IN ('no', 'wanted', 'done')),
    echo              TEXT,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    CHECK (kind IN ('text', 'file', 'image') OR treatment_id IS NOT NULL),
    CHECK (kind <> 'transfer' OR to_line_id IS NOT NULL)
) STRICT;
-- One call at a time into one chat.
CREATE UNIQUE INDEX outgoing_alone ON outgoing (line_id, user_id) WHERE state = 'sending';
-- A treatment is closed, transferred or assigned by one at a time.
CREATE UNIQUE INDEX outgoing_once ON outgoing (treatment_id, kind)
    WHERE kind IN ('close', 'transfer', 'assign') AND state IN ('queued', 'sending', 'in_doubt');
CREATE INDEX outgoing_due ON outgoing (due_at, seq) WHERE state = 'queued' AND turn = 1;
-- Whose turn it is in a chat.
CREATE INDEX outgoing_turn ON outgoing (line_id, user_id) WHERE state = 'queued' AND turn = 1;
CREATE INDEX outgoing_sending ON outgoing (lease_until, seq) WHERE state = 'sending';
CREATE INDEX outgoing_in_doubt ON outgoing (due_at, seq) WHERE state = 'in_doubt';
CREATE INDEX outgoing_unfinished ON outgoing (line_id, user_id, seq)
    WHERE state IN ('queued', 'sending', 'in_doubt');
-- Messages whose echo was not heard yet.
CREATE INDEX outgoing_awaited ON outgoing (line_id, user_id, claimed_at)
    WHERE state = 'sent' AND echo IS NULL AND kind IN ('text', 'file', 'image');
CREATE INDEX outgoing_echoed ON outgoing (line_id, user_id, echo) WHERE echo IS NOT NULL;
CREATE INDEX outgoing_created ON outgoing (created_at, id);
CREATE INDEX outgoing_user ON outgoing (user_id, created_at, id);
CREATE INDEX outgoing_treatment ON outgoing (treatment_id, seq) WHERE treatment_id IS NOT NULL;

-- The modes in which a message of ours was seen to come back: only there silence proves anything.
CREATE TABLE echoes (
    mode    TEXT PRIMARY KEY CHECK (mode IN ('bot', 'specialist')),
    seen_at INTEGER NOT NULL
) STRICT;

-- Files on their way, in pieces, so that none is ever in memory as a whole.
CREATE TABLE files (
    file_id    TEXT PRIMARY KEY,
    bytes      INTEGER NOT NULL,
    -- The digest of what is in it (SHA-256, hex).
    digest     TEXT NOT NULL,
    is_image   INTEGER NOT NULL CHECK (is_image IN (0, 1)),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX files_created ON files (created_at);
CREATE TABLE file_pieces (
    file_id TEXT NOT NULL,
    place   INTEGER NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (file_id, place)
) STRICT;

-- Which lines are open to whom, as the platform says.
CREATE TABLE subscriptions (
    user_id    TEXT NOT NULL,
    line_id    TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (user_id, line_id)
) STRICT;
-- Whose subscriptions are known as a whole: since when, and when an event changed them last.
CREATE TABLE subscribers (
    user_id    TEXT PRIMARY KEY,
    asked_at   INTEGER,
    changed_at INTEGER NOT NULL
) STRICT;
-- The lines that the platform knows, ours and others.
CREATE TABLE platform_lines (
    line_id   TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    allow_bot INTEGER NOT NULL CHECK (allow_bot IN (0, 1)),
    hook_bot  TEXT,
    seen_at   INTEGER NOT NULL
) STRICT;

-- Who has an open treatment on a line whose bot is ours, and whether a hand-over was asked for.
CREATE TABLE holdings (
    treatment_id TEXT PRIMARY KEY,
    holder       TEXT NOT NULL CHECK (holder IN ('bot', 'queue', 'specialist')),
    asked        INTEGER NOT NULL CHECK (asked IN (0, 1))
) STRICT;
