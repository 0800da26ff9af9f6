"""What implementations that are not ours say of the table: joserfc and PyJWT of ID tokens, py-spiffe of
JWT-SVIDs, OpenSSL of certificate paths. Where one of them is stricter than the table and the reason is not
written here, this fails; where the table is stricter, the cases are listed, and the README explains them.

    python tests/vectors/generator/cross_check.py [--openssl]

The libraries are pinned, so a test runs them; OpenSSL is the system's, and its versions differ.
"""

import base64
import collections
import json
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import jwt as pyjwt
from joserfc import jwk, jwt
from spiffe import TrustDomain
from spiffe.bundle.jwt_bundle.jwt_bundle import JwtBundle
from spiffe.svid.jwt_svid import JwtSvid

FOLDER = Path(__file__).resolve().parent.parent
# What the table accepts and the implementation does not, each with its reason.
STRICTER = {
    "joserfc": {
        "oidc/no-kid-one-key-fits": "it finds no key without `kid` among several",
        "oidc/unknown-header": "it refuses header members that it does not know",
        "oidc/nbf-instead-of-iat": "it is told to require `iat`",
        "oidc/keys-one-kid-two-types": "it takes the first key of a `kid`, whatever its type",
        "oidc/keys-with-strangers": "it refuses a set for one entry without `kty`",
    },
    "PyJWT": {
        "oidc/no-kid-one-key-fits": "it has no way to choose a key without `kid`",
        "oidc/exp-fraction": "it cuts the fraction of `exp`",
        "oidc/nbf-within-leeway": "its leeway would be for `exp` too, so none is given",
        "oidc/iat-within-leeway": "its leeway would be for `exp` too, so none is given",
        "oidc/nbf-instead-of-iat": "it is told to require `iat`",
        "oidc/keys-one-kid-two-types": "it takes the first key of a `kid`, whatever its type",
    },
    "py-spiffe": {},
    "OpenSSL": {
        "x509-svid/last-second": "it ends a certificate's life with the beginning of the last second (RFC 5280, 4.1.2.5: inclusive)",
    },
}


def clock(now):
    class Frozen(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(now, tz or timezone.utc)

    return mock.patch("jwt.api_jwt.datetime", Frozen)


def by_joserfc(case, keys, rules):
    keys = jwk.KeySet.import_key_set(keys)
    token = jwt.decode(case["token"], keys, algorithms=rules["algorithms"])
    registry = jwt.JWTClaimsRegistry(
        now=case["now"], leeway=rules["leeway"], iss={"essential": True, "value": rules["issuer"]},
        aud={"essential": True, "value": rules["audience"]}, exp={"essential": True}, iat={"essential": True}, sub={"essential": True})
    # Its leeway is for `exp` too; the table has none there.
    registry.validate(token.claims)


def by_pyjwt(case, keys, rules):
    header = pyjwt.get_unverified_header(case["token"])
    key = next(key for key in pyjwt.PyJWKSet.from_dict(keys).keys if key.key_id == header.get("kid"))
    with clock(case["now"]):
        pyjwt.decode(case["token"], key.key, algorithms=rules["algorithms"], audience=rules["audience"], issuer=rules["issuer"],
                     options={"require": ["exp", "iat", "sub", "aud", "iss"]})


def by_py_spiffe(case, keys, rules):
    name = rules["trust_domain"]
    document = keys["trust_domains"][name] if "trust_domains" in keys else keys
    bundle = JwtBundle.parse(TrustDomain(name), json.dumps(document).encode())
    with clock(case["now"]):
        JwtSvid.parse_and_validate(case["token"], bundle, {rules["audience"]})


def by_openssl(case, keys, rules):
    document = keys["trust_domains"][rules["trust_domain"]] if "trust_domains" in keys else keys
    roots = [key["x5c"][0] for key in document["keys"] if key.get("x5c") and key.get("use") == "x509-svid"]
    with tempfile.TemporaryDirectory() as folder:
        def file(name, certificates):
            path = Path(folder, name)
            path.write_text("".join(f"-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n" for der in certificates))
            return str(path)

        leaf, *between = case["chain"]
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-attime", str(case["now"]), "-no-CApath", "-CAfile", file("roots", roots),
             *(["-untrusted", file("between", between)] if between else []), file("leaf", [leaf])], capture_output=True)
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace"))


def held(name, file, judge):
    table = json.loads((FOLDER / file).read_text())
    agreed, laxer, stricter = 0, collections.defaultdict(list), []
    for case in table["cases"]:
        keys = table["keys"][case["keys"]]
        try:
            judge(case, json.loads(keys) if isinstance(keys, str) else keys, table["rules"][case["rules"]])
            accepted = True
        except Exception as error:
            accepted, why = False, f"{type(error).__name__}: {str(error).strip()[:100]}"
        expected = case["expect"]["verdict"] == "accepted"
        if accepted == expected:
            agreed += 1
        elif accepted:
            laxer[case["expect"]["code"]].append(case["id"].partition("/")[2])
        else:
            stricter.append((case["id"], why))
    print(f"\n{name}, {file}: {agreed} of {len(table['cases'])} agree")
    for code, ids in sorted(laxer.items()):
        print(f"  accepts {len(ids)} that are {code}: {', '.join(ids)}")
    for case, why in stricter:
        print(f"  refuses {case}: {why}")
    unexplained = {case for case, _ in stricter} ^ set(STRICTER[name])
    for case in sorted(unexplained):
        print(f"  NOT EXPLAINED, or no longer so: {case}", file=sys.stderr)
    return not unexplained


if __name__ == "__main__":
    results = [held("joserfc", "oidc.json", by_joserfc), held("PyJWT", "oidc.json", by_pyjwt),
               held("py-spiffe", "jwt-svid.json", by_py_spiffe)]
    if "--openssl" in sys.argv:
        results.append(held("OpenSSL", "x509-svid.json", by_openssl))
    sys.exit(not all(results))
