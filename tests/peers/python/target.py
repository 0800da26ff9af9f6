"""A target service that is not ours: it lets in only bearers of a token that it can verify itself.

It knows the issuer's URL and its own audience, nothing else. It finds the issuer's keys as any relying
party does: the discovery document, then `jwks_uri`. joserfc verifies signature and claims.

Prints `listening on ADDRESS:PORT`, then one JSON object for each request: what it verified, or why not.
"""

import argparse
import http.server
import json
import ssl
import threading
import urllib.request

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ALGORITHMS = ["RS256", "ES256"]
PRINTING = threading.Lock()


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def say(line):
    with PRINTING:
        print(line, flush=True)


class Refused(Exception):
    """The request shows no token that can be believed."""


class Verifier:
    def __init__(self, issuer, audience):
        self.issuer = issuer
        self.audience = audience

    def claims(self, authorization):
        """The claims of the one bearer token shown, or Refused."""
        if len(authorization) != 1 or not authorization[0].startswith("Bearer "):
            raise Refused(f"{len(authorization)} bearer tokens shown, not one")
        discovery = fetch(self.issuer + "/.well-known/openid-configuration")
        if discovery["issuer"] != self.issuer:
            raise Refused("the discovery document is of another issuer")
        keys = KeySet.import_key_set(fetch(discovery["jwks_uri"]))
        rules = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        )
        try:
            token = jwt.decode(authorization[0].removeprefix("Bearer "), keys, algorithms=ALGORITHMS)
            rules.validate(token.claims)
        except (JoseError, ValueError) as error:
            raise Refused(f"{type(error).__name__}: {error}") from error
        return {"header": token.header, "claims": token.claims}


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    verifier: Verifier

    def do_GET(self):
        verdict = {"method": self.command, "path": self.path, "host": self.headers.get("host")}
        verdict["headers"] = sorted(name.lower() for name in self.headers)
        try:
            verdict["verified"] = self.verifier.claims(self.headers.get_all("authorization", []))
            status, answer = 200, {"charges": []}
        except Refused as refused:
            verdict["refused"] = str(refused)
            status, answer = 401, {"error": str(refused)}
        say(json.dumps(verdict))
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """The verdicts are the log."""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ["certificate", "key", "issuer", "audience"]:
        arguments.add_argument("--" + name, required=True)
    asked = arguments.parse_args()
    Service.verifier = Verifier(asked.issuer, asked.audience)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(asked.certificate, asked.key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    say("listening on {}:{}".format(*server.server_address))
    server.serve_forever()


if __name__ == "__main__":
    main()
