// Replies: a quote shows the current original and leads there.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESK, PHONE, Site } from "./site.js";
import { pressAction, open, shows, openDirect, write } from "./page.js";

let site;
before(async () => (site = await Site.open({ plugins: ["users", "groups"] })));
after(() => site?.close());

test("a reply quotes its original, follows its edits, and leads to it in old history", async () => {
  const [ann, bob] = [await site.join("ann", DESK), await site.join("bob", PHONE)];
  await openDirect(ann.page, "bob");
  await openDirect(bob.page, "ann");
  await write(ann.page, "Who brings the cake?");
  await shows(bob.page, 1);

  await bob.page.tap("#messages .note[data-text='Who brings the cake?']");
  await bob.page.waitForSelector("[data-test=menu]:popover-open");
  await pressAction(bob.page, "reply");
  await bob.page.waitForSelector("[data-test=replying]:visible");
  await site.picture(bob.page, "phone-replying");
  await write(bob.page, "I do");
  await bob.page.waitForSelector("[data-test=replying]", { state: "hidden" });
  await ann.page.waitForSelector("#messages .note[data-text='I do'] [data-test=quote]");
  const quote = (page) => page.locator("#messages .note[data-text='I do'] [data-test=quote]");
  assert.equal(await quote(ann.page).textContent(), "YouWho brings the cake?");
  assert.equal(await quote(bob.page).textContent(), "annWho brings the cake?");

  // A cancelled reply is sent as an ordinary message.
  await open(ann.page, "I do");
  await pressAction(ann.page, "reply");
  await ann.page.click("[data-test=cancel-reply]");
  await write(ann.page, "Good");
  await shows(ann.page, 3);
  assert.equal(await ann.page.locator("[data-test=quote]").count(), 1);

  await open(ann.page, "Who brings the cake?");
  await pressAction(ann.page, "edit");
  await write(ann.page, "Who brings the apple cake?");
  await bob.page.waitForFunction(
    () => document.querySelector("[data-test=quote]")?.textContent === "annWho brings the apple cake?",
  );

  // An edited reply stays a reply.
  await bob.page.focus("[data-test=text]");
  await bob.page.press("[data-test=text]", "ArrowUp");
  await write(bob.page, "I do, with cream");
  await ann.page.waitForSelector("#messages .note[data-text='I do, with cream'] [data-test=quote]");

  // After a reload, the page has not loaded the original.
  await ann.page.evaluate(async () => {
    const { current } = await import("/chat/conversations.js");
    for (let number = 0; number < 120; number++) globalThis.chat.send(current.id, { text: `m${number}` });
    while (globalThis.chat.unsent.length > 0) await new Promise((turn) => setTimeout(turn, 20));
    await globalThis.chat.send(current.id, { text: "And candles?", reply_to: 1 });
  });
  await bob.page.reload();
  await openDirect(bob.page, "ann");
  const late = "#messages .note[data-text='And candles?'] [data-test=quote]";
  await bob.page.waitForSelector(late);
  assert.equal(await bob.page.locator("#messages .note[data-seq='1']").count(), 0);
  await bob.page.tap(late);
  await bob.page.waitForFunction(() => {
    const box = document.querySelector("#messages .note[data-seq='1']")?.getBoundingClientRect();
    return box && box.top >= 0 && box.bottom <= innerHeight;
  });
  await site.picture(bob.page, "phone-reply-original");

  await open(ann.page, "And candles?");
  await ann.page.keyboard.press("Escape");
  await ann.page.evaluate(() =>
    import("/chat/conversations.js").then(({ current }) => globalThis.chat.recall(current.id, 1)),
  );
  await ann.page.waitForFunction(
    () =>
      document.querySelector("#messages .note[data-text='And candles?'] [data-test=quote]")?.textContent ===
      "YouMessage deleted",
  );
  // An invalid number, and a number of no message, give no quote.
  await ann.page.evaluate(async () => {
    const { current } = await import("/chat/conversations.js");
    await globalThis.chat.send(current.id, { text: "odd", reply_to: "1" });
    await globalThis.chat.send(current.id, { text: "edited", reply_to: 4 });
  });
  await ann.page.waitForSelector("#messages .note[data-text=edited]");
  assert.equal(
    await ann.page.locator("#messages .note:is([data-text=odd], [data-text=edited]) [data-test=quote]").count(),
    0,
  );
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});
