// The browser's passkeys: WebAuthn in, base64url out.

export function toBase64url(buffer) {
  const text = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

export function fromBase64url(text) {
  const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(bytes, (character) => character.charCodeAt(0));
}

export const canUsePasskeys = () => Boolean(window.PublicKeyCredential && navigator.credentials);

/** Make a passkey that answers the challenge of a registration: the `credential` of POST device. */
export async function makePasskey({ challenge, rpId, integrator, label, known }) {
  const made = await navigator.credentials.create({
    publicKey: {
      challenge: fromBase64url(challenge),
      rp: { id: rpId, name: integrator },
      // Random, so that a passkey made for one account never replaces that of another.
      user: { id: crypto.getRandomValues(new Uint8Array(32)), name: label, displayName: label },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }],
      authenticatorSelection: { residentKey: "preferred", userVerification: "required" },
      attestation: "none",
      excludeCredentials: known.map((id) => ({ type: "public-key", id: fromBase64url(id) })),
    },
  });
  return {
    type: "webauthn",
    credential_id: toBase64url(made.rawId),
    attestation_object: toBase64url(made.response.attestationObject),
    client_data_json: toBase64url(made.response.clientDataJSON),
  };
}

/** Let one of these passkeys sign 32 bytes: the proof in the body of approve and deny. */
export async function signWithPasskey({ challenge, rpId, credentialIds }) {
  const given = await navigator.credentials.get({
    publicKey: {
      challenge,
      rpId,
      userVerification: "required",
      allowCredentials: credentialIds.map((id) => ({ type: "public-key", id: fromBase64url(id) })),
    },
  });
  return {
    type: "webauthn",
    credential_id: toBase64url(given.rawId),
    authenticator_data: toBase64url(given.response.authenticatorData),
    client_data_json: toBase64url(given.response.clientDataJSON),
    signature: toBase64url(given.response.signature),
  };
}
