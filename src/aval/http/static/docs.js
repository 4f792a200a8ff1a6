// Shows /openapi.json. Everything is set as text, nothing as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function table(heads, rows) {
  if (!rows.length) return null;
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell ?? ""))));
  return make("div", { class: "table", tabindex: "0", role: "group", "aria-label": heads.join(", ") },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function section(title, content) {
  return content ? [make("h4", {}, title), content] : [];
}

class Page {
  constructor(api) {
    this.api = api;
    this.entries = [];
  }

  resolve(schema) {
    if (!schema?.$ref) return schema ?? {};
    return schema.$ref.slice(2).split("/").reduce((place, part) => place[part], this.api);
  }

  typeOf(schema) {
    const found = this.resolve(schema);
    if (found.anyOf) return found.anyOf.map((each) => this.typeOf(each)).join(" or ");
    if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
    if (found.type === "array") return `list of ${this.typeOf(found.items)}`;
    if (found.title && found.type !== "string") return found.title;
    return [found.type ?? "any", found.format].filter(Boolean).join(" ");
  }

  rulesOf(schema) {
    const found = this.resolve(schema);
    const names = { minLength: "min. characters", maxLength: "max. characters", minimum: "from", maximum: "to",
      minItems: "min. items", maxItems: "max. items", pattern: "pattern", default: "default" };
    const rules = Object.entries(names).filter(([key]) => found[key] !== undefined && found[key] !== null)
      .map(([key, text]) => `${text} ${found[key]}`);
    return [found.description, rules.join(", ")].filter(Boolean).join(" · ");
  }

  fields(schema, prefix = "", depth = 0) {
    const found = this.resolve(schema);
    if (found.type === "array") return this.fields(found.items, `${prefix}[]`, depth);
    if (found.anyOf) return found.anyOf.flatMap((each) => this.fields(each, prefix, depth));
    if (!found.properties || depth > 5) return [];
    return Object.entries(found.properties).flatMap(([name, member]) => {
      const path = prefix ? `${prefix}.${name}` : name;
      const label = make("span", {}, make("code", {}, path));
      if (found.required?.includes(name)) label.append(" ", make("span", { class: "required" }, "required"));
      return [[label, this.typeOf(member), this.rulesOf(member)], ...this.fields(member, path, depth + 1)];
    });
  }

  bodyOf(content) {
    return table(["Field", "Type", "Rules"], this.fields(content?.["application/json"]?.schema));
  }

  parameters(operation) {
    const rows = (operation.parameters ?? []).map((each) => {
      const label = make("span", {}, make("code", {}, each.name));
      if (each.required) label.append(" ", make("span", { class: "required" }, "required"));
      const rules = [each.description, this.rulesOf(each.schema)].filter(Boolean).join(" · ");
      return [label, each.in, this.typeOf(each.schema), rules];
    });
    return table(["Parameter", "In", "Type", "Rules"], rows);
  }

  codes(operation) {
    const rows = Object.entries(operation.responses).flatMap(([status, response]) =>
      Object.entries(response.content?.["application/json"]?.examples ?? {}).map(([code, reference]) => {
        const problem = this.resolve(reference).value;
        return [status, make("code", {}, code), problem.title, problem.description];
      }));
    return table(["Status", "Code", "Title", "Description"], rows);
  }

  operation(path, method, operation) {
    const success = Object.entries(operation.responses).filter(([status]) => status < "400");
    const [status, response] = success[0];
    const word = make("span", { class: `method ${method}` }, method.toUpperCase());
    const body = make("div", { class: "body" },
      operation.description ? make("p", {}, operation.description.replaceAll("`", "")) : null,
      ...section("Parameters", this.parameters(operation)),
      ...section("Request body", this.bodyOf(operation.requestBody?.content)),
      ...section(`Answer ${success.map(([each]) => each).join(" or ")}`,
        this.bodyOf(response.content) ?? make("p", {}, status === "204" ? "No body." : "")),
      ...section("Errors", this.codes(operation)));
    const summary = make("summary", {}, make("h3", {}, word, make("span", { class: "path" }, path)),
      make("span", { class: "what" }, operation.summary));
    const details = make("details", { id: operation.operationId }, summary, body);
    const link = make("li", {}, make("a", { href: `#${operation.operationId}` }, operation.summary));
    link.querySelector("a").addEventListener("click", () => { details.open = true; });
    const text = [method, path, operation.summary, body.textContent].join(" ").toLowerCase();
    this.entries.push({ details, link, text });
    return { details, link };
  }

  show() {
    document.getElementById("version").textContent = this.api.info.version;
    document.getElementById("about").textContent = this.api.info.description;
    const [content, contents] = ["content", "contents"].map((id) => document.getElementById(id));
    const operations = Object.entries(this.api.paths).flatMap(([path, item]) =>
      METHODS.filter((method) => item[method]).map((method) => [path, method, item[method]]));
    const groups = this.api.tags.map(({ name }) => {
      const shown = operations.filter(([, , each]) => each.tags[0] === name).map((each) => this.operation(...each));
      const group = make("section", {}, make("h2", {}, name), ...shown.map(({ details }) => details));
      const list = make("section", {}, make("h2", {}, name), make("ul", {}, ...shown.map(({ link }) => link)));
      content.append(group);
      contents.append(list);
      return [group, list];
    });
    document.getElementById("search").addEventListener("input", (event) => this.search(event.target.value, groups));
    document.getElementById("loading").remove();
    const wanted = location.hash && document.getElementById(location.hash.slice(1));
    if (wanted) { wanted.open = true; wanted.scrollIntoView(); }
  }

  search(text, groups) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const entry of this.entries) {
      const isFound = words.every((word) => entry.text.includes(word));
      entry.details.hidden = entry.link.hidden = !isFound;
      count += isFound;
    }
    for (const pair of groups) {
      const isEmpty = pair[0].querySelector("details:not([hidden])") === null;
      for (const part of pair) part.hidden = isEmpty;
    }
    document.getElementById("found").textContent = words.length ? `${count} of ${this.entries.length} operations` : "";
  }
}

try {
  const response = await fetch("/openapi.json");
  new Page(await response.json()).show();
} catch {
  document.getElementById("loading").textContent = "The description could not be read. Is the server running?";
}
