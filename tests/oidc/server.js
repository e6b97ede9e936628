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

async function newProvider(issuer, kid) {
  const provider = new Provider(issuer, {
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
      interact(provider, request, response).catch((error) => response.writeHead(500).end(String(error)));
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
