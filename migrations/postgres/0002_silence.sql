-- How sure the state of a line is, and when its silence is broken by a look: `look_at` of a line
-- that is known.
ALTER TABLE lines ADD COLUMN heard_at BIGINT;
-- When the quietest of its open treatments was last heard of; null while nothing is open.
ALTER TABLE lines ADD COLUMN quiet_since BIGINT;
-- Looks since then that found it still listed.
ALTER TABLE lines ADD COLUMN quiet_looks BIGINT NOT NULL DEFAULT 0;

UPDATE lines SET
    heard_at = (SELECT e.received_at FROM events e WHERE e.line_id = lines.line_id
        ORDER BY e.id DESC LIMIT 1),
    quiet_since = (SELECT MIN(t.heard_at) FROM treatments t
        WHERE t.line_id = lines.line_id AND t.ended_at IS NULL)
WHERE known_at IS NOT NULL;
-- Two hours, as by default, from whatever was heard or looked at last.
UPDATE lines SET look_at = 7200000000 +
    CASE WHEN quiet_since > known_at THEN quiet_since ELSE known_at END
WHERE quiet_since IS NOT NULL AND known_at IS NOT NULL;

-- What is open on a line, without its history. SQLite takes the index made last when two would
-- serve, and that was the one of all treatments.
CREATE INDEX treatments_open_of_line ON treatments (line_id) WHERE ended_at IS NULL;
