-- Keys take turns: each moment of a key's life, and a sequence that grows with every change and is at least
-- the Unix time in seconds of the last one.
ALTER TABLE signing_key ADD COLUMN published_at_ms INTEGER;
ALTER TABLE signing_key ADD COLUMN active_at_ms INTEGER;
ALTER TABLE signing_key ADD COLUMN due_at_ms INTEGER;
ALTER TABLE signing_key ADD COLUMN retired_at_ms INTEGER;
ALTER TABLE signing_key ADD COLUMN removed_at_ms INTEGER;
ALTER TABLE signing_key ADD COLUMN revoked_at_ms INTEGER;
-- Of the tokens that the key may have signed: a week is what any configuration could allow before.
ALTER TABLE signing_key ADD COLUMN longest_ttl_s INTEGER NOT NULL DEFAULT 604800;

UPDATE signing_key SET published_at_ms = created_at_ms, active_at_ms = created_at_ms;

-- One row.
CREATE TABLE key_ring (
    one         INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sequence    INTEGER NOT NULL,
    revocations INTEGER NOT NULL
) STRICT;

INSERT INTO key_ring (one, sequence, revocations)
SELECT 1, coalesce(max(created_at_ms) / 1000, 0), 0 FROM signing_key;
