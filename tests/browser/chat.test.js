// Direct conversations in a real browser, with a real server that is killed while messages are in flight.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Site } from "./site.js";
import { pressAction, chip, open, sent, shows, openDirect, unread, write } from "./page.js";

let site;
before(async () => (site = await Site.open()));
afterEach(() => site.empty());
after(() => site?.close());

test("two people chat while the server is killed, and every message arrives once and in order", async () => {
  const [ann, bob] = [await site.join("ann"), await site.join("bob", { viewport: { width: 390, height: 780 } })];
  await openDirect(ann.page, "bob");
  await openDirect(bob.page, "ann");
  await write(ann.page, "Hello Bob, have you seen https://example.org/ yet?");
  await shows(bob.page, 1);
  await write(bob.page, "Hello Ann!");
  await shows(ann.page, 2);

  for (let number = 0; number < 20; number++) {
    await write(ann.page, `a${number}`);
    await write(bob.page, `b${number}`);
    if (number === 10) await site.kill();
  }
  await ann.page.waitForSelector("[data-test=link]:not([hidden])");
  await site.picture(ann.page, "desk-offline");
  await site.start();
  await Promise.all([shows(ann.page, 42), shows(bob.page, 42)]);

  const [onAnns, onBobs] = [await sent(ann.page), await sent(bob.page)];
  assert.deepEqual(onAnns, onBobs);
  assert.deepEqual(
    onAnns.map(({ seq }) => seq),
    Array.from({ length: 42 }, (_, at) => at + 1),
  );
  for (const who of ["a", "b"]) {
    const own = onAnns.map(({ text }) => text).filter((text) => new RegExp(`^${who}\\d+$`).test(text));
    assert.deepEqual(
      own,
      Array.from({ length: 20 }, (_, at) => `${who}${at}`),
    );
  }
  await site.picture(ann.page, "desk-chat");
  await site.picture(bob.page, "phone-chat");

  await ann.page.reload();
  await openDirect(ann.page, "bob");
  await shows(ann.page, 42);
  await ann.page.emulateMedia({ colorScheme: "dark" });
  await site.picture(ann.page, "desk-dark");
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});

test("read marks reach all devices and the sender, and typing is shown", async () => {
  const phone = { viewport: { width: 390, height: 780 } };
  const [ines, hugo] = [await site.join("ines"), await site.join("hugo")];
  const again = await site.join("hugo", phone, "login");
  await openDirect(ines.page, "hugo");
  await write(ines.page, "Hello Hugo!");
  await write(ines.page, "Are you there?");
  await Promise.all([unread(hugo.page, "ines", 2), unread(again.page, "ines", 2)]);
  assert.equal(await again.page.title(), "(2) Courtyard");
  await site.picture(again.page, "phone-unread");
  const marked = (mark) =>
    ines.page.waitForFunction((mark) => {
      const notes = [...document.querySelectorAll("#messages .note")];
      return notes.length === 2 && notes.every((note) => note.dataset.mark === mark);
    }, mark);
  await marked("delivered");

  await openDirect(hugo.page, "ines");
  await Promise.all([unread(hugo.page, "ines", 0), unread(again.page, "ines", 0), marked("read")]);
  await hugo.page.type("[data-test=text]", "Yes");
  const writing = (text) =>
    ines.page.waitForFunction((text) => document.querySelector("[data-test=writing]").textContent === text, text);
  await writing("hugo is typing…");
  await site.picture(ines.page, "desk-read");
  await hugo.page.press("[data-test=text]", "Enter");
  await writing("");
  await unread(again.page, "ines", 0);
  assert.deepEqual([...ines.complaints, ...hugo.complaints, ...again.complaints], []);
});

test("both pages show an edit, reactions and a deleted message, also after a reload", async () => {
  const phone = { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true };
  const [dora, emil] = [
    await site.join("dora", { viewport: { width: 1280, height: 800 } }),
    await site.join("emil", phone),
  ];
  await openDirect(dora.page, "emil");
  await openDirect(emil.page, "dora");
  await write(dora.page, "Shall we meet at the fountain tomorow?");
  await shows(emil.page, 1);
  await write(emil.page, "Yes! I bring the cake. 🍰");
  await shows(dora.page, 2);
  await write(dora.page, "The code for the gate is 1234");
  await write(dora.page, "<img src=x onerror=alert(1)> is no picture");
  await shows(emil.page, 4);

  await dora.page.bringToFront();
  await open(dora.page, "Shall we meet at the fountain tomorow?");
  await site.picture(dora.page, "desk-menu");
  await pressAction(dora.page, "edit");
  await dora.page.waitForSelector("[data-test=editing]:visible");
  await site.picture(dora.page, "desk-editing");
  await write(
    dora.page,
    "Shall we meet at the fountain tomorrow at four, when the heat is over and the shade is back?",
  );
  for (const { page } of [dora, emil]) {
    await page.waitForSelector("#messages .note[data-text^='Shall we meet at the fountain tomorrow'] .edited");
  }

  // On a phone, a tap opens the menu. For messages of others, it has reactions only.
  await emil.page.bringToFront();
  await emil.page.locator("#messages .note[data-text^='Shall we']").tap();
  await emil.page.waitForSelector("[data-test=menu]:popover-open");
  assert.equal(await emil.page.locator("[data-test=menu] [data-test=recall]").count(), 0);
  await site.picture(emil.page, "phone-menu");
  await emil.page.tap("[data-test=menu] [data-test='react-👍']");
  assert.equal(await chip(emil.page, "👍", 1), true);
  assert.equal(await chip(dora.page, "👍", 1), false);
  await dora.page.bringToFront();
  await dora.page.click("[data-test='chip-👍']");
  assert.equal(await chip(dora.page, "👍", 2), true);
  await chip(emil.page, "👍", 2);
  await open(dora.page, "Yes! I bring the cake. 🍰");
  await pressAction(dora.page, "react-🎉");
  await chip(emil.page, "🎉", 1);

  await open(dora.page, "The code for the gate is 1234");
  await pressAction(dora.page, "recall");
  await site.picture(dora.page, "desk-recall");
  await dora.page.click("[data-test=recall-confirm]");
  for (const { page } of [dora, emil]) {
    await page.waitForSelector("#messages .recalled");
    assert.ok(!(await page.textContent("#shell")).includes("1234"));
  }

  // With the keyboard alone: from the composer to the newest message, its menu, a reaction, and back.
  await dora.page.focus("[data-test=text]");
  await dora.page.keyboard.press("Shift+Tab");
  await dora.page.keyboard.press("ArrowUp");
  await dora.page.keyboard.press("Enter");
  await dora.page.waitForSelector("[data-test=menu]:popover-open");
  await dora.page.keyboard.press("ArrowRight");
  await dora.page.keyboard.press("Enter");
  assert.equal(await chip(dora.page, "❤️", 1), true);
  await chip(emil.page, "❤️", 1);
  await dora.page.focus("[data-test=text]");
  await dora.page.keyboard.press("ArrowUp");
  await dora.page.waitForSelector("[data-test=editing]:visible");
  await dora.page.keyboard.press("Escape");
  await dora.page.waitForSelector("[data-test=editing]", { state: "hidden" });

  const state = (page) =>
    page.$$eval("#messages .row", (rows) =>
      rows.map((row) => [
        row.querySelector(".note").dataset.text,
        row.classList.contains("recalled"),
        row.querySelector(".edited") !== null,
        [...row.querySelectorAll(".chip")].map((chip) => chip.textContent),
      ]),
    );
  const before = await state(dora.page);
  assert.deepEqual(
    before.map(([, recalled, edited]) => [recalled, edited]),
    [
      [false, true],
      [false, false],
      [true, false],
      [false, false],
    ],
  );
  assert.deepEqual(
    before.map(([, , , chips]) => chips),
    [["👍2"], ["🎉1", "❤️1"], [], []],
  );
  assert.deepEqual(await state(emil.page), before);
  for (const [{ page }, partner, name] of [
    [dora, "emil", "desk"],
    [emil, "dora", "phone"],
  ]) {
    await page.bringToFront();
    await site.picture(page, `${name}-acts`);
    await page.reload();
    await openDirect(page, partner);
    await page.waitForSelector("#messages .chip");
    assert.deepEqual(await state(page), before);
    await page.emulateMedia({ colorScheme: "dark" });
    await site.picture(page, `${name}-acts-dark`);
  }
  await open(dora.page, "Yes! I bring the cake. 🍰");
  await site.picture(dora.page, "desk-menu-dark");
  assert.deepEqual([...dora.complaints, ...emil.complaints], []);
});

test("acts without a connection show at once, and are sent when the server is back", async () => {
  const [finn, gina] = [await site.join("finn"), await site.join("gina")];
  await openDirect(finn.page, "gina");
  await openDirect(gina.page, "finn");
  await write(finn.page, "one");
  await write(finn.page, "two");
  await shows(gina.page, 2);
  await site.kill();
  await finn.page.waitForSelector("[data-test=link]:not([hidden])");
  await open(finn.page, "one");
  await pressAction(finn.page, "edit");
  await write(finn.page, "first");
  await finn.page.waitForSelector("#messages .note[data-text=first][data-state=queued]");
  // On, off and on again: the last act wins.
  for (let press = 0; press < 3; press++) {
    await open(finn.page, "two");
    await pressAction(finn.page, "react-🎉");
  }
  assert.equal(await chip(finn.page, "🎉", 1), true);
  await site.start();
  await gina.page.waitForSelector("#messages .note[data-text=first]");
  await finn.page.waitForSelector("#messages .note[data-text=first][data-state=sent]");
  assert.equal(await chip(gina.page, "🎉", 1), false);
  const unsent = () => finn.page.evaluate(() => globalThis.chat.unsent.length);
  while ((await unsent()) > 0) await finn.page.waitForTimeout(20);
  assert.equal(await chip(finn.page, "🎉", 1), true);
  assert.deepEqual([...finn.complaints, ...gina.complaints], []);
});

test("the sign-in page shows its errors", async () => {
  const { page } = await site.join("carol");
  await page.click("[data-test=settings]");
  await page.click("[data-test=leave]");
  await page.waitForSelector("[data-test=sign]:visible");
  await site.picture(page, "desk-door");
  const tries = [
    ["login", "wrong horse", "users.invalid_credentials"],
    ["register", "another horse", "users.conflict_name"],
  ];
  for (const [button, password, code] of tries) {
    await page.fill("[data-test=name]", "carol");
    await page.fill("[data-test=password]", password);
    await page.click(`[data-test=${button}]`);
    await page.waitForSelector(`[data-test=problem][data-code="${code}"]:visible`);
  }
});
