"""Tokens of an OpenID Connect issuer: what is accepted, and everything that an attacker may send."""

import hashlib
import hmac
import json

from jose import DIGEST_INFO, Ec, Rsa, b64, octets, signing_input, text, token

NOW = 1_800_000_000
ISSUER = "https://issuer.example"
CLAIMS = {"iss": ISSUER, "sub": "build-42", "aud": "attache", "iat": NOW - 10, "exp": NOW + 600}

RSA, SECOND, ATTACKER = Rsa("issuer"), Rsa("second"), Rsa("attacker")
P256, P384, P521 = Ec("issuer P-256"), Ec("issuer P-384", "P-384"), Ec("issuer P-521", "P-521")
ISSUER_KEYS = [RSA.jwk(kid="rsa", use="sig"), P256.jwk(kid="p256", use="sig"), P384.jwk(kid="p384", use="sig"),
               P521.jwk(kid="p521", use="sig")]

RULES = {
    "oidc": {"issuer": ISSUER, "audience": "attache", "algorithms": ["RS256", "ES256"], "max_lifetime": 86400, "leeway": 30},
    "oidc-all-algorithms": {
        "issuer": ISSUER, "audience": "attache",
        "algorithms": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"],
        "max_lifetime": 86400, "leeway": 30,
    },
}

RS = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
ES = {"alg": "ES256", "kid": "p256", "typ": "JWT"}
GOOD, GOOD_EC = token(RSA, RS, CLAIMS), token(P256, ES, CLAIMS)
MALFORMED, NOT_ALLOWED, HEADER = "token-malformed", "token-algorithm-not-allowed", "token-header-not-allowed"
UNKNOWN, MISMATCH, INVALID = "token-key-unknown", "token-key-mismatch", "token-signature-invalid"
CLAIM = "token-claim-malformed"


def rs(header=None, **claims):
    """A good token but for these header members and claims; None leaves a claim out."""
    merged = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return token(RSA, {**RS, **(header or {})}, merged, "RS256")


def raw(claims):
    """Claims as a text, signed as they are."""
    return token(RSA, RS, claims)


def appended(members):
    return raw(text(CLAIMS)[:-1] + "," + members + "}")


def with_member(name, json_text):
    """Claims in which one member is this very text."""
    rest = {key: value for key, value in CLAIMS.items() if key != name}
    return raw(text(rest)[:-1] + f',"{name}":{json_text}' + "}")


def resigned(good, signature):
    return good.rpartition(".")[0] + "." + b64(signature)


def cases(table):
    accepted(table)
    algorithms(table)
    headers(table)
    key_choice(table)
    rsa_signatures(table)
    ec_signatures(table)
    forms(table)
    encodings(table)
    json_texts(table)
    times(table)
    claims(table)


def accepted(table):
    ok = table.accepted
    ok("plain", "An ID token by RS256.", GOOD)
    ok("plain-ec", "An ID token by ES256.", GOOD_EC)
    for alg in ["RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512"]:
        key, kid = {"ES384": (P384, "p384"), "ES512": (P521, "p521")}.get(alg, (RSA, "rsa"))
        good = token(key, {"alg": alg, "kid": kid}, CLAIMS)
        ok(f"plain-{alg.lower()}", f"{alg}, where the rules allow it.", good, rules="oidc-all-algorithms")
    ok("aud-list", "Our audience is one of several.", rs(aud=["other", "attache", "third"]))
    ok("aud-list-of-one", "An array of one audience is the same as a string.", rs(aud=["attache"]))
    ok("aud-twice-ours", "The same audience stands in the list twice.", rs(aud=["attache", "attache"]))
    ok("no-kid-one-key-fits", "No `kid`; only one key of the set fits the algorithm.", token(P256, {"alg": "ES256"}, CLAIMS))
    ok("no-typ", "`typ` is optional.", token(RSA, {"alg": "RS256", "kid": "rsa"}, CLAIMS))
    ok("typ-jose", "`typ` may say JOSE.", rs({"typ": "JOSE"}))
    ok("unknown-header", "Header members that say nothing about keys are ignored (RFC 7515, 4).", rs({"ver": 1, "x5t": "abc"}))
    ok("unknown-claims", "Claims that are not known are ignored (RFC 7519, 4).", rs(**{"https://example.com/roles": ["a"]}))
    ok("unicode-claim", "Claims are UTF-8.", rs(name="Zoë 漢字 🦀"))
    ok("exp-next-second", "It expires in one second.", rs(exp=NOW + 1))
    ok("exp-fraction", "A NumericDate may have a fraction (RFC 7519, 2).", with_member("exp", "1800000000.25"))
    ok("exp-exponent", "A number is its value, however it is written.", with_member("exp", "1.8000006e9"))
    ok("exp-float-zero", "A number is its value: 1800000600.0.", with_member("exp", "1800000600.0"))
    ok("nbf-within-leeway", "`nbf` lies ahead by the leeway.", rs(nbf=NOW + 30))
    ok("iat-within-leeway", "`iat` lies ahead by the leeway.", rs(iat=NOW + 30))
    ok("nbf-instead-of-iat", "`nbf` tells when the life begins where `iat` is missing.", rs(iat=None, nbf=NOW))
    ok("life-of-24-hours", "As long a life as the rules allow, to the second.", rs(exp=NOW - 10 + 86_400))
    spaced = raw(json.dumps(CLAIMS, indent=2))
    ok("json-with-white-space", "White space between members changes nothing.", spaced)
    ok("json-with-escapes", "An escaped name is the name: \\u0073ub.", raw(text(CLAIMS).replace('"sub"', '"\\u0073ub"')))
    r, s = P256.numbers(signing_input(ES, CLAIMS).encode())
    high = P256.joined(r, max(s, P256.order - s))
    low = P256.joined(r, min(s, P256.order - s))
    ok("es256-high-s", "s above half the order: RFC 7518 does not forbid it, and no token is known by its bytes.", resigned(GOOD_EC, high))
    ok("es256-low-s", "s below half the order.", resigned(GOOD_EC, low))


def algorithms(table):
    no = table.rejected
    for alg in ["none", "None", "NONE", "nOnE", "none ", "HS256", "HS384", "HS512", "EdDSA", "Ed25519", "ES512",
                "ES256K", "ES512 ", "RSA-OAEP", "RSA1_5", "dir", "A128GCM", "rs256", "Rs256", "es256", "RS256 ", " RS256", "RS-256", ""]:
        no(f"alg-{slug(alg)}", f"`alg` is {alg!r}, under an RS256 signature.", rs({"alg": alg}), NOT_ALLOWED)
    no("pbes2", "A derived key of a thousand million rounds keeps us busy.", rs({"alg": "PBES2-HS512+A256KW", "p2c": 10**9, "p2s": "AAAA"}), NOT_ALLOWED)
    no("polyglot", "`alg` says none behind a NUL.", rs({"alg": "RS256\0none"}), NOT_ALLOWED)
    for alg in ["none", "None", "NONE", "nOnE"]:
        unsigned = signing_input({"alg": alg}, CLAIMS) + "."
        no(f"unsigned-{slug(alg)}", f"No signature at all, and `alg` is {alg!r}.", unsigned, NOT_ALLOWED)
    secrets = {
        "der": ("the DER form of", RSA.n.to_bytes(RSA.length, "big")),
        "jwk": ("the JWK of", text(RSA.jwk(kid="rsa", use="sig")).encode()),
        "modulus": ("the base64url modulus of", b64(octets(RSA.n)).encode()),
        "empty": ("nothing instead of", b""),
    }
    for name, (what, secret) in secrets.items():
        data = signing_input({"alg": "HS256", "kid": "rsa"}, CLAIMS)
        tag = hmac.new(secret, data.encode(), hashlib.sha256).digest()
        no(f"hmac-{name}", f"Key confusion: HS256, keyed with {what} the public key.", f"{data}.{b64(tag)}", NOT_ALLOWED)
    for alg in ["RS384", "PS256", "ES384"]:
        key, kid = (P384, "p384") if alg == "ES384" else (RSA, "rsa")
        sound = token(key, {"alg": alg, "kid": kid}, CLAIMS)
        no(f"{alg.lower()}-not-in-rules", f"A sound signature by {alg}, which the rules do not list.", sound, NOT_ALLOWED)
    for name, value in {"number": 256, "list": ["RS256"], "object": {"RS256": 1}, "true": True, "null": None}.items():
        no(f"alg-is-{name}", f"`alg` is a {name}.", rs({"alg": value}), MALFORMED)
    no("alg-missing", "No `alg`.", token(RSA, {"kid": "rsa"}, CLAIMS, "RS256"), MALFORMED)


def headers(table):
    no = table.rejected
    refused = {
        "crit-exp": {"crit": ["exp"]}, "crit-empty": {"crit": []}, "crit-unknown": {"crit": ["x"], "x": 1},
        "crit-null": {"crit": None}, "crit-b64": {"crit": ["b64"], "b64": False}, "b64-true": {"b64": True},
        "b64-false": {"b64": False}, "jku": {"jku": "http://127.0.0.1/keys"}, "jku-of-issuer": {"jku": f"{ISSUER}/keys"},
        "jku-file": {"jku": "file:///etc/passwd"}, "x5u": {"x5u": "https://attacker.example/chain.pem"},
        "x5c": {"x5c": ["MIIB"]}, "x5c-empty": {"x5c": []}, "jwk-null": {"jwk": None},
        "jwk-of-issuer": {"jwk": RSA.jwk(kid="rsa")}, "typ-at-jwt": {"typ": "at+jwt"},
        "typ-application-at-jwt": {"typ": "application/at+jwt"}, "typ-wit-jwt": {"typ": "wit+jwt"},
        "typ-dpop": {"typ": "dpop+jwt"}, "typ-logout": {"typ": "logout+jwt"}, "typ-lower-case": {"typ": "jwt"},
        "typ-empty": {"typ": ""}, "typ-null": {"typ": None}, "typ-list": {"typ": ["JWT"]}, "typ-number": {"typ": 1},
    }
    for name, members in refused.items():
        no(name, f"The header holds {text(members)[:60]}.", rs(members), HEADER)
    own = {**RS, "jwk": ATTACKER.jwk(kid="rsa")}
    no("embedded-key", "The attacker's key comes in the header, and the signature is made with it.", token(ATTACKER, own, CLAIMS), HEADER)
    own = {**RS, "kid": "mine", "jku": "https://attacker.example/keys"}
    no("key-url", "The header says where the attacker's key is.", token(ATTACKER, own, CLAIMS), HEADER)
    no("typ-of-a-security-event", "A security event token (RFC 8417) names a subject and is no login.", rs({"typ": "secevent+jwt"}), HEADER)
    no("cty-nested", "A signed token as the payload of another (RFC 7519, 5.2).", token(RSA, {**RS, "cty": "JWT"}, GOOD), MALFORMED)


def key_choice(table):
    no = table.rejected
    for name, kid in {
        "empty": "", "upper-case": "RSA", "space-after": "rsa ", "nul-after": "rsa\0", "nul-within": "r\0sa",
        "traversal": "../../../../etc/passwd", "null-device": "/dev/null", "traversal-encoded": "..%2f..%2fkeys",
        "sql": "rsa' OR '1'='1", "sql-union": "x' UNION SELECT 'secret'--", "shell": "rsa; cat /etc/passwd", "pipe": "|/bin/true",
        "url": "https://attacker.example/key", "template": "${jndi:ldap://attacker.example/a}", "line-ends": "rsa\r\nX: y",
        "look-alike": "rsа", "long": "k" * 4096, "glob": "*", "prototype": "__proto__", "index": "0",
    }.items():
        no(f"kid-{name}", f"`kid` is {kid[:40]!r}.", rs({"kid": kid}), UNKNOWN)
    for name, kid in {"number": 7, "null": None, "list": ["rsa"], "object": {"kid": "rsa"}, "true": True}.items():
        no(f"kid-is-{name}", f"`kid` is {text(kid)}.", rs({"kid": kid}), MALFORMED)
    no("no-kid-several-fit", "No `kid`, and two keys fit: trying both would let the token choose.",
       token(RSA, {"alg": "RS256"}, CLAIMS), UNKNOWN, keys="two-rsa-without-kid")
    for alg, kid, key in [("RS256", "p256", RSA), ("ES256", "rsa", P256), ("ES256", "p384", P256), ("RS256", "p384", RSA)]:
        crossed = token(key, {"alg": alg, "kid": kid}, CLAIMS)
        no(f"{alg.lower()}-by-{kid}", f"{alg} under the `kid` of a key of another kind.", crossed, MISMATCH)
    no("es384-key-for-es256", "A P-384 key's signature of SHA-256, called ES256.",
       token(P384, {"alg": "ES256", "kid": "p384"}, CLAIMS), MISMATCH)
    no("attacker-key", "The issuer's `kid`, and another key's signature.", token(ATTACKER, RS, CLAIMS), INVALID)
    no("attacker-kid", "A key that nobody publishes.", token(ATTACKER, {**RS, "kid": "attacker"}, CLAIMS), UNKNOWN)
    no("other-key-of-issuer", "Signed with another key of the issuer than the one named.", token(SECOND, RS, CLAIMS), INVALID)


def rsa_signatures(table):
    good = RSA.sign("RS256", signing_input(RS, CLAIMS).encode())
    data = signing_input(RS, CLAIMS).encode()

    def no(name, says, signature):
        table.rejected(f"rsa-{name}", says, resigned(GOOD, signature), INVALID)

    def made(block):
        return octets(pow(int.from_bytes(block, "big"), RSA.d, RSA.n), RSA.length)

    no("empty", "The signature is empty.", b"")
    no("zero", "The signature is zero.", bytes(256))
    no("one", "The signature is one.", octets(1, 256))
    no("ones", "All bits of the signature are set.", b"\xff" * 256)
    no("short", "One byte is missing.", good[:-1])
    no("long", "One byte is too many.", good + b"\0")
    no("leading-zero", "A zero stands before it.", b"\0" + good)
    no("plus-modulus", "The same number modulo n, one byte longer.", octets(int.from_bytes(good, "big") + RSA.n, 257))
    no("bit", "One bit is another.", bytes([good[0] ^ 1]) + good[1:])
    no("pss", "PS256 under the name RS256.", RSA.sign("PS256", data))
    no("sha384", "SHA-384 under the name RS256.", RSA.sign("RS384", data))
    digest = hashlib.sha256(data).digest()
    info = DIGEST_INFO["256"] + digest
    no("block-type-2", "Padding of encryption (block type 2).", made(RSA._pkcs1(info).replace(b"\x00\x01", b"\x00\x02", 1)))
    short = b"\x00\x01" + b"\xff" * 8 + b"\x00" + info
    no("short-padding", "Bleichenbacher 2006: short padding, and what follows is free.", made(short + bytes(256 - len(short))))
    without_null = bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + digest
    no("digest-info-without-null", "DigestInfo without its NULL.", made(RSA._pkcs1(without_null)))
    no("bare-digest", "The digest without DigestInfo.", made(RSA._pkcs1(digest)))
    no("other-payload", "A sound signature of another payload.", RSA.sign("RS256", signing_input(RS, {**CLAIMS, "sub": "x"}).encode()))
    changed = text({**CLAIMS, "sub": "admin"})
    parts = GOOD.split(".")
    table.rejected("payload-changed", "The payload was changed after signing.", f"{parts[0]}.{b64(changed)}.{parts[2]}", INVALID)
    changed = b64(text({**RS, "x": 1}))
    table.rejected("header-changed", "The header was changed after signing.", f"{changed}.{parts[1]}.{parts[2]}", INVALID)
    pss = {"alg": "PS256", "kid": "rsa"}
    bare = RSA.sign_pss_without_salt(signing_input(pss, CLAIMS).encode())
    table.rejected("pss-without-salt", "PS256 with an empty salt; RFC 7518, 3.5 demands one of 32 bytes.",
                   f"{signing_input(pss, CLAIMS)}.{b64(bare)}", INVALID, rules="oidc-all-algorithms")


def ec_signatures(table):
    n = P256.order
    r, s = P256.numbers(signing_input(ES, CLAIMS).encode())
    good = P256.joined(r, s)
    joined = P256.joined
    der = P256.key.sign  # for the DER form below

    def no(name, says, signature):
        table.rejected(f"es256-{name}", says, resigned(GOOD_EC, signature), INVALID)

    no("empty", "The signature is empty.", b"")
    no("zero", "r and s are zero (CVE-2022-21449).", bytes(64))
    no("r-zero", "r is zero.", joined(0, s))
    no("s-zero", "s is zero.", joined(r, 0))
    no("one-one", "r and s are one.", joined(1, 1))
    no("order", "r and s are the order of the curve.", joined(n, n))
    no("order-and-one", "r and s are the order and one more.", joined(n + 1, n + 1))
    no("order-less-one", "r and s are the order less one.", joined(n - 1, n - 1))
    no("all-ones", "All bits are set.", b"\xff" * 64)
    no("r-plus-order", "r is the same modulo the order, and too large.", joined((r + n) % 2**256, s))
    no("short", "One byte is missing.", good[:-1])
    no("long", "One byte is too many.", good + b"\0")
    no("leading-zeros", "r and s are a byte longer each.", b"\0" + octets(r, 32) + b"\0" + octets(s, 32))
    no("stripped", "r and s lost their first byte.", octets(r, 32)[1:] + octets(s, 32)[1:])
    no("p384-length", "r and s have the length of P-384.", octets(r, 48) + octets(s, 48))
    no("p521-length", "r and s have the length of P-521.", octets(r, 66) + octets(s, 66))
    no("swapped", "s stands before r.", joined(s, r))
    no("negated-r", "r is its negative.", joined(n - r, s))
    no("der", "DER instead of r and s (RFC 7518, 3.4).", der_signature(r, s))
    no("der-64-bytes", "DER cut to 64 bytes.", der_signature(r, s)[:64])
    no("half", "r alone.", octets(r, 32))
    no("rsa", "An RSA signature.", RSA.sign("RS256", signing_input(ES, CLAIMS).encode()))
    no("sha384", "SHA-384 under the name ES256.", joined(*P256.numbers(signing_input(ES, CLAIMS).encode(), "384")))
    no("text", "r and s in hex.", good.hex().encode())


def der_signature(r, s):
    def integer(number):
        content = octets(number)
        content = b"\0" + content if content[0] & 0x80 else content
        return b"\x02" + bytes([len(content)]) + content

    content = integer(r) + integer(s)
    return b"\x30" + bytes([len(content)]) + content


def forms(table):
    no = table.rejected
    head, payload, signature = GOOD.split(".")
    no("empty", "Nothing.", "", MALFORMED)
    for dots in ["." * count for count in range(1, 5)]:
        no(f"dots-{len(dots)}", f"{len(dots)} dots.", dots, MALFORMED)
    no("one-part", "The header alone.", head, MALFORMED)
    no("two-parts", "Header and payload.", f"{head}.{payload}", MALFORMED)
    no("four-parts", "A fourth part.", f"{GOOD}.{signature}", MALFORMED)
    no("trailing-dot", "A dot at the end.", f"{GOOD}.", MALFORMED)
    no("leading-dot", "A dot at the beginning.", f".{GOOD}", MALFORMED)
    no("detached-payload", "The payload is detached (RFC 7515, appendix F).", f"{head}..{signature}", MALFORMED)
    no("header-empty", "The header is empty.", f".{payload}.{signature}", MALFORMED)
    no("jwe", "A JWE in compact form: five parts.", f"{b64(text({'alg': 'RSA-OAEP', 'enc': 'A256GCM'}))}.{payload}.AAAA.{payload}.AAAA", MALFORMED)
    no("json-general", "General JSON serialisation.", text({"payload": payload, "signatures": [{"protected": head, "signature": signature}]}), MALFORMED)
    no("json-flattened", "Flattened JSON serialisation.", text({"payload": payload, "protected": head, "signature": signature}), MALFORMED)
    no("json-unprotected", "JSON serialisation with an unprotected header.",
       text({"payload": payload, "header": {"alg": "none"}, "signature": ""}), MALFORMED)
    no("sd-jwt", "An SD-JWT: disclosures after `~`.", f"{GOOD}~WyJzYWx0IiwibmFtZSIsInZhbHVlIl0~", MALFORMED)
    no("bearer", "The scheme of the Authorization header before it.", f"Bearer {GOOD}", MALFORMED)
    no("two-tokens", "Two tokens with a comma between them.", f"{GOOD},{GOOD}", MALFORMED)
    no("quoted", "In quotes.", f'"{GOOD}"', MALFORMED)
    no("too-large", "20 KiB.", rs(x="a" * 15 * 1024), "token-too-large")
    no("too-large-dots", "20 000 dots.", "." * 20_000, "token-too-large")


def encodings(table):
    no = table.rejected
    head, payload, signature = GOOD.split(".")
    assert "-" in GOOD and "_" in GOOD
    no("padding", "Padding after the signature.", f"{GOOD}==", MALFORMED)
    no("padding-one", "One `=` too few after the signature.", f"{GOOD}=", MALFORMED)
    no("padding-header", "Padding after the header.", f"{head}=.{payload}.{signature}", MALFORMED)
    no("padding-payload", "Padding after the payload.", f"{head}.{payload}==.{signature}", MALFORMED)
    no("standard-alphabet", "`+` and `/` instead of `-` and `_`.", GOOD.replace("-", "+").replace("_", "/"), MALFORMED)
    no("percent-encoded", "Dots as %2E.", GOOD.replace(".", "%2E"), MALFORMED)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def loose(part):
        assert len(part) % 4 != 0
        return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]

    no("loose-bits-signature", "Unused bits of the signature's last character are set: the same bytes to a lenient reader.",
       f"{head}.{payload}.{loose(signature)}", MALFORMED)
    spaced = text({**RS, "pad": ""})
    while len(b64(spaced)) % 4 == 0:
        spaced += " "
    good = token(RSA, spaced, CLAIMS, "RS256")
    first, rest = good.split(".", 1)
    no("loose-bits-header", "Unused bits of the header's last character are set.", f"{loose(first)}.{rest}", MALFORMED)
    no("length-one-too-many", "A part whose length is 4n + 1.", f"{head}.{payload}A{'A' * ((4 - len(payload)) % 4)}.{signature}", MALFORMED)
    for name, before, after in [("space-before", " ", ""), ("space-after", "", " "), ("line-end", "", "\n"), ("nul", "", "\0"),
                                ("tab", "", "\t"), ("byte-order-mark", "\ufeff", ""), ("not-ascii", "", "é")]:
        no(name, f"{(before or after)!r} {'before' if before else 'after'} it.", before + GOOD + after, MALFORMED)
    no("space-within", "A space within the signature.", f"{head}.{payload}.{signature[:9]} {signature[9:]}", MALFORMED)
    no("line-end-within", "A line end within the payload.", f"{head}.{payload[:9]}\n{payload[9:]}.{signature}", MALFORMED)
    no("look-alike-dot", "A full-width dot.", GOOD.replace(".", "．", 1), MALFORMED)


def json_texts(table):
    no = table.rejected
    for name, header in {
        "alg-twice": '{"alg":"none","alg":"RS256","kid":"rsa"}', "alg-twice-last-none": '{"alg":"RS256","alg":"none","kid":"rsa"}',
        "kid-twice": '{"alg":"RS256","kid":"x","kid":"rsa"}', "alg-twice-by-escape": '{"alg":"none","\\u0061lg":"RS256","kid":"rsa"}',
        "list": '["alg","RS256"]', "string": '"RS256"', "no-json": "alg=RS256", "open": '{"alg":"RS256","kid":"rsa"',
        "more-after": '{"alg":"RS256","kid":"rsa"}{}', "comment": '{"alg":"RS256",/**/"kid":"rsa"}',
        "trailing-comma": '{"alg":"RS256","kid":"rsa",}', "single-quotes": "{'alg':'RS256','kid':'rsa'}",
        "byte-order-mark": '\ufeff{"alg":"RS256","kid":"rsa"}', "deep": '{"alg":"RS256","kid":"rsa","x":' + "[" * 40 + "]" * 40 + "}",
        "utf-16": '{"alg":"RS256","kid":"rsa"}'.encode("utf-16-le"), "latin-1": '{"alg":"RS256","kid":"rsa","x":"é"}'.encode("latin-1"),
    }.items():
        no(f"header-{name}", f"The header is {header!r:.60}.", token(RSA, header, CLAIMS, "RS256"), MALFORMED)
    good = text(CLAIMS)
    for name, payload in {
        "sub-twice": good[:-1] + ',"sub":"admin"}', "iss-twice-by-escape": good[:-1] + ',"\\u0069ss":"https://issuer.example"}',
        "deep-member-twice": good[:-1] + ',"x":{"a":1,"a":2}}', "exp-twice": good[:-1] + ',"exp":9999999999}',
        "list": "[]", "string": '"iss"', "number": "1", "null": "null", "empty": "", "white-space": " ", "no-json": "iss=x",
        "more-after": good + "{}", "nul-after": good + "\0", "byte-order-mark": "\ufeff" + good, "too-deep": good[:-1] + ',"x":' + "[" * 40 + "1" + "]" * 40 + "}",
        "lone-surrogate": good[:-1] + ',"x":"\\ud800"}', "endless-number": good[:-1] + ',"x":1e999}', "nan": good[:-1] + ',"x":NaN}',
        "infinity": good[:-1] + ',"x":Infinity}', "leading-zero": good[:-1] + ',"x":01}', "plus": good[:-1] + ',"x":+1}', "hex": good[:-1] + ',"x":0x1}',
        "control-character": good[:-1] + ',"x":"\x01"}', "latin-1": (good[:-1] + ',"x":"é"}').encode("latin-1"), "overlong-utf-8": good[:-1].encode() + b',"x":"\xc0\xaf"}',
        "cbor": bytes.fromhex("a1636973737668747470733a2f2f6973737565722e6578616d706c65"),
    }.items():
        no(f"payload-{name}", f"The payload is {payload!r:.12}…: {name.replace('-', ' ')}.", raw(payload), MALFORMED)


def times(table):
    no = table.rejected
    wrong = {"string": f'"{NOW + 600}"', "negative": "-1", "negative-fraction": "-1.5", "huge": "1e300", "two-to-64": str(2**64 - 1),
             "beyond-64-bits": str(2**80), "least": str(-(2**63)), "year-10000": "253402300800", "true": "true", "null": "null",
             "list": f"[{NOW + 600}]", "object": "{}", "date": '"2027-01-15T08:00:00Z"', "milliseconds": str((NOW + 600) * 1000)}
    for name in ["exp", "nbf", "iat"]:
        for kind, value in wrong.items():
            no(f"{name}-{kind}", f"`{name}` is {value}.", with_member(name, value), CLAIM)
    no("exp-zero", "`exp` is zero: 1970.", rs(exp=0), "token-expired")
    no("exp-minus-zero", "`exp` is -0.", with_member("exp", "-0"), "token-expired")
    no("exp-now", "It expires now: `exp` is the first moment at which it is not accepted.", rs(exp=NOW), "token-expired")
    no("exp-one-second-ago", "It expired a second ago; there is no leeway.", rs(exp=NOW - 1), "token-expired")
    no("exp-one-millisecond-ago", "It expired a millisecond ago.", with_member("exp", "1799999999.999"), "token-expired")
    no("exp-missing", "No `exp`.", rs(exp=None), "token-claim-missing")
    no("nbf-beyond-leeway", "`nbf` lies ahead by a second more than the leeway.", rs(nbf=NOW + 31), "token-not-yet-valid")
    no("iat-beyond-leeway", "`iat` lies ahead by a second more than the leeway.", rs(iat=NOW + 31), "token-not-yet-valid")
    no("iat-missing", "Neither `iat` nor `nbf`: how long it lives is not told.", rs(iat=None), "token-claim-missing")
    no("life-too-long", "It lives a second longer than the rules allow.", rs(exp=NOW - 10 + 86_401), "token-lives-too-long")
    no("life-to-the-year-9999", "It never expires, so to speak.", rs(exp=253_402_300_799), "token-lives-too-long")
    no("replayed-later", "A good token, an hour later.", GOOD, "token-expired", now=NOW + 3600)
    no("shown-before-it-was-made", "A good token, an hour before it was issued.", GOOD, "token-not-yet-valid", now=NOW - 3600)


def claims(table):
    no = table.rejected
    for name, issuer in {"slash": f"{ISSUER}/", "upper-case": "https://ISSUER.example", "http": "http://issuer.example", "empty": "",
                         "nul": f"{ISSUER}\0", "other": "https://attacker.example", "prefix": "https://issuer.example.attacker.example",
                         "port": f"{ISSUER}:443", "user": "https://issuer.example@attacker.example", "space": f"{ISSUER} ",
                         "look-alike": "https://іssuer.example"}.items():
        no(f"iss-{name}", f"`iss` is {issuer!r}.", rs(iss=issuer), "token-issuer-mismatch")
    for name, value in {"list": f'["{ISSUER}"]', "null": "null", "object": '{"url":"x"}', "number": "1", "true": "true"}.items():
        no(f"iss-is-{name}", f"`iss` is {value}.", with_member("iss", value), CLAIM)
    no("iss-missing", "No `iss`.", rs(iss=None), "token-claim-missing")
    for name, audience in {"upper-case": "Attache", "space": "attache ", "empty": "", "glob": "*", "other": "other", "prefix": "attache.example",
                           "several-in-one": "other attache", "comma": "other,attache", "list-of-others": ["other", "attach"], "list-of-empty": [""],
                           "issuer": ISSUER, "json-in-string": '["attache"]'}.items():
        no(f"aud-{name}", f"`aud` is {text(audience)}.", rs(aud=audience), "token-audience-mismatch")
    for name, value in {"list-empty": "[]", "null": "null", "number": "1", "true": "true", "object": '{"attache":true}', "list-with-number": '["attache",1]',
                        "list-with-null": '["attache",null]', "list-of-lists": '[["attache"]]'}.items():
        no(f"aud-is-{name}", f"`aud` is {value}.", with_member("aud", value), CLAIM)
    no("aud-missing", "No `aud`.", rs(aud=None), "token-claim-missing")
    for name, value in {"null": "null", "number": "42", "list": '["build-42"]', "object": "{}", "true": "true"}.items():
        no(f"sub-is-{name}", f"`sub` is {value}.", with_member("sub", value), CLAIM)


def slug(name):
    """A name for an id, in which case shows."""
    words = name.replace(" ", "-space-").strip("-") or "empty"
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in words)
