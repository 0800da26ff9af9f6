"""Certificates with one thing changed at a time, by the `cryptography` library; what it refuses to write is
cut into its DER by hand and signed again. Serial numbers and signatures are the same each time."""

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose, NameOID, ObjectIdentifier

from jose import Ec, Rsa, octets

NOW = 1_800_000_000
HOUR, DAY = 3600, 86_400
SERVER_AND_CLIENT = [Purpose.SERVER_AUTH, Purpose.CLIENT_AUTH]


class Key:
    """A key by name; RSA keys come from the file."""

    def __init__(self, name, kind="P-256"):
        if kind == "rsa":
            from cryptography.hazmat.primitives.asymmetric import rsa

            key = Rsa(name)
            public = rsa.RSAPublicNumbers(key.e, key.n)
            dp, dq, qi = key.d % (key.p - 1), key.d % (key.q - 1), pow(key.q, -1, key.p)
            self.private = rsa.RSAPrivateNumbers(key.p, key.q, key.d, dp, dq, qi, public).private_key(
                unsafe_skip_rsa_key_validation=True)
        elif kind == "Ed25519":
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            seed = hashlib.sha256(f"table of certificates: {name}".encode()).digest()
            self.private = Ed25519PrivateKey.from_private_bytes(seed)
        else:
            self.private = Ec(name, kind).key
        self.public = self.private.public_key()
        self.kind = kind


def common_name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def uris(*texts):
    return [x509.UniformResourceIdentifier(text) for text in texts]


def usage(*names):
    all_names = ["digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{name: name in names for name in all_names})


def certificate(key, issuer_key, *, subject="", issuer="root", names=(), names_critical=None, ca=None, path_length=None,
                key_usage=("digital_signature",), usage_critical=True, purposes=None, life=(-HOUR, HOUR), digest=None,
                more=(), serial=None):
    """DER of one certificate; `life` is in seconds around NOW. None leaves an extension out."""
    moment = [datetime.datetime.fromtimestamp(NOW + offset, datetime.timezone.utc) for offset in life]
    digits = hashlib.sha256(repr((subject, issuer, names, ca, life, serial)).encode()).digest()[:8]
    builder = (x509.CertificateBuilder().subject_name(common_name(subject)).issuer_name(common_name(issuer))
               .public_key(key.public).serial_number(int.from_bytes(digits, "big") >> 1 or 1)
               .not_valid_before(moment[0]).not_valid_after(moment[1]))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(usage(*key_usage), critical=usage_critical)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if names:
        critical = not subject if names_critical is None else names_critical
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    # RFC 5280, 4.2.1.1 and 4.2.1.2.
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public), critical=False)
    for extension, critical in more:
        # The library refuses a second extension of one kind, the table wants it.
        builder._extensions.append(x509.Extension(extension.oid, critical, extension))
    return signed(builder, issuer_key, digest).public_bytes(serialization.Encoding.DER)


def signed(builder, key, digest=None):
    if key.kind == "Ed25519":
        return builder.sign(key.private, None)
    digest = digest or (hashes.SHA384() if key.kind == "P-384" else hashes.SHA256())
    ecdsa = isinstance(key.private, ec.EllipticCurvePrivateKey)
    return builder.sign(key.private, digest, ecdsa_deterministic=True if ecdsa else None)


def unknown_extension(critical):
    return x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), critical


def element(tag, content):
    """One DER element."""
    length = len(content)
    head = bytes([length]) if length < 128 else bytes([0x80 | len(octets(length))]) + octets(length)
    return bytes([tag]) + head + content


def split(der):
    """The elements within a DER sequence, each whole."""
    def header(at):
        first = der[at + 1]
        if first < 128:
            return 2, first
        size = first & 0x7F
        return 2 + size, int.from_bytes(der[at + 2:at + 2 + size], "big")

    at, parts = header(0)[0], []
    while at < len(der):
        head, length = header(at)
        parts.append(der[at:at + head + length])
        at += head + length
    return parts


def altered(der, change, key=None):
    """`der` with its signed part changed; signed again if there is a key."""
    body, algorithm, signature = split(der)
    body = element(0x30, b"".join(change(split(body))))
    if key:
        made = key.private.sign(body, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        signature = element(0x03, b"\0" + made)
    return element(0x30, body + algorithm + signature)
