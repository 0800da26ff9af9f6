// A certified authorization server on loopback for an application that asks for its tokens itself: client credentials,
// codes with PKCE, and refresh tokens, for one client that proves itself by JWTs which are signed with the keys at
// JWKS_URI (private_key_jwt). Usage: node login-server.mjs PORT CLIENT JWKS_URI; prints `ready`, then each request for a
// token as a line of JSON: its form as it was asked, and what came of it. `GET /code?challenge=S256` stands for a user
// who has logged in: it answers with a code.

import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'

const [port, client, jwksUri] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`
const redirect = 'https://app.example/done'
const { privateKey } = await generateKeyPair('RS256', { extractable: true })

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'rsa-1' }] },
  clients: [{
    client_id: client,
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks_uri: jwksUri,
    grant_types: ['client_credentials', 'authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [redirect],
  }],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  // Its own refuses loopback, where the tests' issuer listens.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false }, clientCredentials: { enabled: true } },
})

// Why, for whom reads the output of a failed test.
provider.on('grant.error', (_, error) => console.error(error.message, error.error_detail ?? '', error.cause?.message ?? ''))

async function code(challenge) {
  const grant = new provider.Grant({ accountId: 'alice', clientId: client })
  grant.addOIDCScope('openid offline_access')
  const found = await provider.Client.find(client)
  return new provider.AuthorizationCode({
    accountId: 'alice',
    client: found,
    grantId: await grant.save(),
    redirectUri: redirect,
    scope: 'openid offline_access',
    codeChallenge: challenge,
    codeChallengeMethod: 'S256',
    authTime: Math.floor(Date.now() / 1000),
  }).save()
}

provider.use(async (ctx, next) => {
  if (ctx.path === '/code') {
    ctx.body = { code: await code(ctx.query.challenge), redirect_uri: redirect }
    return
  }
  await next()
  if (ctx.path !== '/token') return
  const asked = ctx.oidc?.body ?? ctx.oidc?.params ?? null
  const { authorization, 'content-length': length } = ctx.headers
  console.log(JSON.stringify({ asked, authorization, length, status: ctx.status, error: ctx.body?.error ?? null }))
})

await new Promise((listening) => provider.listen(Number(port), '127.0.0.1', listening))
console.log('ready')
