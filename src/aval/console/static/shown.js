// What is shown of an operation, and the checks that what is signed is what is shown.

import { canonical, centavos, itemsDigest } from "./canonical.js";
import { button, definitions, element } from "./elements.js";

const KINDS = ["pix_transfer", "ted", "pix_transfer_batch", "ted_batch"];
const DETAILS = ["account_key", "amount", "fee_amount", "item_count", "items_digest", "operation", "operation_key",
  "payee_document_masked", "payee_name", "target", "version"];
const ITEM = ["amount", "payee_document_masked", "payee_name", "request_control_key", "target"];
const ITEMS_FIRST = 8;

const hasMembers = (value, names) => canonical(Object.keys(value).sort()) === canonical(names);
const sum = (amounts) => amounts.reduce((total, amount) => total + amount, 0n);

/** Whether every signed member is one this page shows, and the items are those the details name. */
export async function isConsistent({ details, items }) {
  try {
    if (!hasMembers(details, DETAILS) || details.version !== 1 || !KINDS.includes(details.operation)) return false;
    centavos(details.fee_amount);
    if (!details.operation.endsWith("_batch")) {
      return items === null && details.item_count === 1 && details.items_digest === null && centavos(details.amount) > 0n;
    }
    if (!items.every((item) => hasMembers(item, ITEM)) || items.length !== details.item_count) return false;
    const total = sum(items.map((item) => centavos(item.amount)));
    return total === centavos(details.amount) && (await itemsDigest(items)) === details.items_digest;
  } catch {
    return false;
  }
}

export function money(amount, words) {
  return new Intl.NumberFormat(words.language, { style: "currency", currency: "BRL" }).format(amount);
}

export function moment(instant, words) {
  const options = { dateStyle: "short", timeStyle: "short" };
  return new Intl.DateTimeFormat(words.language, options).format(new Date(instant));
}

function destination(target, words) {
  const account = /^([0-9]{8})\/([^/@]+)\/([^/@]+)$/.exec(target ?? ""); // a Pix key may be an address such as 1/2/3@x
  return account
    ? [words.destination, words.target_account(account[1], account[2], account[3])]
    : [words.pix_key, target];
}

/** The description of a session: its payee, or for a batch totals and items. */
export function description(session, facts, words) {
  const { details, items } = session;
  const isBatch = items !== null;
  const hasFee = centavos(details.fee_amount) > 0n;
  const debited = Number(sum([centavos(details.amount), centavos(details.fee_amount)])) / 100;
  const [term, target] = destination(details.target, words);
  const rows = [
    [isBatch ? words.total : words.amount, money(details.amount, words), "amount"],
    [isBatch ? words.fees : words.fee, hasFee ? money(details.fee_amount, words) : null],
    [words.debited, hasFee ? money(debited, words) : null],
    [words.items, isBatch ? words.item_count(details.item_count) : null],
    [words.payee, details.payee_name, "payee"],
    [words.document, details.payee_document_masked],
    [term, target],
    [words.account, facts.account_number_masked],
  ];
  return [
    definitions(rows),
    !isBatch && facts.new_payees.length > 0 && element("p", { className: "notice" }, words.new_payee_notice),
    isBatch && itemLists(items, new Set(facts.new_payees), words),
    identifiers(details, words),
  ];
}

function identifiers(details, words) {
  const rows = [[words.operation_key, details.operation_key], [words.account_key, details.account_key]];
  return element("details", {}, element("summary", {}, words.technical), definitions(rows));
}

/** Payees that are new come first, then the others; the largest first in both. */
function itemLists(items, isNew, words) {
  const byAmount = [...items].sort((one, other) => Number(centavos(other.amount) - centavos(one.amount)));
  const unseen = byAmount.filter((item) => isNew.has(item.request_control_key));
  const known = byAmount.filter((item) => !isNew.has(item.request_control_key));
  return [
    unseen.length > 0 && itemList(words.new_items(unseen.length), unseen, words),
    known.length > 0 && itemList(words.known_items, known, words),
  ];
}

function itemList(heading, items, words) {
  const rows = (some) => some.map((item) => itemRow(item, words));
  const list = element("ol", {}, rows(items.slice(0, ITEMS_FIRST)));
  const more = items.length > ITEMS_FIRST && button(words.all_items(items.length), "plain", () => {
    const rest = rows(items.slice(ITEMS_FIRST));
    list.append(...rest);
    more.remove();
    rest[0].tabIndex = -1;
    rest[0].focus();
  });
  return element("section", { className: "items" }, element("h2", {}, heading), list, more);
}

function itemRow(item, words) {
  const [term, target] = destination(item.target, words);
  const who = [item.payee_document_masked, target && `${term}: ${target}`].filter(Boolean).join(" · ");
  return element("li", {},
    element("span", { className: "payee" }, item.payee_name ?? ""),
    element("span", { className: "amount" }, money(item.amount, words)),
    element("span", { className: "who" }, who));
}
