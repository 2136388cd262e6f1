-- What people and the ERP send into chats: messages, files, and what is to become of treatments.
CREATE TABLE outgoing (
    seq               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                TEXT COLLATE "C" NOT NULL UNIQUE,
    -- The sender's own key, of messages.
    key               TEXT COLLATE "C" UNIQUE,
    -- The request in canonical form: the same key with other content is a conflict.
    content           TEXT COLLATE "C" NOT NULL,
    kind              TEXT COLLATE "C" NOT NULL
        CHECK (kind IN ('text', 'file', 'image', 'close', 'transfer', 'assign')),
    line_id           TEXT COLLATE "C" NOT NULL,
    user_id           TEXT COLLATE "C" NOT NULL,
    author_id         TEXT COLLATE "C",
    mode              TEXT COLLATE "C" NOT NULL CHECK (mode IN ('bot', 'specialist')),
    text              TEXT COLLATE "C",
    -- Rows of buttons, as JSON.
    keyboard          TEXT COLLATE "C",
    notification_only BIGINT NOT NULL CHECK (notification_only IN (0, 1)),
    general_settings  BIGINT NOT NULL CHECK (general_settings IN (0, 1)),
    file_id           TEXT COLLATE "C",
    file_name         TEXT COLLATE "C",
    treatment_id      TEXT COLLATE "C",
    to_line_id        TEXT COLLATE "C",
    specialist_id     TEXT COLLATE "C",
    -- To whoever is free where that specialist is not.
    or_any            BIGINT NOT NULL DEFAULT 0 CHECK (or_any IN (0, 1)),
    state             TEXT COLLATE "C" NOT NULL CHECK (state IN ('queued', 'sending', 'in_doubt', 'sent',
                          'rejected', 'cancelled')),
    reason            TEXT COLLATE "C" NOT NULL,
    words             TEXT COLLATE "C",
    -- Nothing that came in earlier for its chat is still on its way.
    turn              BIGINT NOT NULL CHECK (turn IN (0, 1)),
    fence             BIGINT NOT NULL DEFAULT 0,
    owner             TEXT COLLATE "C",
    due_at            BIGINT NOT NULL,
    lease_until       BIGINT,
    failures          BIGINT NOT NULL DEFAULT 0,
    attempts          BIGINT NOT NULL DEFAULT 0,
    claimed_at        BIGINT,
    sent_at           BIGINT,
    proof_at          BIGINT,
    rehook            TEXT COLLATE "C" NOT NULL CHECK (rehook IN ('no', 'wanted', 'done')),
    echo              TEXT COLLATE "C",
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    CHECK (kind IN ('text', 'file', 'image') OR treatment_id IS NOT NULL),
    CHECK (kind <> 'transfer' OR to_line_id IS NOT NULL)
);
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
    mode    TEXT COLLATE "C" PRIMARY KEY CHECK (mode IN ('bot', 'specialist')),
    seen_at BIGINT NOT NULL
);

-- Files on their way, in pieces, so that none is ever in memory as a whole.
CREATE TABLE files (
    file_id    TEXT COLLATE "C" PRIMARY KEY,
    bytes      BIGINT NOT NULL,
    -- The digest of what is in it (SHA-256, hex).
    digest     TEXT COLLATE "C" NOT NULL,
    is_image   BIGINT NOT NULL CHECK (is_image IN (0, 1)),
    created_at BIGINT NOT NULL
);
CREATE INDEX files_created ON files (created_at);
CREATE TABLE file_pieces (
    file_id TEXT COLLATE "C" NOT NULL,
    place   BIGINT NOT NULL,
    body    BYTEA NOT NULL,
    PRIMARY KEY (file_id, place)
);

-- Which lines are open to whom, as the platform says.
CREATE TABLE subscriptions (
    user_id    TEXT COLLATE "C" NOT NULL,
    line_id    TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (user_id, line_id)
);
-- Whose subscriptions are known as a whole: since when, and when an event changed them last.
CREATE TABLE subscribers (
    user_id    TEXT COLLATE "C" PRIMARY KEY,
    asked_at   BIGINT,
    changed_at BIGINT NOT NULL
);
-- The lines that the platform knows, ours and others.
CREATE TABLE platform_lines (
    line_id   TEXT COLLATE "C" PRIMARY KEY,
    name      TEXT COLLATE "C" NOT NULL,
    allow_bot BIGINT NOT NULL CHECK (allow_bot IN (0, 1)),
    hook_bot  TEXT COLLATE "C",
    seen_at   BIGINT NOT NULL
);

-- Who has an open treatment on a line whose bot is ours, and whether a hand-over was asked for.
CREATE TABLE holdings (
    treatment_id TEXT COLLATE "C" PRIMARY KEY,
    holder       TEXT COLLATE "C" NOT NULL CHECK (holder IN ('bot', 'queue', 'specialist')),
    asked        BIGINT NOT NULL CHECK (asked IN (0, 1))
);
