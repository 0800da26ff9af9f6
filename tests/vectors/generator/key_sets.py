"""Key sets that are wrong, with tokens that are right: what a key may not be."""

from jose import Ec, Rsa, b64, octets, token
from oidc import (ATTACKER, CLAIMS, GOOD, GOOD_EC, INVALID, ISSUER_KEYS, P256, P384, P521, RS, RSA, SECOND, UNKNOWN)

WEAK, CUBE, K256 = Rsa("weak"), Rsa("cube"), Ec("issuer secp256k1", "secp256k1")
REFUSED = "key-set-refused"


def only(*keys):
    return {"keys": list(keys)}


def rsa(**changes):
    """The issuer's RSA key with these members; None leaves one out."""
    merged = {**RSA.jwk(kid="rsa", use="sig"), **changes}
    return {name: value for name, value in merged.items() if value is not None}


def cases(table):
    table.keys["issuer"] = only(*ISSUER_KEYS)
    table.keys["two-rsa-without-kid"] = only(rsa(kid=None), SECOND.jwk(use="sig"))
    taken(table)
    ignored(table)
    refused(table)


def taken(table):
    def ok(name, says, keys, good=GOOD, rules="oidc"):
        table.keys[name] = keys
        table.accepted(f"keys-{name}", says, good, keys=name, rules=rules)

    ok("without-use", "A key without `use` may verify (RFC 7517, 4.2).", only(rsa(use=None)))
    ok("bound-to-rs256", "A key whose `alg` is the token's.", only(rsa(alg="RS256")))
    ok("verify-operation", "A key whose `key_ops` name verify.", only(rsa(use=None, key_ops=["verify"])))
    ok("leading-zero", "A modulus with a leading zero is the same number (RFC 7518, 6.3.1.1).", only(rsa(n=b64(b"\0" + octets(RSA.n)))))
    ok("one-kid-two-types", "Two keys of one `kid` that fit different algorithms.", only(rsa(kid="p256"), ISSUER_KEYS[1]), GOOD_EC)
    ok("with-strangers", "Keys that are of no use here are ignored one by one (RFC 7517, 5).",
       only({"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(32))}, {"kty": "new"}, {}, rsa()))
    ok("unknown-members", "Unknown members of set and key are ignored.", {"x": 1, "keys": [rsa(x5t="abc", x5c=["MIIB"])]})


def ignored(table):
    def no(name, says, keys, token_of_it=GOOD, code=UNKNOWN):
        table.keys[name] = keys
        table.rejected(f"keys-{name}", says, token_of_it, code, keys=name)

    no("none", "An empty set: nothing is trusted.", only())
    no("for-encryption", "The key is for encryption (`use` is `enc`).", only(rsa(use="enc")))
    no("use-upper-case", "`use` is `SIG`; case counts.", only(rsa(use="SIG")))
    no("use-number", "`use` is a number.", only(rsa(use=1)))
    no("use-null", "`use` is null.", {"keys": [{**rsa(), "use": None}]})
    no("sign-operation", "`key_ops` do not name verify.", only(rsa(key_ops=["sign"])))
    no("no-operation", "`key_ops` are empty.", only(rsa(key_ops=[])))
    no("other-algorithm", "The key is for RS512 alone.", only(rsa(alg="RS512")), code="token-key-mismatch")
    no("algorithm-unknown", "The key's `alg` is not known here.", only(rsa(alg="RSA-OAEP")))
    no("algorithm-of-other-type", "An RSA key whose `alg` is ES256.", only(rsa(alg="ES256")))
    no("weak-rsa", "1024 bits (RFC 7518, 3.3 demands 2048).", only(WEAK.jwk(kid="rsa")), token(WEAK, RS, CLAIMS))
    no("exponent-three", "An exponent of 3.", only(CUBE.jwk(kid="rsa")), token(CUBE, RS, CLAIMS))
    no("exponent-one", "An exponent of 1: every message is its own signature.", only(rsa(e=b64(b"\x01"))))
    no("exponent-even", "An even exponent.", only(rsa(e=b64(octets(65536)))))
    no("exponent-long", "An exponent of 64 bits keeps us busy.", only(rsa(e=b64(octets(2**64 + 1)))))
    no("exponent-missing", "No exponent.", only(rsa(e=None)))
    no("modulus-huge", "16384 bits keep us busy.", only(rsa(n=b64(b"\xff" * 2048))))
    no("modulus-empty", "An empty modulus.", only(rsa(n="")))
    no("modulus-padded", "A modulus with padding.", only(rsa(n=b64(octets(RSA.n)) + "==")))
    no("modulus-standard-alphabet", "A modulus with `+` and `/`.", only(rsa(n=b64(octets(RSA.n)).replace("-", "+").replace("_", "/"))))
    no("kty-missing", "No `kty`.", only(rsa(kty=None)))
    no("kty-lower-case", "`kty` is `rsa`; case counts.", only(rsa(kty="rsa")))
    no("kid-number", "The key's `kid` is a number.", only(rsa(kid=7)))
    no("kid-of-other-case", "The key's `kid` in other case.", only(rsa(kid="RSA")))
    no("kid-twice", "Two keys of one `kid` fit: the first counts.", only(SECOND.jwk(kid="rsa"), rsa()), code=INVALID)
    ec = P256.jwk(kid="p256", use="sig")
    short = {**ec, "x": b64(octets(P256.point.x, 32)[1:])}
    no("coordinate-short", "A coordinate with a byte too few.", only(short), GOOD_EC)
    no("coordinate-long", "A coordinate with a byte too many.", only({**ec, "x": b64(b"\0" + octets(P256.point.x, 32))}), GOOD_EC)
    no("off-curve", "A point that is not on its curve.", only({**ec, "y": b64(octets(P256.point.y ^ 1, 32))}), GOOD_EC, INVALID)
    no("infinity", "The point (0, 0).", only({**ec, "x": b64(bytes(32)), "y": b64(bytes(32))}), GOOD_EC, INVALID)
    no("wrong-curve-name", "A P-256 point called P-384.", only({**ec, "crv": "P-384"}), GOOD_EC)
    no("secp256k1", "A curve that is not ours.", only(K256.jwk(kid="p256")), GOOD_EC)
    no("p521", "The key of that `kid` is on P-521.", only(P521.jwk(kid="p256")), GOOD_EC, "token-key-mismatch")
    no("p384", "The key of that `kid` is on another curve.", only(P384.jwk(kid="p256")), GOOD_EC, "token-key-mismatch")
    no("of-another-issuer", "The keys of someone else.", only(ATTACKER.jwk(kid="attacker")))


def refused(table):
    def no(name, says, keys):
        table.keys[name] = keys
        table.rejected(f"keys-{name}", says, GOOD, REFUSED, keys=name)

    no("private-rsa", "It publishes a private exponent: nothing it signs is proof any more.", only(rsa(d=b64(octets(RSA.d)))))
    no("private-prime", "It publishes a prime.", only(rsa(p=b64(octets(RSA.p)))))
    no("private-elsewhere", "Another key of the set is private.", only(rsa(), {**P256.jwk(kid="x"), "d": b64(bytes(31) + b"\1")}))
    no("symmetric", "It publishes a symmetric key.", only(rsa(), {"kty": "oct", "kid": "x", "k": b64(b"secret")}))
    no("keys-missing", "No `keys`.", {"key": [rsa()]})
    no("keys-object", "`keys` is an object.", {"keys": {"rsa": rsa()}})
    no("keys-of-text", "A key is a text.", {"keys": [rsa(), "rsa"]})
    no("too-many", "More keys than are read.", only(rsa(), *[{"kty": "new"}] * 256))
    no("bare-key", "A key instead of a set.", rsa())
    no("list", "A list instead of a set.", [rsa()])
    no("text-not-json", "No JSON.", "keys=rsa")
    no("text-member-twice", "`keys` stands twice.", '{"keys":[],"keys":[]}')
    no("text-kty-twice", "A member of a key stands twice.", '{"keys":[{"kty":"RSA","kty":"EC"}]}')
    no("text-more-after", "Something follows the set.", '{"keys":[]}{}')
