-- What was said in treatments: one row a message or file, whatever copies of it came.
CREATE TABLE utterances (
    -- The first event that told of it; the order of arrival.
    event_id        BIGINT PRIMARY KEY,
    line_id         TEXT COLLATE "C" NOT NULL,
    -- What its copies share: the message's id; of one without, the event's.
    identity        TEXT COLLATE "C" NOT NULL,
    message_id      TEXT COLLATE "C",
    message_type    BIGINT NOT NULL,
    user_id         TEXT COLLATE "C" NOT NULL,
    treatment_id    TEXT COLLATE "C",
    at              BIGINT NOT NULL,
    heard_at        BIGINT NOT NULL,
    author_id       TEXT COLLATE "C",
    speaker         TEXT COLLATE "C" NOT NULL CHECK (speaker IN ('user', 'specialist', 'bot')),
    text            TEXT COLLATE "C",
    file_id         TEXT COLLATE "C",
    file_name       TEXT COLLATE "C",
    file_url        TEXT COLLATE "C",
    file_bytes      BIGINT,
    file_comment    TEXT COLLATE "C",
    preview_url     TEXT COLLATE "C",
    preview_hi_url  TEXT COLLATE "C",
    preview_hi_size TEXT COLLATE "C",
    -- Its words in one spelling, for the search.
    words           TEXT COLLATE "C" NOT NULL,
    -- Their stems, as the search wants them.
    terms           TSVECTOR NOT NULL
        GENERATED ALWAYS AS (to_tsvector('pg_catalog.russian'::regconfig, words)) STORED
);
CREATE UNIQUE INDEX utterances_copy ON utterances (line_id, identity);
CREATE INDEX utterances_treatment ON utterances (treatment_id, at, event_id)
    WHERE treatment_id IS NOT NULL;
-- No list of what was added last: a search would have to go through it as a whole.
CREATE INDEX utterances_terms ON utterances USING gin (terms) WITH (fastupdate = off);

-- What became of a treatment's chat before it came here.
CREATE INDEX treatments_moved ON treatments (moved_to) WHERE moved_to IS NOT NULL;

-- Which payment a message of ours was about.
CREATE INDEX dispatches_echo ON dispatches (echo) WHERE echo IS NOT NULL;

-- Kept events that a table made later is still to be filled from: those behind `after_id` that came
-- in until `until`. Replicas of an older version go on for a while: a day, to be sure.
CREATE TABLE catch_ups (
    name     TEXT COLLATE "C" PRIMARY KEY,
    after_id BIGINT NOT NULL,
    until    BIGINT NOT NULL
);
INSERT INTO catch_ups (name, after_id, until)
    SELECT 'utterances', 0, MAX(received_at) + 86400000000 FROM events HAVING COUNT(*) > 0;
