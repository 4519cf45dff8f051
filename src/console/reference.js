// The page of REST's paths: the server's OpenAPI document, readable.

import { description } from "./api.js";
import { byId, element } from "./dom.js";

const METHODS = ["get", "post", "put", "delete"];

show().catch((error) => {
  byId("error").textContent = error.message;
  byId("error").hidden = false;
});

async function show() {
  const document = await description();
  byId("summary").textContent = `${document.info.title} ${document.info.version}: ${document.info.summary}`;
  const found = operations(document);
  for (const { name } of document.tags) {
    const of = found.filter(({ operation }) => operation.tags.includes(name));
    const parts = of.map((one) => shown(document, one));
    byId("paths").append(element("section", { className: "card" }, element("h2", {}, name), ...parts));
  }
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    byId("schemas").append(
      element(
        "details",
        { id: anchor(name) },
        element("summary", {}, element("code", {}, name)),
        element("div", {}, ...fields(schema)),
      ),
    );
  }
}

function operations(document) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({ path, method, operation: item[method] })),
  );
}

function shown(document, { path, method, operation }) {
  const parameters = (operation.parameters ?? []).map((parameter) => resolved(document, parameter));
  const parts = [element("p", { className: "muted" }, needed(document, operation))];
  if (parameters.length > 0) {
    parts.push(element("h3", {}, "Parameters"), facts(parameters.map(parameterFact)));
  }
  if (operation.requestBody) {
    parts.push(element("h3", {}, "Body"), facts(contents(operation.requestBody)));
  }
  const answers = Object.entries(operation.responses).flatMap(([status, response]) =>
    contents(resolved(document, response)).map(([type, ...rest]) => [`${status} ${type}`.trim(), ...rest]),
  );
  parts.push(element("h3", {}, "Answers"), facts(answers));
  return element(
    "details",
    {},
    element(
      "summary",
      {},
      element("span", { className: "method" }, method.toUpperCase()),
      element("code", {}, path),
      element("span", { className: "muted" }, operation.summary),
    ),
    element("div", {}, ...parts),
  );
}

/** What the sender needs. */
function needed(document, operation) {
  const security = operation.security ?? document.security;
  if (security.some((way) => "admin" in way)) return "Needs an admin token.";
  if (security.some((way) => Object.keys(way).length === 0)) return "Needs no token.";
  return "Needs a token where the server has tokens.";
}

function parameterFact(parameter) {
  const text = [parameter.in, parameter.required ? "required" : "optional"].join(", ");
  const more = parameter.description ?? parameter.schema.description ?? "";
  return [parameter.name, `${text}; `, ...kind(parameter.schema), more === "" ? "" : `. ${more}`];
}

/** A body or an answer, by its types of content. */
function contents(body) {
  const about = body.description ?? "";
  const types = Object.entries(body.content ?? {});
  if (types.length === 0) return [["", about]];
  return types.map(([type, { schema }], at) => [type, ...kind(schema ?? {}), at === 0 ? ` ${about}` : ""]);
}

/** The fields of an object, or what else a schema is. */
function fields(schema) {
  const about = schema.description ? [element("p", { className: "muted" }, schema.description)] : [];
  const inside = schema.properties ?? schema.items?.properties;
  if (inside === undefined) return [...about, element("p", {}, ...kind(schema))];
  const rows = Object.entries(inside).map(([name, field]) => {
    const more = field.description === undefined ? "" : `. ${field.description}`;
    return [name, ...kind(field), more];
  });
  return [...about, facts(rows)];
}

/** The type of a value, with links to the schemas that it names. */
function kind(schema) {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split("/").at(-1);
    return [element("a", { href: `#${anchor(name)}`, on: { click: () => open(name) } }, name)];
  }
  if (schema.enum !== undefined) return [schema.enum.map((value) => JSON.stringify(value)).join(" or ")];
  const either = schema.oneOf ?? schema.anyOf;
  if (either !== undefined) return joined(either.map(kind));
  const types = [schema.type ?? []].flat();
  if (types.includes("array") && schema.items) return ["list of ", ...kind(schema.items)];
  return [types.join(" or ")];
}

function joined(kinds) {
  return kinds.flatMap((one, at) => (at === 0 ? one : [" or ", ...one]));
}

function facts(rows) {
  const cells = rows.flatMap(([name, ...text]) => [element("dt", {}, name), element("dd", {}, ...text)]);
  return element("dl", { className: "facts" }, ...cells);
}

function resolved(document, value) {
  if (value.$ref === undefined) return value;
  const names = value.$ref.split("/").slice(1);
  return names.reduce((inside, name) => inside[name], document);
}

function anchor(name) {
  return `schema-${name}`;
}

function open(name) {
  byId(anchor(name)).open = true;
}
