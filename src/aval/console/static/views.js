// The views of the page: each answers the elements of its main part, the heading first.

import { button, definitions, element } from "./elements.js";
import { description, moment, money } from "./shown.js";

const heading = (text, className = "") => element("h1", { className }, text);
const paragraph = (text, className = "") => element("p", { className }, text);

export function approveView(words, session, facts, { approve, deny }) {
  return [
    heading(words.approve_title[session.details.operation]),
    paragraph(words.approve_lead, "lead"),
    description(session, facts, words),
    element("div", { className: "actions" },
      button(words.approve, "primary", approve), button(words.deny, "secondary", deny)),
  ];
}

/** A dialog that asks why, and calls `decide` with the reason. */
export function denyDialog(words, decide) {
  const choices = Object.entries(words.reasons).map(([value, label]) =>
    element("label", {}, element("input", { type: "radio", name: "reason", value, required: true }), label));
  const form = element("form", { method: "dialog" },
    element("h2", { id: "deny-title" }, words.deny_title),
    paragraph(words.deny_lead),
    element("fieldset", {}, element("legend", { className: "unseen-text" }, words.deny_title), choices),
    element("div", { className: "actions" },
      button(words.deny_confirm, "danger", () => {
        if (!form.reportValidity()) return;
        const { reason } = Object.fromEntries(new FormData(form));
        dialog.close();
        decide(reason);
      }),
      button(words.back, "secondary", () => dialog.close())));
  const dialog = element("dialog", { "aria-labelledby": "deny-title" }, form);
  return dialog;
}

/** Approved or denied; `waiting` is null where no signature of this page may ask for it. */
export function decidedView(words, facts, status, reason, waiting) {
  const isApproved = status === "approved";
  return [
    heading(isApproved ? words.approved_title : words.denied_title, status),
    paragraph(isApproved ? words.approved_lead(facts.integrator_name) : words.denied_lead, "lead"),
    reason === "not_me" && paragraph(words.denied_not_me(facts.integrator_name), "notice"),
    waiting !== null && waitingList(words, waiting),
  ];
}

function waitingList(words, waiting) {
  if (waiting.length === 0) return paragraph(words.nothing_waits);
  const links = waiting.map((each) => {
    const who = each.payee_name ?? words.item_count(each.item_count);
    return element("li", {}, element("a", { href: `/approve/${each.session_id}` },
      element("span", { className: "payee" }, `${words.operations[each.operation]} · ${who}`), " ",
      element("span", { className: "amount" }, money(each.amount, words)), " ",
      element("span", { className: "who" }, `${words.until} ${moment(each.approval_deadline, words)}`)));
  });
  return element("section", { className: "items" }, element("h2", {}, words.waiting_title), element("ul", {}, links));
}

export const closedView = (words) => [heading(words.closed_title), paragraph(words.closed_lead, "lead")];

export function registerView(words, facts, register) {
  return [
    heading(words.register_title),
    paragraph(words.register_lead(facts.integrator_name), "lead"),
    definitions([[words.account_key, facts.account_number_masked]]),
    paragraph(words.register_next),
    element("div", { className: "actions" }, button(words.register, "primary", register)),
  ];
}

/** The passkey is made: a way back, or where the link names none, the credential to copy. */
export function madeView(words, facts, url, text, tell) {
  if (url !== null) {
    const link = element("a", { href: url.href, className: "button primary" }, words.made_continue(facts.integrator_name));
    return [heading(words.made_title), paragraph(words.made_lead(facts.integrator_name), "lead"),
      element("div", { className: "actions" }, link)];
  }
  const field = element("textarea", { readOnly: true, rows: 6, value: text, spellcheck: false, id: "credential" });
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    tell(words.copied);
  };
  return [
    heading(words.made_title),
    paragraph(words.made_copy_lead, "lead"),
    element("label", { htmlFor: "credential" }, words.made_text), field,
    element("div", { className: "actions" }, button(words.copy, "primary", copy)),
  ];
}

export function problemView(words, text, again) {
  return [
    heading(words.problem_title),
    paragraph(text, "lead"),
    again && element("div", { className: "actions" }, button(words.again, "primary", again)),
  ];
}
