// Some browsers remove the focus from a button as soon as it is disabled, and fire `blur` at once; others do neither.
// That `blur` once cancelled questions, so that nobody could leave a group or block a user there.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { DESK, Site } from "./site.js";
import {
  accept,
  befriend,
  block,
  bubble,
  confirm,
  contacts,
  group,
  line,
  newGroup,
  open,
  openDirect,
  showsTitle,
  write,
} from "./page.js";

let site;
before(async () => (site = await Site.open({ plugins: ["users", "groups"] })));
afterEach(() => site.empty());
after(() => site?.close());

/** Makes the browser drop the focus of a control as soon as it is disabled, by property or by attribute. */
function dropFocus() {
  const drop = (node) => node.disabled && node === document.activeElement && node.blur();
  for (const { prototype } of [HTMLButtonElement, HTMLInputElement, HTMLSelectElement, HTMLTextAreaElement]) {
    const { get, set } = Object.getOwnPropertyDescriptor(prototype, "disabled");
    Object.defineProperty(prototype, "disabled", {
      configurable: true,
      get,
      set(value) {
        set.call(this, value);
        drop(this);
      },
    });
  }
  for (const name of ["setAttribute", "toggleAttribute"]) {
    const original = Element.prototype[name];
    Element.prototype[name] = function (...values) {
      const result = original.apply(this, values);
      drop(this);
      return result;
    };
  }
}

/** A desktop whose browser drops the focus. */
const DROPS = { ...DESK, script: dropFocus };

test("the browser of these tests drops the focus of a control that is disabled", async () => {
  const { page } = await site.visit(DROPS);
  const events = await page.evaluate(() => {
    const happened = [];
    return ["property", "attribute"].map((way) => {
      const button = document.body.appendChild(document.createElement("button"));
      button.addEventListener("blur", () => happened.push(way));
      button.focus();
      if (way === "property") button.disabled = true;
      else button.setAttribute("disabled", "");
      return [happened.includes(way), document.activeElement === document.body];
    });
  });
  assert.deepEqual(events, [
    [true, true],
    [true, true],
  ]);
});

test("leaving a group and deleting the message of somebody else work where a disabled button loses the focus", async () => {
  const [ann, bob] = [await site.join("ann", DROPS), await site.join("bob", DROPS)];
  await newGroup(ann.page, "Garden", ["bob"]);
  await bob.page.click("[data-test=accept-Garden]");
  await showsTitle(bob.page, "Garden");
  await write(bob.page, "Weeds are plants too");
  await bubble(ann.page, "Weeds are plants too").waitFor();
  await open(ann.page, "Weeds are plants too");
  await confirm(ann.page, "recall-other");
  await bob.page.waitForSelector("#messages .recalled");

  // Cancel and Escape change nothing, and the button has the focus again.
  await group(bob.page);
  await bob.page.click("[data-test=leave-group]");
  await bob.page.click("[data-test=leave-group-cancel]");
  await bob.page.click("[data-test=leave-group]");
  await bob.page.keyboard.press("Escape");
  await bob.page.waitForSelector("[data-test=leave-group-confirm]", { state: "detached" });
  assert.equal(await bob.page.evaluate(() => document.activeElement.dataset.test), "leave-group");
  await bob.page.waitForSelector("#panel[data-page=group-page]");
  await confirm(bob.page, "leave-group");
  await line(ann.page, "bob left");
  await bob.page.waitForSelector("[data-test=group-Garden]", { state: "detached" });
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});

test("removing a contact and blocking work where a disabled button loses the focus", async () => {
  const [cleo, dirk] = [await site.join("cleo", DROPS), await site.join("dirk", DROPS)];
  await befriend(cleo.page, "dirk", "Hello");
  await accept(dirk.page, "cleo");
  await contacts(cleo.page);
  await cleo.page.click("[data-test=friend-dirk] .person");
  await confirm(cleo.page, "remove-friend");
  await cleo.page.waitForSelector("[data-test=request-friend]");
  await cleo.page.click("[data-test=tab-chats]");
  await openDirect(cleo.page, "dirk");
  await block(cleo.page);
  assert.deepEqual([...cleo.complaints, ...dirk.complaints], []);
});
