"""Makes the signing keys of a store older, as if that many seconds had passed while nobody looked at them."""

import json
import sqlite3
import sys

MOMENTS = ["created_at_ms", "published_at_ms", "active_at_ms", "due_at_ms", "retired_at_ms", "removed_at_ms", "revoked_at_ms"]

store, seconds = sys.argv[1], int(sys.argv[2])
with sqlite3.connect(store) as connection:
    older = ", ".join(f"{moment} = {moment} - {seconds * 1000}" for moment in MOMENTS)
    changed = connection.execute(f"UPDATE signing_key SET {older}").rowcount
connection.close()
print(json.dumps({"keys": changed}))
