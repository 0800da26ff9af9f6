// Reads an issuer as a stranger would, with a certified OpenID Connect client, and verifies a token by
// the keys found there. Usage: node relying-party.mjs ISSUER AUDIENCE TOKEN; prints what it found as JSON.

import * as client from 'openid-client'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const [issuer, audience, token] = process.argv.slice(2)

// The tests' issuer listens on loopback without TLS.
const insecure = { execute: [client.allowInsecureRequests] }
const configuration = await client.discovery(new URL(issuer), 'a-stranger', undefined, undefined, insecure)
const metadata = configuration.serverMetadata()

const keys = createRemoteJWKSet(new URL(metadata.jwks_uri))
const verified = await jwtVerify(token, keys, {
  issuer,
  audience,
  algorithms: metadata.id_token_signing_alg_values_supported,
  requiredClaims: ['sub', 'iat', 'exp', 'jti'],
})

console.log(JSON.stringify({ metadata, header: verified.protectedHeader, claims: verified.payload }))
