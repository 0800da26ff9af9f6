// A certified authorization server on loopback with one client, which proves itself by JWTs that are signed with the
// keys at JWKS_URI (private_key_jwt), and may ask for tokens by client credentials and by token exchange. Usage: node
// authorization-server.mjs PORT CLIENT JWKS_URI RESOURCE; prints `ready`, then each request for a token as a line of
// JSON: what was asked, and what came of it.

import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose'
import Provider, { errors } from 'oidc-provider'

const [port, client, jwksUri, resource] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const { privateKey } = await generateKeyPair('RS256', { extractable: true })

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'rsa-1' }] },
  scopes: ['books.read', 'books.write'],
  clients: [{
    client_id: client,
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks_uri: jwksUri,
    grant_types: ['client_credentials', TOKEN_EXCHANGE],
    response_types: [],
    redirect_uris: [],
    scope: 'books.read',
  }],
  ttl: { ClientCredentials: 600 },
  // Its own refuses loopback, where the tests' issuer listens.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      getResourceServerInfo: (_, indicator) => {
        if (indicator !== resource) throw new errors.InvalidTarget()
        return { scope: 'books.read books.write', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 600 }
      },
    },
  },
})

// RFC 8693 is not built in: the subject token must be one of the client's own keys, for this server.
const keys = createRemoteJWKSet(new URL(jwksUri))
provider.registerGrantType(TOKEN_EXCHANGE, async (ctx) => {
  const { subject_token: token, subject_token_type: type, audience } = ctx.oidc.params
  if (type !== 'urn:ietf:params:oauth:token-type:jwt') throw new errors.InvalidRequest('subject_token_type')
  if (audience !== 'books') throw new errors.InvalidTarget()
  let subject
  try {
    subject = (await jwtVerify(token, keys, { audience: issuer, requiredClaims: ['sub', 'jti'] })).payload.sub
  } catch {
    throw new errors.InvalidGrant('subject_token')
  }
  const granted = new provider.ClientCredentials({ client: ctx.oidc.client, scope: 'books.read', extra: { subject } })
  ctx.body = {
    access_token: await granted.save(),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
    expires_in: 600,
  }
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'audience'])

// Why, for whom reads the output of a failed test.
provider.on('grant.error', (_, error) => console.error(error.message, error.error_detail ?? '', error.cause?.message ?? ''))

provider.use(async (ctx, next) => {
  await next()
  if (ctx.path !== '/token') return
  const { body, params } = ctx.oidc ?? {}
  console.log(JSON.stringify({ asked: body ?? params ?? null, status: ctx.status, error: ctx.body?.error ?? null }))
})

await new Promise((listening) => provider.listen(Number(port), '127.0.0.1', listening))
console.log('ready')
