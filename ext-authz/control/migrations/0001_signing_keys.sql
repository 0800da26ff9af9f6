-- The issuer's signing keys. Private parts are sealed; the key that opens them is not in this file.
CREATE TABLE signing_key (
    key_id         TEXT    NOT NULL PRIMARY KEY,
    algorithm      TEXT    NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    public_jwk     TEXT    NOT NULL,
    sealed_private BLOB    NOT NULL
) STRICT;

CREATE INDEX signing_key_by_algorithm ON signing_key (algorithm);
