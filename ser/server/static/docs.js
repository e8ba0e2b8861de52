// A page of /openapi.json: each path with its parameters, answers and a command.

const COMMANDS = {
  "/predict": `curl -F file=@speech.wav ${location.origin}/predict`,
  "/model": `curl ${location.origin}/model`,
  "/health": `curl ${location.origin}/health`,
  "/stream": `ws://${location.host}/stream`,
};

function make(tag, text, ...children) {
  const node = document.createElement(tag);
  // As in Markdown, code stands between backticks.
  text.split("`").forEach((part, index) => node.append(index % 2 ? make("code", part) : part));
  node.append(...children);
  return node;
}

function table(rows) {
  return make("table", "", make("tbody", "", ...rows.map(([code, text]) => make("tr", "",
    make("td", "", make("code", code)), make("td", text)))));
}

function schemaRows(schema) {
  return Object.entries(schema.properties ?? {}).map(([name, own]) => [
    name, [[own.type ?? typeof own.const].flat().join(" or "), own.description].filter(Boolean).join(": "),
  ]);
}

function describe(path, method, operation, schemas) {
  const find = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").at(-1)] : schema) ?? {};
  const answer = find(operation.responses["200"]?.content?.["application/json"]?.schema);
  const parts = [
    make("h2", `${path === "/stream" ? "WebSocket" : method.toUpperCase()} ${path}`),
    make("p", `${operation.summary}. ${operation.description ?? ""}`),
    make("pre", "", make("code", COMMANDS[path])),
  ];
  if (operation.parameters) {
    parts.push(make("h2", "Parameters"), table(operation.parameters.map((own) => [own.name, own.description])));
  }
  if (answer.properties) parts.push(make("h2", "Answer"), table(schemaRows(answer)));
  const errors = Object.entries(operation.responses).filter(([status]) => status >= "400");
  if (errors.length) {
    parts.push(make("h2", 'Errors, as {"error": "..."}'), table(errors.map(([status, own]) => [status, own.description])));
  }
  return make("section", "", ...parts);
}

const api = await (await fetch("/openapi.json")).json();
document.title = api.info.title;
document.getElementById("title").textContent = api.info.title;
document.getElementById("description").textContent = api.info.description;
document.getElementById("paths").replaceChildren(...Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => describe(path, method, operation, api.components.schemas))));
