"""JWS by hand (RFC 7515, 7518), so that the table depends on no JOSE library: not ours, and none whose
verdicts it is compared with. Every signature is deterministic; the table is the same each time."""

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

SHA = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
# DigestInfo of RFC 8017, section 9.2, note 1.
DIGEST_INFO = {
    "256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def b64(data):
    """base64url without padding (RFC 7515, section 2)."""
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def octets(number, length=None):
    length = length or max(1, (number.bit_length() + 7) // 8)
    return number.to_bytes(length, "big")


def text(part):
    """A header or payload: what is no text already is printed as compact JSON."""
    return part if isinstance(part, (str, bytes)) else json.dumps(part, separators=(",", ":"), ensure_ascii=False)


class Rsa:
    """An RSA key of the file beside this one."""

    def __init__(self, name):
        primes = json.loads(Path(__file__).with_name("rsa.json").read_text())["keys"][name]
        p, q, self.e = int(primes["p"], 16), int(primes["q"], 16), primes["e"]
        self.p, self.q, self.n = p, q, p * q
        self.d = pow(self.e, -1, (p - 1) * (q - 1))
        self.length = (self.n.bit_length() + 7) // 8

    def jwk(self, **members):
        return {"kty": "RSA", **members, "n": b64(octets(self.n)), "e": b64(octets(self.e))}

    def sign(self, alg, data):
        size = alg[2:]
        digest = SHA[size](data).digest()
        block = self._pss(size, digest) if alg[:2] == "PS" else self._pkcs1(DIGEST_INFO[size] + digest)
        return octets(pow(int.from_bytes(block, "big"), self.d, self.n), self.length)

    def _pkcs1(self, info):
        return b"\x00\x01" + b"\xff" * (self.length - len(info) - 3) + b"\x00" + info

    def _pss(self, size, digest, salt=None):
        """RFC 8017, section 9.1.1, with a salt that is the hash of the digest."""
        sha, bits = SHA[size], self.n.bit_length() - 1
        salt = sha(b"salt" + digest).digest() if salt is None else salt
        length = (bits + 7) // 8
        tag = sha(bytes(8) + digest + salt).digest()
        block = bytes(length - len(salt) - len(tag) - 2) + b"\x01" + salt
        masked = bytearray(a ^ b for a, b in zip(block, mask(sha, tag, len(block))))
        masked[0] &= 0xFF >> (8 * length - bits)
        return bytes(masked) + tag + b"\xbc"

    def sign_pss_without_salt(self, data):
        block = self._pss("256", SHA["256"](data).digest(), b"")
        return octets(pow(int.from_bytes(block, "big"), self.d, self.n), self.length)


def mask(sha, seed, length):
    blocks = (sha(seed + octets(count, 4)).digest() for count in range(length // sha().digest_size + 1))
    return b"".join(blocks)[:length]


CURVES = {
    "P-256": (ec.SECP256R1(), 32, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
    "P-384": (ec.SECP384R1(), 48, int("f" * 48 + "c7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)),
    "P-521": (ec.SECP521R1(), 66, int("1" + "f" * 65 + "a51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16)),
    "secp256k1": (ec.SECP256K1(), 32, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141),
}


class Ec:
    """An elliptic curve key whose secret is the hash of its name: it protects nothing."""

    def __init__(self, name, crv="P-256"):
        self.crv = crv
        curve, self.length, self.order = CURVES[crv]
        secret = int.from_bytes(hashlib.sha512(f"table of tokens: {name}".encode()).digest(), "big")
        self.key = ec.derive_private_key(secret % (self.order - 1) + 1, curve)
        self.point = self.key.public_key().public_numbers()

    def jwk(self, **members):
        x, y = (b64(octets(number, self.length)) for number in (self.point.x, self.point.y))
        return {"kty": "EC", **members, "crv": self.crv, "x": x, "y": y}

    def numbers(self, data, size="256"):
        """r and s by RFC 6979."""
        digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[size]
        der = self.key.sign(data, ec.ECDSA(digest, deterministic_signing=True))
        return utils.decode_dss_signature(der)

    def joined(self, r, s):
        return octets(r, self.length) + octets(s, self.length)

    def sign(self, alg, data):
        return self.joined(*self.numbers(data, alg[2:5]))


def signing_input(header, claims):
    return f"{b64(text(header))}.{b64(text(claims))}"


def token(key, header, claims, alg=None):
    """`claims` under `header`, signed with `alg`, or with what the header says."""
    data = signing_input(header, claims)
    return f"{data}.{b64(key.sign(alg or header['alg'], data.encode()))}"
