// Rules for the modules of the page, checked in their text.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join, normalize, resolve } from "node:path";
import { dirname } from "node:path/posix";
import { test } from "node:test";

const folder = resolve(import.meta.dirname, "../../web");
const names = readdirSync(folder, { recursive: true }).filter(
  (name) => name.endsWith(".js") && !name.includes("vendor"),
);
const texts = new Map(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
const specifiers = (name) =>
  [...texts.get(name).matchAll(/(?:^import|\bfrom) "([^"]+)";$/gm)].map(([, found]) => found);
const imports = new Map(
  names.map((name) => [name, specifiers(name).map((found) => normalize(join(dirname(name), found)))]),
);

test("modules import each other and the client by relative paths", () => {
  assert.ok(names.length > 40, `${names.length} modules`);
  for (const name of names) {
    for (const found of specifiers(name)) assert.match(found, /^\.\.?\//, name);
    for (const found of imports.get(name)) {
      assert.ok(texts.has(found) || found.startsWith("client/"), `${name} imports ${found}, which doesn't exist`);
    }
  }
});

test("modules have no import cycle", () => {
  const done = new Set();
  const visit = (name, path) => {
    assert.ok(!path.includes(name), `a cycle: ${[...path, name].join(" → ")}`);
    if (done.has(name) || !imports.has(name)) return;
    for (const found of imports.get(name)) visit(found, [...path, name]);
    done.add(name);
  };
  for (const name of names) visit(name, []);
});

test("the shell imports no feature, except for the entry that loads all of them", () => {
  for (const name of names.filter((name) => name.startsWith("shell/") && name !== "shell/main.js")) {
    const features = imports.get(name).filter((found) => !found.startsWith("shell/") && !found.startsWith("client/"));
    assert.deepEqual(features, [], name);
  }
});

test("no module disables a control after it was made", () => {
  const disabling = /\.disabled\s*=(?!\s*false\b)|etAttribute\("disabled"/;
  const found = names.filter((name) => disabling.test(texts.get(name)));
  assert.deepEqual(found, [], "busy() of shell/dom.js marks a control as busy, and leaves the focus where it is");
});
