// Elements are made, never parsed: no text of a payee can become markup.

/** An element with properties (names with a dash are attributes) and children; null and false children are left out. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== false));
  return made;
}

/** Rows of a description list; a row without a value is left out. */
export function definitions(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined);
  return element("dl", {}, shown.map(([term, value, className = ""]) =>
    element("div", { className }, element("dt", {}, term), element("dd", {}, value))));
}

export const button = (label, className, onclick) => element("button", { type: "button", className, onclick }, label);
