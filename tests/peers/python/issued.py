"""Verifies tokens of ours as strangers would, with three libraries that are not ours.

Usage: issued.py ISSUER TRUST_DOMAIN AUDIENCE TOKEN SVID_AUDIENCE SVID; prints what it found as JSON. joserfc and
PyJWT verify both tokens by the OIDC key set; py-spiffe reads the bundle and validates the JWT-SVID by it.
"""

import json
import sys
import urllib.request

import jwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from spiffe import JwtBundle, JwtSvid, TrustDomain

issuer, trust_domain, audience, token, svid_audience, svid = sys.argv[1:]


def fetched(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


discovery = json.loads(fetched(f"{issuer}/.well-known/openid-configuration"))
key_set = fetched(discovery["jwks_uri"])
bundle_bytes = fetched(f"{issuer}/bundle")


def by_joserfc(text, wanted):
    keys = KeySet.import_key_set(json.loads(key_set))
    verified = joserfc_jwt.decode(text, keys, algorithms=["RS256", "ES256"])
    rules = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": wanted},
        exp={"essential": True},
        sub={"essential": True},
    )
    rules.validate(verified.claims)
    return verified.claims


def by_pyjwt(text, wanted):
    keys = jwt.PyJWKSet.from_json(key_set.decode())
    key = keys[jwt.get_unverified_header(text)["kid"]]
    return jwt.decode(text, key, algorithms=["RS256", "ES256"], audience=wanted, issuer=issuer)


domain = TrustDomain(trust_domain)
bundle = JwtBundle.parse(domain, bundle_bytes)
validated = JwtSvid.parse_and_validate(svid, bundle, {svid_audience})

try:
    JwtSvid.parse_and_validate(svid, bundle, {"someone else"})
    wrong_audience = "accepted"
except Exception as error:
    wrong_audience = type(error).__name__

print(
    json.dumps(
        {
            "joserfc": [by_joserfc(token, audience), by_joserfc(svid, svid_audience)],
            "pyjwt": [by_pyjwt(token, audience), by_pyjwt(svid, svid_audience)],
            "spiffe": {
                "id": str(validated.spiffe_id),
                "audience": sorted(validated.audience),
                "expiry": validated.expiry,
                "authorities": sorted(bundle.jwt_authorities),
                "wrong_audience": wrong_audience,
            },
            "bundle": json.loads(bundle_bytes),
        }
    )
)
