"""JWT-SVIDs (SPIFFE JWT-SVID), held against the bundle of one trust domain."""

import base64

from jose import Ec, Rsa, b64, text, token
from oidc import (ATTACKER, CLAIM, CLAIMS as ID_TOKEN, HEADER, INVALID, MALFORMED, MISMATCH, NOT_ALLOWED, NOW, UNKNOWN, resigned, slug)

ID = "spiffe://example.org/ns/shop/sa/payment"
CLAIMS = {"sub": ID, "aud": ["attache"], "iat": NOW - 10, "exp": NOW + 290}
EC, EC384, EC521 = Ec("example.org P-256"), Ec("example.org P-384", "P-384"), Ec("example.org P-521", "P-521")
RSA, OTHER = Rsa("second"), Ec("other.example P-256")
ES = {"alg": "ES256", "kid": "jwt-1", "typ": "JWT"}
SVID_KEYS = [EC.jwk(kid="jwt-1", use="jwt-svid"), EC384.jwk(kid="jwt-2", use="jwt-svid"),
             EC521.jwk(kid="jwt-3", use="jwt-svid"), RSA.jwk(kid="jwt-4", use="jwt-svid")]
OTHER_KEYS = [OTHER.jwk(kid="jwt-1", use="jwt-svid"), OTHER.jwk(kid="other-1", use="jwt-svid")]
RULES = {
    "example.org": {"trust_domain": "example.org", "audience": "attache", "max_lifetime": 86400, "leeway": 30},
    "other.example": {"trust_domain": "other.example", "audience": "attache", "max_lifetime": 86400, "leeway": 30},
    "third.example": {"trust_domain": "third.example", "audience": "attache", "max_lifetime": 86400, "leeway": 30},
}
GOOD = token(EC, ES, CLAIMS)
DOMAIN = "token-trust-domain-mismatch"


def svid(header=None, **claims):
    """A good JWT-SVID but for these header members and claims; None leaves a claim out."""
    merged = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return token(EC, {**ES, **(header or {})}, merged, "ES256")


def bundle(*keys, **members):
    return {"spiffe_sequence": 1, "spiffe_refresh_hint": 300, "keys": list(keys), **members}


def cases(table):
    table.keys["domains"] = {"trust_domains": {"example.org": bundle(*SVID_KEYS), "other.example": bundle(*OTHER_KEYS)}}
    accepted(table)
    algorithms_and_headers(table)
    subjects(table)
    domains(table)
    claims(table)
    bundles(table)


def accepted(table):
    def ok(name, says, good, subject=ID, **more):
        table.accepted(name, says, good, subject, **more)

    ok("plain", "A JWT-SVID by ES256, as SPIRE issues it.", GOOD)
    for alg, kid, key in [("ES384", "jwt-2", EC384), ("ES512", "jwt-3", EC521), *((alg, "jwt-4", RSA) for alg in
                          ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])]:
        ok(f"plain-{alg.lower()}", f"{alg}, which JWT-SVID 2.1 lets an issuer use.", token(key, {"alg": alg, "kid": kid}, CLAIMS))
    ok("aud-string", "`aud` as a string.", svid(aud="attache"))
    ok("aud-several", "Our audience is one of several (JWT-SVID 3.2).", svid(aud=["other", "attache"]))
    ok("without-iat", "`iat` is optional.", svid(iat=None))
    ok("without-typ", "`typ` is optional (JWT-SVID 2.3).", token(EC, {"alg": "ES256", "kid": "jwt-1"}, CLAIMS))
    ok("typ-jose", "`typ` may say JOSE (JWT-SVID 2.3).", svid({"typ": "JOSE"}))
    ok("iss-of-anyone", "`iss` says nothing about who vouches: the bundle does.", svid(iss="https://anyone.example"))
    ok("more-claims", "Other claims are the issuer's (JWT-SVID 3).", svid(jti="1", env="prod"))
    for name, subject in {"one-segment": "spiffe://example.org/a", "case-in-path": "spiffe://example.org/Shop/PAYMENT", "dots": "spiffe://example.org/.../.x/a.b",
                          "longest": "spiffe://example.org/" + "a" * 2027}.items():
        ok(f"sub-{name}", f"`sub` is {subject[:48]}.", svid(sub=subject), subject)
    other = "spiffe://other.example/workload"
    ok("of-the-other-domain", "A JWT-SVID of another trust domain, by that domain's bundle.",
       token(OTHER, {**ES, "kid": "other-1"}, {**CLAIMS, "sub": other}), other, rules="other.example")


def algorithms_and_headers(table):
    no = table.rejected
    for alg in ["none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "EdDSA", "ES256K", "es256", ""]:
        no(f"alg-{slug(alg)}", f"`alg` is {alg!r} (JWT-SVID 2.1).", svid({"alg": alg}), NOT_ALLOWED)
    head, payload, signature = GOOD.split(".")
    no("unsigned", "No signature, and `alg` is none.", f"{b64(text({'alg': 'none'}))}.{payload}.", NOT_ALLOWED)
    for name, members in {"crit": {"crit": ["exp"]}, "jku": {"jku": "https://example.org/keys"}, "jwk": {"jwk": EC.jwk()}, "x5u": {"x5u": "https://example.org/c"},
                          "x5c": {"x5c": ["MIIB"]}, "b64": {"b64": False}, "typ-wit": {"typ": "wit+jwt"}, "typ-at": {"typ": "at+jwt"},
                          "typ-lower-case": {"typ": "jwt"}, "typ-null": {"typ": None}}.items():
        no(f"header-{name}", f"The header holds {text(members)[:60]} (JWT-SVID 2).", svid(members), HEADER)
    no("without-kid", "No `kid`: the validators of the field demand one.", token(EC, {"alg": "ES256"}, CLAIMS), "token-key-id-missing")
    for name, kid in {"unknown": "jwt-9", "empty": "", "traversal": "../jwt-1", "upper-case": "JWT-1", "nul": "jwt-1\0", "of-the-other-domain": "other-1"}.items():
        no(f"kid-{name}", f"`kid` is {kid!r}.", svid({"kid": kid}), UNKNOWN)
    no("kid-number", "`kid` is a number.", svid({"kid": 1}), MALFORMED)
    no("kid-of-another-type", "ES256 under the `kid` of an RSA key.", svid({"kid": "jwt-4"}), MISMATCH)
    no("kid-of-another-curve", "ES256 under the `kid` of a P-384 key.", svid({"kid": "jwt-2"}), MISMATCH)
    no("json-flattened", "Flattened JSON serialisation (JWT-SVID 4: compact alone).",
       text({"payload": payload, "protected": head, "signature": signature}), MALFORMED)
    no("jwe", "A JWE in compact form.", f"{b64(text({'alg': 'ECDH-ES', 'enc': 'A256GCM'}))}..AAAA.{payload}.AAAA", MALFORMED)
    no("zero-signature", "r and s are zero.", resigned(GOOD, bytes(64)), INVALID)
    no("attacker-key", "The domain's `kid`, and another key's signature.", token(ATTACKER, {"alg": "RS256", "kid": "jwt-4"}, CLAIMS), INVALID)
    no("es512-short", "ES512 whose r and s lost a byte each: 130 bytes instead of 132.", short_es512(), INVALID)


def short_es512():
    good = token(EC521, {"alg": "ES512", "kid": "jwt-3"}, CLAIMS)
    signature = good.rpartition(".")[2]
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    assert len(raw) == 132
    return resigned(good, raw[1:66] + raw[67:])


def subjects(table):
    no = table.rejected
    for name, subject in {
        "https": "https://example.org/a", "upper-case-scheme": "SPIFFE://example.org/a", "mixed-scheme": "Spiffe://example.org/a", "one-slash": "spiffe:/example.org/a",
        "no-scheme": "example.org/a", "upper-case-domain": "spiffe://Example.org/a", "no-domain": "spiffe:///a", "domain-alone": "spiffe://example.org",
        "slash-alone": "spiffe://example.org/", "slash-at-end": "spiffe://example.org/a/", "two-slashes": "spiffe://example.org//a", "dot": "spiffe://example.org/./a",
        "dot-dot": "spiffe://example.org/a/../b", "percent": "spiffe://example.org/a%2fb", "percent-domain": "spiffe://ex%61mple.org/a", "query": "spiffe://example.org/a?b",
        "fragment": "spiffe://example.org/a#b", "port": "spiffe://example.org:443/a", "user": "spiffe://me@example.org/a", "space": "spiffe://example.org/a ",
        "backslash": "spiffe://example.org\\a", "non-ascii": "spiffe://example.org/zoë", "look-alike": "spiffe://exаmple.org/a", "colon": "spiffe://example.org/a:b",
        "long": "spiffe://example.org/" + "a" * 2028, "domain-long": "spiffe://" + "a" * 256 + "/a", "empty": "", "nul": "spiffe://example.org/a\0", "line-end": "spiffe://example.org/a\n", "semicolon": "spiffe://example.org/a;b", "no-authority": "spiffe:example.org/a",
        "three-slashes": "spiffe:///example.org/a", "at": "spiffe://example.org@other.example/a", "bracket": "spiffe://[::1]/a", "star": "spiffe://example.org/*",
    }.items():
        no(f"sub-{name}", f"`sub` is {subject[:48]!r} (SPIFFE-ID 2).", svid(sub=subject), CLAIM)
    no("sub-missing", "No `sub` (JWT-SVID 3.1).", svid(sub=None), "token-claim-missing")
    for name, subject in {"number": 1, "list": [ID], "object": {"spiffe": ID}, "true": True}.items():
        no(f"sub-is-{name}", f"`sub` is a {name}.", svid(sub=subject), CLAIM)


def domains(table):
    no = table.rejected
    other = "spiffe://other.example/workload"
    no("other-domain", "A good JWT-SVID of another trust domain.", token(OTHER, {**ES, "kid": "other-1"}, {**CLAIMS, "sub": other}), DOMAIN)
    no("other-domain-by-our-key", "Our domain's key vouches for a workload of another.", svid(sub=other), DOMAIN)
    no("our-domain-by-other-key", "Another domain's key, of the same `kid`, vouches for our workload.", token(OTHER, ES, CLAIMS), INVALID)
    no("our-domain-under-their-rules", "A good JWT-SVID, held against another trust domain.", GOOD, DOMAIN, rules="other.example")
    for name, subject in {"sub-domain": "spiffe://a.example.org/x", "super-domain": "spiffe://org/x", "suffix": "spiffe://example.org.attacker.example/x",
                          "prefix": "spiffe://notexample.org/x", "dot-at-end": "spiffe://example.org./x"}.items():
        no(f"domain-{name}", f"The trust domain of {subject} is another.", svid(sub=subject), DOMAIN)
    table.keys["of-others-alone"] = {"trust_domains": {"other.example": bundle(*OTHER_KEYS)}}
    no("no-bundle", "No bundle of our trust domain: nothing of it can be proven.", GOOD, "key-set-refused", keys="of-others-alone")


def claims(table):
    no = table.rejected
    no("exp-missing", "No `exp` (JWT-SVID 3.3).", svid(exp=None), "token-claim-missing")
    no("exp-now", "It expires now.", svid(exp=NOW), "token-expired")
    no("exp-past", "It expired a second ago.", svid(exp=NOW - 1), "token-expired")
    for name, value in {"string": str(NOW + 290), "negative": -1, "huge": 10**300, "list": [NOW + 290], "true": True}.items():
        no(f"exp-{name}", f"`exp` is a {name}.", svid(exp=value), CLAIM)
    no("nbf-ahead", "`nbf` lies ahead.", svid(nbf=NOW + 31), "token-not-yet-valid")
    no("iat-ahead", "`iat` lies ahead.", svid(iat=NOW + 31), "token-not-yet-valid")
    no("life-too-long", "It lives longer than the rules allow.", svid(exp=NOW + 86_400), "token-lives-too-long")
    no("life-too-long-without-iat", "Without `iat`, what is left of its life is too long.", svid(iat=None, exp=NOW + 86_401), "token-lives-too-long")
    no("aud-missing", "No `aud` (JWT-SVID 3.2).", svid(aud=None), "token-claim-missing")
    no("aud-empty-list", "`aud` is empty.", svid(aud=[]), CLAIM)
    no("aud-number", "`aud` is a number.", svid(aud=1), CLAIM)
    no("aud-list-with-number", "`aud` holds a number.", svid(aud=["attache", 1]), CLAIM)
    no("aud-other", "Another audience.", svid(aud=["other"]), "token-audience-mismatch")
    no("aud-upper-case", "Our audience in other case.", svid(aud=["Attache"]), "token-audience-mismatch")
    no("aud-spiffe-id", "A SPIFFE ID that is not our audience.", svid(aud=["spiffe://example.org/attache"]), "token-audience-mismatch")
    no("aud-nested", "`aud` holds a list that holds our audience.", svid(aud=[["attache"]]), CLAIM)
    no("aud-object", "`aud` is an object.", svid(aud={"attache": True}), CLAIM)
    no("actor", "The subject is somebody else's, and ours stands in `act` (RFC 8693, 4.1).", svid(sub="spiffe://other.example/a", act={"sub": ID}), DOMAIN)
    no("id-token", "An ID token is no JWT-SVID.", token(EC, ES, ID_TOKEN), CLAIM)
    no("payload-member-twice", "`sub` stands twice.", token(EC, ES, text(CLAIMS)[:-1] + ',"sub":"spiffe://example.org/admin"}'), MALFORMED)


def bundles(table):
    key = SVID_KEYS[0]

    def ok(name, says, document):
        table.keys[name] = document
        table.accepted(f"bundle-{name}", says, GOOD, ID, keys=name)

    def no(name, says, document, code=UNKNOWN):
        table.keys[name] = document
        table.rejected(f"bundle-{name}", says, GOOD, code, keys=name)

    def changed(**members):
        return {name: value for name, value in {**key, **members}.items() if value is not None}

    ok("alone", "One bundle, not a map of them.", bundle(key))
    ok("without-sequence", "Sequence and refresh hint are optional.", {"keys": [key]})
    ok("with-strangers", "Keys of unknown `use` and `kty` are ignored one by one (Bundle 4.1.3, 4.2).",
       bundle({"kty": "EC", "use": "new-svid"}, {"kty": "new", "use": "jwt-svid"}, {}, key))
    ok("sequence-largest", "`spiffe_sequence` has 64 bits (Bundle 4.1.1).", bundle(key, spiffe_sequence=2**64 - 1))
    ok("hint-zero", "`spiffe_refresh_hint` is zero: how often it is asked for is the consumer's to bound.", bundle(key, spiffe_refresh_hint=0))
    no("kid-twice", "Two keys of one `kid`: the first counts.", bundle(OTHER.jwk(kid="jwt-1", use="jwt-svid"), key), INVALID)
    ok("kid-twice-one-of-no-use", "An entry of that `kid` whose `alg` is not its curve's is ignored, and hides no other.", bundle(changed(alg="ES384"), key))
    no("empty", "`keys` is empty: everything of the domain is untrusted (Bundle 4.1.3).", bundle())
    no("use-missing", "A key without `use` is ignored (Bundle 4.2.2).", bundle(changed(use=None)))
    no("use-sig", "A key whose `use` is `sig` is for no SVID.", bundle(changed(use="sig")))
    no("use-x509", "A key for X.509-SVIDs does not vouch for JWT-SVIDs.", bundle(changed(use="x509-svid")))
    no("use-upper-case", "`use` is `JWT-SVID`; case counts (Bundle 4.2.2).", bundle(changed(use="JWT-SVID")))
    no("use-wit", "A key for WIT-SVIDs does not vouch for JWT-SVIDs.", bundle(changed(use="wit-svid")))
    no("kid-missing", "A key without `kid` (JWT-SVID 6.1).", bundle(changed(kid=None)))
    no("kid-of-another", "The bundle was rotated: the key is gone.", bundle(changed(kid="jwt-7")))
    for name, says, document in [
        ("keys-missing", "No `keys` (Bundle 4.1.3).", {"spiffe_sequence": 1}),
        ("sequence-text", "`spiffe_sequence` is a text (Bundle 4.1.1).", bundle(key, spiffe_sequence="1")),
        ("sequence-beyond-64-bits", "`spiffe_sequence` needs 65 bits.", bundle(key, spiffe_sequence=2**64)),
        ("sequence-twice", "`spiffe_sequence` stands twice.", '{"spiffe_sequence":2,"spiffe_sequence":1,"keys":[]}'),
        ("private-of-another-use", "It publishes a private key of a use that is not known.", bundle(key, {"kty": "oct", "use": "new-svid", "k": "AAAA"})),
        ("sequence-negative", "`spiffe_sequence` is negative.", bundle(key, spiffe_sequence=-1)),
        ("hint-fraction", "`spiffe_refresh_hint` has a fraction (Bundle 4.1.2).", bundle(key, spiffe_refresh_hint=0.5)),
        ("private", "It publishes a private key.", bundle(changed(d=b64(bytes(31) + b"\1")))),
        ("ambiguous", "A bundle and a map of bundles in one.", {**bundle(key), "trust_domains": {"example.org": bundle(key)}}),
        ("domain-twice", "The map names the domain twice.", '{"trust_domains":{"example.org":{"keys":[]},"example.org":{"keys":[]}}}'),
    ]:
        no(name, says, document, "key-set-refused")
