// Another language: checks docs/reference/device-vectors.json with what docs/reference/device-signature.md says, and no more.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const vectors = JSON.parse(readFileSync(process.argv[2], "utf8"));
const sha256 = (data) => createHash("sha256").update(data).digest();
const canonical = (value) =>
  value === null || typeof value !== "object"
    ? JSON.stringify(value)
    : Array.isArray(value)
      ? `[${value.map(canonical)}]`
      : `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;
const key = createPublicKey({ key: Buffer.from(vectors.public_key, "base64url"), format: "der", type: "spki" });
const isSigned = (message, signature) => verify("sha256", message, key, Buffer.from(signature, "base64url"));

const faults = [];
const { challenge, device_key, signature } = vectors.registration;
const message = Buffer.concat([Buffer.from(challenge, "base64url"), Buffer.from(device_key, "ascii")]);
if (message.length !== 68 || !isSigned(message, signature)) faults.push("registration");
for (const { name, decision, nonce, details, items, ...told } of vectors.operations) {
  const computed = sha256(`aval-device-v1\n${decision}\n${nonce}\n${canonical(details)}`);
  if (computed.toString("base64url") !== told.challenge) faults.push(`${name}: challenge`);
  if (!isSigned(computed, told.p256_signature)) faults.push(`${name}: signature`);
  if (isSigned(computed, signature)) faults.push(`${name}: takes another signature`);
  if (items && sha256(canonical(items)).toString("hex") !== details.items_digest) faults.push(`${name}: items`);
}
console.log(JSON.stringify({ checked: vectors.operations.length, faults }));
