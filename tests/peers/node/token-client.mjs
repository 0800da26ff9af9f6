// Asks our token endpoint with a certified OpenID Connect client that found it by discovery, by both grants,
// and verifies what came by the keys found there. Usage: node token-client.mjs ISSUER EVIDENCE AUDIENCE
// SVID_AUDIENCE; prints what it found as JSON.

import * as client from 'openid-client'
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'

const [issuer, evidence, audience, svidAudience] = process.argv.slice(2)

// The tests' issuer listens on loopback without TLS. Nobody authenticates at its token endpoint but the evidence.
const insecure = { execute: [client.allowInsecureRequests] }
const configuration = await client.discovery(new URL(issuer), 'a-workload', undefined, client.None(), insecure)
const metadata = configuration.serverMetadata()
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri))

const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

async function verified(answer, audience) {
  const { payload } = await jwtVerify(answer.access_token, keys, {
    issuer,
    audience,
    algorithms: metadata.id_token_signing_alg_values_supported,
    requiredClaims: ['sub', 'iat', 'exp', 'jti'],
  })
  return { header: decodeProtectedHeader(answer.access_token), claims: payload, token: answer.access_token }
}

const exchanged = await client.genericGrantRequest(configuration, TOKEN_EXCHANGE, {
  subject_token: evidence,
  subject_token_type: JWT,
  requested_token_type: JWT,
  audience,
})
const asserted = await client.genericGrantRequest(configuration, JWT_BEARER, {
  assertion: evidence,
  audience: svidAudience,
})

// A refusal, as the client understands it.
let refusal
try {
  await client.genericGrantRequest(configuration, JWT_BEARER, { assertion: 'e.v.il', audience })
} catch (error) {
  refusal = { error: error.error, status: error.status, description: error.error_description }
}

console.log(
  JSON.stringify({
    metadata,
    exchanged: { ...(await verified(exchanged, audience)), issued_token_type: exchanged.issued_token_type, expires_in: exchanged.expires_in, token_type: exchanged.token_type },
    asserted: await verified(asserted, svidAudience),
    refusal,
  }),
)
