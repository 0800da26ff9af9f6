// A certified OpenID Connect provider on loopback. It serves discovery and keys until it is killed, and prints
// one ID token for its client, which it gives by CIBA: a flow without a browser. Usage: node
// openid-provider.mjs PORT CLIENT SUBJECT; prints the token as JSON, then `ready`.

import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'

const [port, client, subject] = process.argv.slice(2)
const issuer = `http://127.0.0.1:${port}`
const { privateKey } = await generateKeyPair('RS256', { extractable: true })
const secret = crypto.randomUUID()

const provider = new Provider(issuer, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'rsa-1' }] },
  clients: [{
    client_id: client,
    client_secret: secret,
    grant_types: ['urn:openid:params:grant-type:ciba'],
    response_types: [],
    redirect_uris: [],
    backchannel_token_delivery_mode: 'poll',
  }],
  claims: { openid: ['sub', 'groups'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['builders', 'admins'] }) }),
  features: {
    devInteractions: { enabled: false },
    ciba: {
      enabled: true,
      deliveryModes: ['poll'],
      processLoginHint: (_, hint) => hint,
      validateBindingMessage() {},
      validateRequestContext() {},
      verifyUserCode() {},
      async triggerAuthenticationDevice(_, request, account) {
        const grant = new provider.Grant({ accountId: account.accountId, clientId: client })
        grant.addOIDCScope('openid')
        await grant.save()
        await provider.backchannelResult(request, grant)
      },
    },
  },
})
await new Promise((listening) => provider.listen(Number(port), '127.0.0.1', listening))

async function ask(path, parameters) {
  const credentials = Buffer.from(`${client}:${secret}`).toString('base64')
  const response = await fetch(issuer + path, {
    method: 'POST',
    headers: { authorization: `Basic ${credentials}` },
    body: new URLSearchParams(parameters),
  })
  const answer = await response.json()
  if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`)
  return answer
}

const { auth_req_id } = await ask('/backchannel', { scope: 'openid', login_hint: subject })
const { id_token } = await ask('/token', { grant_type: 'urn:openid:params:grant-type:ciba', auth_req_id })
console.log(JSON.stringify({ id_token }))
console.log('ready')
