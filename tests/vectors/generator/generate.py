"""Writes the table of tokens and certificates; with --check, says whether the files are what it writes.

    python tests/vectors/generator/generate.py [--check]
"""

import json
import sys
from pathlib import Path

import jwt_svid
import key_sets
import oidc
import x509_svid

FOLDER = Path(__file__).resolve().parent.parent


class Table:
    """Cases of one kind, and the keys and rules that they name."""

    def __init__(self, kind, rules, now):
        self.kind, self.rules, self.now = kind, rules, now
        self.keys, self.cases = {}, []
        self.usual_rules = next(iter(rules))

    def accepted(self, name, says, evidence, subject="build-42", **more):
        self._add(name, says, evidence, {"verdict": "accepted", "subject": subject}, **more)

    def rejected(self, name, says, evidence, code, **more):
        self._add(name, says, evidence, {"verdict": "rejected", "code": code}, **more)

    def _add(self, name, says, evidence, expect, keys=None, rules=None, now=None):
        self.cases.append({
            "id": f"{self.kind}/{name}", "says": says, "kind": self.kind, "keys": keys or self.usual_keys,
            "rules": rules or self.usual_rules, "now": now or self.now, "token" if isinstance(evidence, str) else "chain": evidence, "expect": expect,
        })


def tables():
    tokens = Table("oidc", oidc.RULES, oidc.NOW)
    tokens.usual_keys = "issuer"
    oidc.cases(tokens)
    key_sets.cases(tokens)
    svids = Table("jwt-svid", jwt_svid.RULES, oidc.NOW)
    svids.usual_keys = "domains"
    jwt_svid.cases(svids)
    chains = Table("x509-svid", x509_svid.RULES, oidc.NOW)
    chains.usual_keys = "domains"
    x509_svid.cases(chains)
    return {"oidc.json": tokens, "jwt-svid.json": svids, "x509-svid.json": chains}


def printed(table):
    names = [case["id"] for case in table.cases]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    used = {case["keys"] for case in table.cases}
    assert used == set(table.keys), used ^ set(table.keys)
    lines = [f'"kind": "{table.kind}"', f'"rules": {section(table.rules)}', f'"keys": {section(table.keys)}']
    cases = ",\n".join(json.dumps(case) for case in table.cases)
    return "{\n" + ",\n".join(lines) + ',\n"cases": [\n' + cases + "\n]\n}\n"


def section(members):
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in members.items()) + "\n}"


def main():
    stale = False
    for name, table in tables().items():
        path, text = FOLDER / name, printed(table)
        print(f"{name}: {len(table.cases)} cases")
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            stale = True
            print(f"{name} is not what the generator writes", file=sys.stderr)
    sys.exit(stale)


if __name__ == "__main__":
    main()
