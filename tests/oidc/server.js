// A provider of OpenID Connect for the tests: it signs everybody in as `ann-at-the-provider` without asking.
//
//   node server.js RS256|ES256 REDIRECT
//
// It prints its issuer. A line on its standard input makes it sign with a new key.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";
import Provider from "oidc-provider";

const [algorithm, redirect] = process.argv.slice(2);
const kinds = {
  RS256: { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
  ES256: { name: "ECDSA", namedCurve: "P-256" },
};

async function newKey(kid) {
  const pair = await webcrypto.subtle.generateKey(kinds[algorithm], true, ["sign", "verify"]);
  const key = await webcrypto.subtle.exportKey("jwk", pair.privateKey);
  return { ...key, key_ops: undefined, ext: undefined, use: "sig", alg: algorithm, kid };
}

const cookieKey = "for tests only";
const kept = new Map();

/** Keeps everything until the end: the store that comes with the provider forgets too early. */
class Memory {
  constructor(model) {
    this.key = (id) => `${model}:${id}`;
  }

  async upsert(id, payload) {
    kept.set(this.key(id), payload);
    if (payload.uid) kept.set(`uid:${this.key(payload.uid)}`, id);
  }

  async find(id) {
    return kept.get(this.key(id));
  }

  async findByUid(uid) {
    return this.find(kept.get(`uid:${this.key(uid)}`));
  }

  async consume(id) {
    kept.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    kept.delete(this.key(id));
  }

  async revokeByGrantId(grant) {
    for (const [key, payload] of kept) if (payload.grantId === grant) kept.delete(key);
  }
}

async function newProvider(issuer, kid) {
  const provider = new Provider(issuer, {
    adapter: Memory,
    jwks: { keys: [await newKey(kid)] },
    cookies: { keys: [cookieKey] },
    clients: [{
      client_id: "chat",
      client_secret: "a secret: of both",
      redirect_uris: [redirect],
      id_token_signed_response_alg: algorithm,
    }],
    claims: { profile: ["name", "preferred_username"], email: ["email", "email_verified"] },
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: "Ann A.", preferred_username: "ann", email: "ann@example.com", email_verified: true }),
    }),
  });
  provider.on("server_error", (_context, error) => console.error(error));
  return provider;
}

async function interact(provider, request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    const login = { accountId: "ann-at-the-provider" };
    return provider.interactionFinished(request, response, { login });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const server = createServer();
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let keys = 1;
  let provider = await newProvider(issuer, `key-${keys}`);
  server.on("request", (request, response) => {
    if (request.url.startsWith("/interaction/")) {
      interact(provider, request, response).catch((error) => response.writeHead(500).end(`${error}: ${error.error_description}`));
    } else {
      provider.callback()(request, response);
    }
  });
  console.log(issuer);
  for await (const _line of createInterface({ input: process.stdin })) {
    keys += 1;
    provider = await newProvider(issuer, `key-${keys}`);
    console.log(`key-${keys}`);
  }
  process.exit();
});
