// The approver's page: reads what a link leads to, shows it, and lets a passkey sign what was shown.

import { openSession, readFacts, readWaiting, Refused, sendDecision } from "./calls.js";
import { canonical, deviceChallenge } from "./canonical.js";
import { element } from "./elements.js";
import { canUsePasskeys, makePasskey, signWithPasskey } from "./passkey.js";
import { isConsistent } from "./shown.js";
import { chosenLanguage, texts } from "./texts.js";
import { approveView, closedView, decidedView, denyDialog, madeView, problemView, registerView } from "./views.js";

const NONCE_LEFT_MIN_MS = 20_000;
const UNSURE = ["offline", "QIT000500"]; // after a signature was sent: it may have counted
const LINK = /^\/approve\/([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})$/i;

const content = document.getElementById("content");
const statusLine = document.getElementById("status");
const integratorLine = document.getElementById("integrator");
const languageButton = document.getElementById("language");

const id = LINK.exec(location.pathname)?.[1].toLowerCase();
let words = texts[chosenLanguage(navigator.languages, "pt-BR")];
let facts = null;
let session = null;
let shown = () => [element("p", {}, words.loading)];
let isBusy = false;

// --- showing ---------------------------------------------------------------------------------------------------

function draw() {
  document.documentElement.lang = words.language;
  languageButton.textContent = words.other;
  languageButton.lang = words.language === "en" ? "pt-BR" : "en";
  languageButton.hidden = false;
  integratorLine.textContent = facts?.integrator_name ?? "";
  content.replaceChildren(...shown().flat(2).filter(Boolean));
  const heading = content.querySelector("h1");
  document.title = heading ? words.title_of(heading.textContent, facts?.integrator_name ?? "Aval") : "Aval";
  return heading;
}

function show(view) {
  shown = view;
  statusLine.textContent = "";
  content.setAttribute("aria-busy", "false");
  const heading = draw();
  if (heading) {
    heading.tabIndex = -1;
    heading.focus();
  }
}

const tell = (text) => { statusLine.textContent = text; };

languageButton.addEventListener("click", () => {
  words = texts[words.language === "en" ? "pt-BR" : "en"];
  tell("");
  draw();
});

function showProblem(name) {
  const canRetry = ["offline", "other"].includes(name);
  show(() => problemView(words, words.problems[name], canRetry ? () => location.reload() : null));
}

/** Do one thing at a time; what goes wrong is told, and nothing of it counts. */
async function once(work) {
  if (isBusy) return;
  isBusy = true;
  content.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    await explain(error);
  } finally {
    isBusy = false;
    content.setAttribute("aria-busy", "false");
  }
}

async function explain(error) {
  if (error instanceof Refused) {
    if (error.code === "OBD000925") return showProblem("not_found");
    if (error.code === "OBD000921") return open();
    if (error.code === "OBD000924") return tell(words.refused);
    if (error.code === "QIT000943") return tell(words.busy(error.seconds));
    return tell(words.problems[error.code] ?? words.problems.other);
  }
  if (error.name === "InvalidStateError") return tell(words.already);
  if (["NotAllowedError", "AbortError"].includes(error.name)) return tell(words.cancelled);
  return tell(words.problems.other);
}

// --- approving and denying -------------------------------------------------------------------------------------

async function open() {
  session = await openSession(id);
  if (!(await isConsistent(session))) return showProblem("mismatch");
  if (session.session_status !== "pending") return showEnd(session.session_status);
  if (facts.passkeys.length === 0) return showProblem("no_passkey");
  show(() => approveView(words, session, facts, { approve: () => once(() => decide("approve")), deny: askWhy }));
}

function showEnd(status) {
  if (status === "closed") return show(() => closedView(words));
  show(() => decidedView(words, facts, status, null, null));
}

function askWhy() {
  const dialog = denyDialog(words, (reason) => once(() => decide("deny", reason)));
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
}

/** A session whose nonce lasts; if another was told meanwhile, what it shows must be what is on the screen. */
async function renewed() {
  if (Date.parse(session.nonce_expires_at) - Date.now() > NONCE_LEFT_MIN_MS) return true;
  return renew();
}

async function renew() {
  const before = canonical([session.details, session.items]);
  const now = await openSession(id);
  if (now.session_status !== "pending" || canonical([now.details, now.items]) !== before) {
    await open();
    return false;
  }
  session = now;
  return true;
}

async function decide(decision, reason) {
  tell(words.working);
  if (!(await renewed())) return;
  if (!(await isConsistent(session))) return showProblem("mismatch");
  const proof = await signWithPasskey({
    challenge: await deviceChallenge(decision, session.nonce, session.details),
    rpId: session.rp_id,
    credentialIds: facts.passkeys.map((passkey) => passkey.credential_id),
  });
  const signer = facts.passkeys.find((passkey) => passkey.credential_id === proof.credential_id);
  const body = { device_key: signer.device_key, nonce: session.nonce, ...proof, ...(reason ? { reason } : {}) };
  try {
    await sendDecision(id, decision, body);
  } catch (error) {
    if (UNSURE.includes(error.code)) return tell(words.unsure);
    if (error.code !== "OBD000926") throw error;
    if (await renew()) tell(words.renewed);
    return;
  }
  await showDecided(decision === "approve" ? "approved" : "denied", reason, body);
}

async function showDecided(status, reason, { nonce, signature }) {
  let waiting = null;
  try {
    waiting = (await readWaiting(id, { nonce, signature })).waiting;
  } catch {
    waiting = null; // the decision counts all the same
  }
  show(() => decidedView(words, facts, status, reason, waiting));
}

// --- registering -----------------------------------------------------------------------------------------------

/** Where the link wants the credential to go: nowhere, or an address of the integrator's. */
function returnTo() {
  const given = new URLSearchParams(location.hash.slice(1)).get("return_to");
  if (given === null) return { isAllowed: true, url: null };
  try {
    const url = new URL(given);
    return { isAllowed: facts.registration.origins.includes(url.origin), url };
  } catch {
    return { isAllowed: false, url: null };
  }
}

function openRegistration() {
  const target = returnTo();
  if (!target.isAllowed) return showProblem("return_to");
  show(() => registerView(words, facts, () => once(() => register(target.url))));
}

async function register(url) {
  if (Date.parse(facts.registration.expires_at) <= Date.now()) return showProblem("expired");
  tell(words.working);
  const credential = await makePasskey({
    challenge: facts.registration.challenge,
    rpId: facts.rp_id,
    integrator: facts.integrator_name,
    label: words.passkey_label(facts.account_number_masked),
    known: facts.passkeys.map((passkey) => passkey.credential_id),
  });
  const text = JSON.stringify(credential);
  if (url !== null) url.hash = new URLSearchParams({ session_id: id, credential: text }).toString();
  show(() => madeView(words, facts, url, text, tell));
  if (url !== null) location.assign(url);
}

// --- beginning -------------------------------------------------------------------------------------------------

async function begin() {
  if (!id) return showProblem("not_found");
  try {
    facts = await readFacts(id);
    words = texts[chosenLanguage(navigator.languages, facts.locale)];
    if (!canUsePasskeys()) return showProblem("unsupported");
    if (facts.purpose === "register") return openRegistration();
    await open();
  } catch (error) {
    const known = { OBD000925: "not_found", OBD000926: "expired", offline: "offline" };
    showProblem(known[error.code] ?? "other");
  }
}

draw();
begin();
