"""X.509-SVIDs (SPIFFE X509-SVID), each a chain held against the bundle of one trust domain."""

import base64
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

from certificate import DAY, HOUR, NOW, Key, SERVER_AND_CLIENT, altered, certificate, element, split, unknown_extension, uris

ID = "spiffe://example.org/ns/shop/sa/payment"
RULES = {"example.org": {"trust_domain": "example.org"}, "other.example": {"trust_domain": "other.example"},
         "third.example": {"trust_domain": "third.example"}}
ROOT_KEY, OTHER_KEY, BETWEEN_KEY, LOWER_KEY, LEAF_KEY, ATTACKER_KEY = map(
    Key, ["root", "other root", "intermediate", "lower intermediate", "leaf", "attacker"])
CA_USAGE = ("key_cert_sign", "crl_sign")
POINTS = x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.example.org/")], None, None, None)])


def authority(key, issuer_key, subject, issuer, **changes):
    given = {"ca": True, "key_usage": CA_USAGE, "life": (-DAY, 10 * DAY), "names": uris("spiffe://example.org"), **changes}
    return certificate(key, issuer_key, subject=subject, issuer=issuer, **given)


ROOT = authority(ROOT_KEY, ROOT_KEY, "root", "root", life=(-DAY, 365 * DAY))
OTHER_ROOT = authority(OTHER_KEY, OTHER_KEY, "other root", "other root", names=uris("spiffe://other.example"))
BETWEEN = authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root")
LOWER = authority(LOWER_KEY, BETWEEN_KEY, "lower", "intermediate")


def leaf(issuer_key=ROOT_KEY, key=LEAF_KEY, **changes):
    given = {"names": uris(ID), "ca": False, "purposes": SERVER_AND_CLIENT, **changes}
    return certificate(key, issuer_key, **given)


GOOD = leaf()
BELOW = leaf(BETWEEN_KEY, issuer="intermediate")


def base64_of(der):
    return base64.b64encode(der).decode()


def bundle(*roots):
    return {"spiffe_sequence": 1, "keys": [{"kty": "EC", "use": "x509-svid", "x5c": [base64_of(der)]} for der in roots]}


def domain(*roots):
    return {"trust_domains": {"example.org": bundle(*roots)}}


def chain(*certificates):
    return [base64_of(der) for der in certificates]


def cases(table):
    table.keys["domains"] = {"trust_domains": {"example.org": bundle(ROOT), "other.example": bundle(OTHER_ROOT)}}
    accepted(table)
    names(table)
    usages(table)
    times(table)
    paths(table)
    authorities(table)
    signatures(table)
    bytes_of_der(table)
    bundles(table)


def accepted(table):
    def ok(name, says, *certificates, subject=ID, **more):
        table.accepted(name, says, chain(*certificates), subject, **more)

    ok("plain", "A leaf by the root.", GOOD)
    ok("intermediate", "One intermediate.", BELOW, BETWEEN)
    ok("two-intermediates", "Two intermediates.", leaf(LOWER_KEY, issuer="lower"), LOWER, BETWEEN)
    ok("root-in-the-chain", "The chain ends with the root, which the bundle has.", GOOD, ROOT)
    ok("without-purposes", "Extended key usage is optional (X509-SVID 4.4).", leaf(purposes=None))
    ok("more-purposes", "More purposes than the two.", leaf(purposes=[*SERVER_AND_CLIENT, Purpose.EMAIL_PROTECTION]))
    ok("without-basic-constraints", "No basic constraints: no authority (RFC 5280, 4.2.1.9).", leaf(ca=None))
    ok("with-subject", "With a subject, the names need not be critical.", leaf(subject="payment"))
    ok("with-dns-names", "DNS names may stand beside the one URI (X509-SVID 2).", leaf(names=[x509.DNSName("pay.example.org"), *uris(ID), x509.DNSName("a.b")]))
    ok("more-key-usages", "keyEncipherment and keyAgreement may be set (X509-SVID 4.3).", leaf(key_usage=("digital_signature", "key_encipherment", "key_agreement")))
    ok("unknown-extension", "An unknown extension that is not critical.", leaf(more=[unknown_extension(False)]))
    ok("path-length-kept", "The intermediate allows no authority below it, and there is none.", BELOW, authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", path_length=0))
    ok("case-in-path", "Case in the path is kept.", leaf(names=uris("spiffe://example.org/Shop/PAYMENT")), subject="spiffe://example.org/Shop/PAYMENT")
    ok("last-second", "The last second of its life belongs to it (RFC 5280, 4.1.2.5).", leaf(life=(-HOUR, 0)))
    ok("first-second", "The first second of its life.", leaf(life=(0, HOUR)))
    ok("other-kinds-of-names", "An address and a mailbox beside the one URI (X509-SVID 2).", leaf(names=[x509.IPAddress(ipaddress.ip_address("192.0.2.1")), *uris(ID), x509.RFC822Name("pay@example.org")]))
    ok("without-an-end", "99991231235959Z: it has no well-defined end (RFC 5280, 4.1.2.5).", leaf(life=(-HOUR, 253_402_300_799 - NOW)))
    ok("intermediates-in-other-order", "The intermediates stand in another order than the path has them.", leaf(LOWER_KEY, issuer="lower"), BETWEEN, LOWER)
    ok("stranger-in-the-chain", "An authority that is of no use to the path stands in the chain.", BELOW, BETWEEN, OTHER_ROOT)
    ok("revocation-list-named", "A distribution point of revocation lists, which nobody must follow.", leaf(more=[(POINTS, False)]))
    other = "spiffe://other.example/workload"
    ok("of-the-other-domain", "A chain of another trust domain, by that domain's bundle.", leaf(OTHER_KEY, issuer="other root", names=uris(other)), subject=other, rules="other.example")
    for kind, name in [("P-384", "root"), ("Ed25519", "root"), ("rsa", "issuer")]:
        key = Key(name, kind)
        table.keys[f"root-{kind.lower()}"] = domain(authority(key, key, "root", "root"))
        ok(f"root-{kind.lower()}", f"An authority with a key of kind {kind}.", leaf(key), keys=f"root-{kind.lower()}")
        ok(f"leaf-{kind.lower()}", f"A leaf with a key of kind {kind}.", leaf(key=Key("second" if kind == "rsa" else "leaf", kind)))


def names(table):
    def no(name, says, code, **changes):
        table.rejected(name, says, chain(leaf(**changes)), code)

    count, broken = "certificate-uri-count", "certificate-spiffe-id-invalid"
    no("two-uris", "Two URI names (X509-SVID 2).", count, names=uris(ID, "spiffe://example.org/admin"))
    no("one-uri-twice", "The same URI name twice.", count, names=uris(ID, ID))
    no("two-uris-one-of-https", "A SPIFFE ID and another URI.", count, names=uris(ID, "https://example.org"))
    no("no-uri", "DNS names alone.", count, names=[x509.DNSName("example.org")])
    no("no-names", "No alternative names; the SPIFFE ID stands in the subject.", count, subject=ID, names=())
    for name, uri in {"https": "https://example.org/a", "upper-case-scheme": "SPIFFE://example.org/a", "upper-case-domain": "spiffe://Example.org/a", "no-path": "spiffe://example.org",
                      "slash-alone": "spiffe://example.org/", "slash-at-end": "spiffe://example.org/a/", "dot-dot": "spiffe://example.org/a/../b", "percent": "spiffe://example.org/%61",
                      "query": "spiffe://example.org/a?b", "fragment": "spiffe://example.org/a#b", "port": "spiffe://example.org:443/a", "user": "spiffe://me@example.org/a",
                      "long": "spiffe://example.org/" + "a" * 2028, "nul": "spiffe://example.org/a\0b", "empty": ""}.items():
        no(f"uri-{name}", f"The URI name is {uri[:48]!r}.", broken, names=uris(uri))
    no("names-not-critical", "The subject is empty and the names are not critical (RFC 5280, 4.2.1.6).", "certificate-san-not-critical", names_critical=False)
    mismatch = "certificate-trust-domain-mismatch"
    no("other-domain-by-our-root", "Our root vouches for a workload of another domain.", mismatch, names=uris("spiffe://other.example/a"))
    no("sub-domain", "A trust domain is no DNS name: a.example.org is another.", mismatch, names=uris("spiffe://a.example.org/a"))
    table.rejected("other-domain", "A good chain of another trust domain.", chain(leaf(OTHER_KEY, issuer="other root", names=uris("spiffe://other.example/a"))), mismatch)
    table.rejected("our-domain-under-their-rules", "A good chain, held against another trust domain.", chain(GOOD), mismatch, rules="other.example")
    table.rejected("our-domain-by-other-root", "Another domain's root vouches for our workload.", chain(leaf(OTHER_KEY, issuer="other root")), "certificate-untrusted")


def usages(table):
    def no(name, says, code, **changes):
        table.rejected(name, says, chain(leaf(**changes)), code)

    no("authority-as-leaf", "The leaf is an authority (X509-SVID 5.2).", "certificate-authority-as-leaf", ca=True, key_usage=("digital_signature", *CA_USAGE))
    table.rejected("intermediate-as-leaf", "An intermediate shown as if it were a workload.", chain(BETWEEN), "certificate-authority-as-leaf")
    table.rejected("root-as-leaf", "The root shown as if it were a workload.", chain(ROOT), "certificate-authority-as-leaf")
    code = "certificate-key-usage"
    no("key-usage-missing", "No key usage (X509-SVID 4.3).", code, key_usage=None)
    no("key-usage-not-critical", "Key usage is not critical.", code, usage_critical=False)
    no("key-usage-empty", "No key usage is set.", code, key_usage=())
    no("no-digital-signature", "digitalSignature is not set.", code, key_usage=("key_encipherment",))
    no("key-cert-sign", "keyCertSign is set.", code, key_usage=("digital_signature", "key_cert_sign"))
    no("crl-sign", "cRLSign is set.", code, key_usage=("digital_signature", "crl_sign"))
    code = "certificate-extended-key-usage"
    for name, purposes in {"server-alone": [Purpose.SERVER_AUTH], "client-alone": [Purpose.CLIENT_AUTH], "code-signing": [Purpose.CODE_SIGNING], "any": [Purpose.ANY_EXTENDED_KEY_USAGE]}.items():
        no(f"purposes-{name}", f"Extended key usage is {name.replace('-', ' ')}; it needs both serverAuth and clientAuth (X509-SVID 4.4).", code, purposes=purposes)
    no("revocation-list-demanded", "The distribution point is critical: it must not be taken without the list (RFC 5280, 4.2).", "certificate-constraint", more=[(POINTS, True)])
    no("unknown-critical-extension", "A critical extension that is not known (RFC 5280, 4.2).", "certificate-constraint", more=[unknown_extension(True)])


def times(table):
    no, expired, early = table.rejected, "certificate-expired", "certificate-not-yet-valid"
    no("expired", "It expired a second ago.", chain(leaf(life=(-HOUR, -1))), expired)
    no("not-yet-valid", "It is valid from the next second on.", chain(leaf(life=(1, HOUR))), early)
    for name, life, code in [("expired", (-DAY, -1), expired), ("not-yet-valid", (1, DAY), early)]:
        no(f"intermediate-{name}", f"The intermediate is {name.replace('-', ' ')}.", chain(BELOW, authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", life=life)), code)
        table.keys[f"root-{name}"] = domain(authority(ROOT_KEY, ROOT_KEY, "root", "root", life=life))
        no(f"root-{name}", f"The authority itself is {name.replace('-', ' ')}.", chain(GOOD), code, keys=f"root-{name}")
    no("replayed-later", "A good chain, a day later.", chain(GOOD), expired, now=table.now + DAY)
    no("shown-before-it-was-made", "A good chain, a day earlier.", chain(GOOD), early, now=table.now - 2 * HOUR)


def paths(table):
    no = table.rejected
    untrusted = "certificate-untrusted"
    no("intermediate-missing", "The intermediate is missing.", chain(BELOW), untrusted)
    no("of-nobody", "A root that no bundle has.", chain(leaf(ATTACKER_KEY, issuer="attacker")), untrusted)
    no("of-nobody-with-its-root", "The attacker's root comes along.", chain(leaf(ATTACKER_KEY, issuer="attacker"), authority(ATTACKER_KEY, ATTACKER_KEY, "attacker", "attacker")), untrusted)
    no("self-signed", "The leaf vouches for itself.", chain(leaf(LEAF_KEY, issuer="payment", subject="payment")), untrusted)
    no("leaf-as-issuer", "A workload vouches for another with its own key.", chain(leaf(LEAF_KEY, issuer="payment", key=LOWER_KEY, names=uris("spiffe://example.org/admin")), leaf(subject="payment")),
       "certificate-intermediate-invalid")
    no("name-of-the-root", "The attacker's root has the name of ours.", chain(leaf(ATTACKER_KEY)), "certificate-signature-invalid")
    no("name-of-the-root-with-it", "The attacker's root of the same name comes along.", chain(leaf(ATTACKER_KEY), authority(ATTACKER_KEY, ATTACKER_KEY, "root", "root")), "certificate-signature-invalid")
    no("wrong-order", "The intermediate stands first.", chain(BETWEEN, BELOW), "certificate-authority-as-leaf")
    code = "certificate-intermediate-invalid"

    def between(**changes):
        return chain(BELOW, authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", **changes))

    no("intermediate-no-authority", "The intermediate's cA is false (X509-SVID 5.1).", between(ca=False), code)
    no("intermediate-without-constraints", "The intermediate has no basic constraints.", between(ca=None), code)
    no("intermediate-no-cert-sign", "The intermediate's keyCertSign is not set.", between(key_usage=("crl_sign",)), code)
    no("intermediate-without-key-usage", "The intermediate has no key usage.", between(key_usage=None), code)
    no("intermediate-with-path", "The intermediate's SPIFFE ID has a path (X509-SVID 3.2).", between(names=uris("spiffe://example.org/ca")), code)
    length = [authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", path_length=0)]
    no("path-too-long", "An authority below one that allows none (RFC 5280, 4.2.1.9).", chain(leaf(LOWER_KEY, issuer="lower"), LOWER, *length), "certificate-constraint")
    table.keys["root-path-length"] = domain(authority(ROOT_KEY, ROOT_KEY, "root", "root", path_length=0))
    no("root-path-too-long", "The root allows no intermediate.", chain(BELOW, BETWEEN), "certificate-constraint", keys="root-path-length")
    permitted = x509.NameConstraints([x509.DNSName("example.org")], None)
    names = [*uris(ID), x509.DNSName("attacker.example")]
    no("name-constraint", "A DNS name that the intermediate may not vouch for (RFC 5280, 4.2.1.10).",
       chain(leaf(BETWEEN_KEY, issuer="intermediate", names=names), authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", more=[(permitted, True)])), "certificate-constraint")
    uri_constraint = x509.NameConstraints([x509.UniformResourceIdentifier("example.org")], None)
    no("uri-constraint", "The intermediate may vouch for URIs of one host: no two libraries read that alike for `spiffe`.",
       chain(BELOW, authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", more=[(uri_constraint, True)])), "certificate-constraint")
    uri_constraint = x509.NameConstraints(None, [x509.UniformResourceIdentifier("example.org")])
    no("uri-excluded", "The intermediate must not vouch for URIs of our own trust domain.",
       chain(BELOW, authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", more=[(uri_constraint, True)])), "certificate-constraint")
    no("intermediate-for-code", "The intermediate is for signing code alone.", chain(BELOW, authority(BETWEEN_KEY, ROOT_KEY, "intermediate", "root", purposes=[Purpose.CODE_SIGNING])),
       "certificate-extended-key-usage")
    no("intermediate-twice-in-a-circle", "Two intermediates vouch for each other, and no root for either.",
       chain(leaf(LOWER_KEY, issuer="lower"), LOWER, authority(BETWEEN_KEY, LOWER_KEY, "intermediate", "lower")), untrusted)
    no("empty", "No certificate.", [], "certificate-chain-malformed")
    no("too-many", "Nine certificates.", chain(BELOW, *[BETWEEN] * 8), "certificate-chain-malformed")


def authorities(table):
    """Roots that are of no use: the leaf is then without an authority."""
    for name, says, changes in [
        ("no-authority", "The bundle's certificate has cA false.", {"ca": False}),
        ("no-cert-sign", "The bundle's certificate may not sign certificates.", {"key_usage": ("crl_sign",)}),
        ("without-key-usage", "The bundle's certificate has no key usage.", {"key_usage": None}),
        ("with-path", "The bundle's certificate has a SPIFFE ID with a path.", {"names": uris("spiffe://example.org/ca")}),
    ]:
        table.keys[f"root-{name}"] = domain(authority(ROOT_KEY, ROOT_KEY, "root", "root", **changes))
        table.rejected(f"root-{name}", says, chain(GOOD), "certificate-untrusted", keys=f"root-{name}")
    table.keys["leaf-as-root"] = domain(GOOD)
    table.rejected("pinned-leaf", "The bundle holds the leaf itself: it is no authority.", chain(GOOD), "certificate-untrusted", keys="leaf-as-root")


def signatures(table):
    no, wrong, weak = table.rejected, "certificate-signature-invalid", "certificate-algorithm-not-allowed"
    body, algorithm, signature = split(GOOD)
    flipped = signature[:-1] + bytes([signature[-1] ^ 1])
    no("signature-bit", "One bit of the signature is another.", chain(element(0x30, body + algorithm + flipped)), wrong)
    zero = element(0x03, b"\0" + element(0x30, element(0x02, b"\0") + element(0x02, b"\0")))
    no("signature-zero", "r and s are zero.", chain(element(0x30, body + algorithm + zero)), wrong)
    no("signature-empty", "The signature is empty.", chain(element(0x30, body + algorithm + element(0x03, b"\0"))), wrong)
    no("name-changed", "The name was changed after signing.", chain(GOOD.replace(b"sa/payment", b"sa/another")), wrong)
    assert b"sa/payment" in GOOD
    no("key-changed", "The key was changed after signing.", chain(altered(GOOD, lambda parts: [*parts[:6], split(leaf(key=ATTACKER_KEY))[0] and split(split(leaf(key=ATTACKER_KEY))[0])[6], *parts[7:]])), wrong)
    between = bytearray(BETWEEN)
    between[-1] ^= 1
    no("intermediate-signature-bit", "One bit of the intermediate's signature is another.", chain(BELOW, bytes(between)), wrong)
    no("leaf-weak-rsa", "The leaf's key is RSA with 1024 bits.", chain(leaf(key=Key("weak", "rsa"))), weak)
    no("leaf-secp256k1", "The leaf's key is on another curve.", chain(leaf(key=Key("leaf", "secp256k1"))), weak)
    key = Key("weak", "rsa")
    table.keys["root-weak-rsa"] = domain(authority(key, key, "root", "root"))
    no("root-weak-rsa", "The authority's key is RSA with 1024 bits.", chain(leaf(key)), "certificate-untrusted", keys="root-weak-rsa")
    sha1 = element(0x30, bytes.fromhex("06072a8648ce3d0401"))
    by_sha1 = altered(GOOD, lambda parts: [*parts[:2], sha1, *parts[3:]])
    body, _, _ = split(by_sha1)
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ROOT_KEY.private.sign(body, ec.ECDSA(hashes.SHA1(), deterministic_signing=True))
    no("sha1", "A sound signature of SHA-1.", chain(element(0x30, body + sha1 + element(0x03, b"\0" + made))), weak)
    other = element(0x30, bytes.fromhex("06082a8648ce3d040303"))
    body, _, signature = split(GOOD)
    no("algorithms-differ", "The signed algorithm is not the one of the signature (RFC 5280, 4.1.1.2).", chain(element(0x30, body + other + signature)), weak)


def bytes_of_der(table):
    no, broken = table.rejected, "certificate-malformed"
    no("trailing-byte", "A byte after the certificate.", chain(GOOD + b"\0"), broken)
    no("trailing-certificate", "Two certificates run together.", chain(GOOD + ROOT), broken)
    no("truncated", "The last byte is missing.", chain(GOOD[:-1]), broken)
    no("nothing", "A certificate of no bytes.", chain(b""), broken)
    no("not-der", "A text.", chain(b"certificate"), broken)
    no("pem", "PEM instead of DER.", chain(b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(GOOD) + b"\n-----END CERTIFICATE-----\n"), broken)
    content = GOOD[4:]
    no("long-form-length", "A length in more bytes than it needs: BER, not DER.", chain(b"\x30\x83\x00" + GOOD[2:4] + content), broken)
    no("indefinite-length", "An indefinite length: BER, not DER.", chain(b"\x30\x80" + content + b"\0\0"), broken)
    names = x509.SubjectAlternativeName(uris("spiffe://example.org/admin"))
    no("extension-twice", "Alternative names stand twice (RFC 5280, 4.2).", chain(leaf(more=[(names, True)])), broken)
    first = altered(GOOD, lambda parts: parts[1:-1], ROOT_KEY)
    no("version-1", "Version 1, without extensions.", chain(first), broken)
    no("intermediate-not-der", "The intermediate is a text.", chain(BELOW, b"certificate"), broken)
    no("intermediate-trailing-byte", "A byte after the intermediate.", chain(BELOW, BETWEEN + b"\0"), broken)


def bundles(table):
    key = bundle(ROOT)["keys"][0]

    def no(name, says, document, code="certificate-untrusted"):
        table.keys[name] = document
        table.rejected(f"bundle-{name}", says, chain(GOOD), code, keys=name)

    table.keys["alone"] = bundle(ROOT)
    table.accepted("bundle-alone", "One bundle, not a map of them.", chain(GOOD), ID, keys="alone")
    # As an authority rotates that keeps its name: both keys stand in the bundle for a while.
    renewed = authority(ATTACKER_KEY, ATTACKER_KEY, "root", "root")
    table.keys["renewed-key"] = domain(ROOT, renewed)
    table.accepted("bundle-renewed-key", "The authority has a new key and its old name; the old key signed this one.", chain(GOOD), ID, keys="renewed-key")
    table.keys["renewed-key-first"] = domain(renewed, ROOT)
    table.accepted("bundle-renewed-key-first", "The same, in the other order.", chain(GOOD), ID, keys="renewed-key-first")
    old = authority(ROOT_KEY, ROOT_KEY, "root", "root", life=(-10 * DAY, -DAY))
    table.keys["renewed-life"] = domain(old, ROOT)
    table.accepted("bundle-renewed-life", "The same key stands there twice: in a certificate that has expired, and in one that is good.", chain(GOOD), ID, keys="renewed-life")
    table.keys["renewed-life-over"] = domain(old)
    table.rejected("bundle-renewed-life-over", "The key's certificate has expired, and there is no other.", chain(GOOD), "certificate-expired", keys="renewed-life-over")
    table.keys["several"] = domain(OTHER_ROOT, ROOT, authority(ATTACKER_KEY, ATTACKER_KEY, "third", "third"))
    table.accepted("bundle-several", "One of several authorities vouches.", chain(GOOD), ID, keys="several")
    table.keys["x5c-of-two"] = {"keys": [{**key, "x5c": [*key["x5c"], base64_of(OTHER_ROOT)]}]}
    table.accepted("bundle-x5c-of-two", "Only the first value of `x5c` counts (X509-SVID 6.2).", chain(GOOD), ID, keys="x5c-of-two")
    no("x5c-second", "Our root as the second value of `x5c` is not read.", {"keys": [{**key, "x5c": [base64_of(OTHER_ROOT), *key["x5c"]]}]})
    no("empty", "An empty bundle: everything of the domain is untrusted.", {"keys": []})
    no("use-jwt", "The certificate stands at a key for JWT-SVIDs.", {"keys": [{**key, "use": "jwt-svid", "kid": "x"}]})
    no("use-upper-case", "`use` is `X509-SVID`; case counts.", {"keys": [{**key, "use": "X509-SVID"}]})
    no("use-missing", "No `use` (Bundle 4.2.2).", {"keys": [{"kty": "EC", "x5c": key["x5c"]}]})
    no("kty-unknown", "An unknown `kty` (Bundle 4.2.1).", {"keys": [{**key, "kty": "new"}]})
    no("x5c-missing", "No `x5c`: the entry is ignored (X509-SVID 6.2).", {"keys": [{"kty": "EC", "use": "x509-svid"}]})
    no("x5c-empty", "`x5c` is empty.", {"keys": [{**key, "x5c": []}]})
    no("x5c-base64url", "`x5c` without padding: base64, not base64url (RFC 7517, 4.7).", {"keys": [{**key, "x5c": [base64_of(ROOT + b"\0" * (1 + (-len(ROOT)) % 3)).rstrip("=")]}]})
    no("of-others-alone", "No bundle of our trust domain.", {"trust_domains": {"other.example": bundle(OTHER_ROOT)}}, "key-set-refused")
