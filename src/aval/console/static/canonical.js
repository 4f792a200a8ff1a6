// What a device signs, computed from what is shown (docs/reference/device-signature.md).

const CONTEXT = "aval-device-v1";
const encoder = new TextEncoder();

/** RFC 8785 for strings, whole numbers, null, and objects and lists of them; throws for anything else. */
export function canonical(value) {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (Number.isSafeInteger(value)) return String(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object") throw new TypeError("no canonical form");
  const members = Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
  return `{${members.join(",")}}`;
}

/** SHA-256 of a text as 32 bytes. */
export async function sha256(text) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

/** The digest of a batch's items, as its details name it. */
export async function itemsDigest(items) {
  const bytes = await sha256(canonical(items));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The 32 bytes a passkey signs to approve or deny. */
export function deviceChallenge(decision, nonce, details) {
  return sha256([CONTEXT, decision, nonce, canonical(details)].join("\n"));
}

/** An amount such as `202.01` as whole centavos; throws for any other spelling. */
export function centavos(amount) {
  const found = /^(0|[1-9][0-9]*)\.([0-9]{2})$/.exec(amount);
  if (!found) throw new TypeError("no amount");
  return BigInt(found[1] + found[2]);
}
