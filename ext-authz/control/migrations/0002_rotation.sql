-- Keys take turns: each moment of a key's life, and a sequence that grows with every change.
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

INSERT INTO key_ring (one, sequence, revocations) VALUES (1, 0, 0);
