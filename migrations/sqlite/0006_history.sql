-- What was said in treatments: one row a message or file, whatever copies of it came.
CREATE TABLE utterances (
    -- The first event that told of it; the order of arrival.
    event_id        INTEGER PRIMARY KEY,
    line_id         TEXT NOT NULL,
    -- What its copies share: the message's id; of one without, the event's.
    identity        TEXT NOT NULL,
    message_id      TEXT,
    message_type    INTEGER NOT NULL,
    user_id         TEXT NOT NULL,
    treatment_id    TEXT,
    at              INTEGER NOT NULL,
    heard_at        INTEGER NOT NULL,
    author_id       TEXT,
    speaker         TEXT NOT NULL CHECK (speaker IN ('user', 'specialist', 'bot')),
    text            TEXT,
    file_id         TEXT,
    file_name       TEXT,
    file_url        TEXT,
    file_bytes      INTEGER,
    file_comment    TEXT,
    preview_url     TEXT,
    preview_hi_url  TEXT,
    preview_hi_size TEXT,
    -- Its words in one spelling, for the search.
    words           TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX utterances_copy ON utterances (line_id, identity);
CREATE INDEX utterances_treatment ON utterances (treatment_id, at, event_id)
    WHERE treatment_id IS NOT NULL;

-- The words once more, as the search wants them; kept by the engine.
CREATE VIRTUAL TABLE utterances_words USING fts5 (
    words, content = 'utterances', content_rowid = 'event_id',
    tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER utterances_said AFTER INSERT ON utterances BEGIN
    INSERT INTO utterances_words (rowid, words) VALUES (new.event_id, new.words);
END;
CREATE TRIGGER utterances_unsaid AFTER DELETE ON utterances BEGIN
    INSERT INTO utterances_words (utterances_words, rowid, words)
        VALUES ('delete', old.event_id, old.words);
END;
CREATE TRIGGER utterances_filled AFTER UPDATE ON utterances WHEN old.words <> new.words BEGIN
    INSERT INTO utterances_words (utterances_words, rowid, words)
        VALUES ('delete', old.event_id, old.words);
    INSERT INTO utterances_words (rowid, words) VALUES (new.event_id, new.words);
END;

-- What became of a treatment's chat before it came here.
CREATE INDEX treatments_moved ON treatments (moved_to) WHERE moved_to IS NOT NULL;

-- Which payment a message of ours was about.
CREATE INDEX dispatches_echo ON dispatches (echo) WHERE echo IS NOT NULL;

-- Kept events that a table made later is still to be filled from: those behind `after_id` that came
-- in until `until`.
CREATE TABLE catch_ups (
    name     TEXT PRIMARY KEY,
    after_id INTEGER NOT NULL,
    until    INTEGER NOT NULL
) STRICT;
INSERT INTO catch_ups (name, after_id, until)
    SELECT 'utterances', 0, MAX(received_at) FROM events HAVING COUNT(*) > 0;
