// Stickers on the page: the picker, messages, packs of others and own packs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESK, PHONE, Site } from "./site.js";
import { pressAction, newestSticker, openPicker, picture, openDirect } from "./page.js";

let site;
before(async () => (site = await Site.open({ plugins: ["users", "stickers"] })));
after(() => site?.close());

const inPicker = (page) =>
  page.$$eval("[data-test=sticker-grid] > button", (cells) => cells.map((cell) => cell.dataset.test));

test("a sticker is found by word and emoji, sent, animated, and listed among recent ones and favourites", async () => {
  const [ann, bob] = [await site.join("ann", DESK), await site.join("bob", PHONE)];
  await openDirect(ann.page, "bob");
  await openDirect(bob.page, "ann");
  await openPicker(ann.page);
  await site.picture(ann.page, "desk-stickers");
  assert.equal((await inPicker(ann.page)).length, 10);
  await ann.page.fill("[data-test=sticker-search]", "☕");
  await ann.page.waitForFunction(() => document.querySelectorAll("[data-test=sticker-grid] > button").length === 1);
  await ann.page.fill("[data-test=sticker-search]", "birth");
  await ann.page.click("[data-test=sticker-grid] [data-test=sticker-party]");
  await newestSticker(ann.page, "lottie");
  await newestSticker(bob.page, "lottie");
  // It is animated: two screenshots differ.
  const drawing = () => bob.page.$eval("[data-test=sticker] svg", (svg) => svg.innerHTML);
  const first = await drawing();
  await bob.page.waitForFunction(
    (first) => document.querySelector("[data-test=sticker] svg").innerHTML !== first,
    first,
  );
  assert.match(await ann.page.textContent("[data-test=person-bob]"), /🥳 Sticker/);
  await site.picture(bob.page, "phone-sticker");

  await ann.page.hover("[data-test=sticker]");
  await ann.page.click("#messages .row .more");
  await pressAction(ann.page, "favourite");
  await ann.page.waitForFunction(() => document.querySelector("#notice").textContent.includes("favourite"));
  await openPicker(ann.page);
  assert.deepEqual(await inPicker(ann.page), ["sticker-party"]);
  await ann.page.click("[data-test=pack-favourites]");
  await ann.page.waitForSelector("[data-test=pack-favourites][aria-selected=true]");
  await ann.page.waitForSelector("[data-test=sticker-grid] .favourite");
  assert.deepEqual(await inPicker(ann.page), ["sticker-party"]);
  await ann.page.keyboard.press("Escape");

  // A click on the message opens its pack.
  await bob.page.tap("[data-test=sticker]");
  await bob.page.waitForSelector("#panel[data-page=pack-page] [data-test=pack-grid] [data-drawn=lottie]");
  assert.match(await bob.page.textContent("#panel"), /Pip.*MIT OR Apache-2\.0/);
  await site.picture(bob.page, "phone-pack");
  // The list shows the emoji before the conversation is opened.
  await bob.page.reload();
  await bob.page.waitForSelector("[data-test=person-ann]:has-text('🥳 Sticker')");
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});

/** A Lottie animation of a fading square. */
const LOTTIE = JSON.stringify({
  v: "5.7.0",
  fr: 30,
  ip: 0,
  op: 30,
  w: 100,
  h: 100,
  ddd: 0,
  assets: [],
  layers: [
    {
      ty: 4,
      ip: 0,
      op: 30,
      st: 0,
      ks: {
        o: {
          a: 1,
          k: [
            { t: 0, s: [100] },
            { t: 30, s: [20] },
          ],
        },
      },
      shapes: [
        {
          ty: "gr",
          it: [
            { ty: "rc", p: { a: 0, k: [50, 50] }, s: { a: 0, k: [60, 60] }, r: { a: 0, k: 8 } },
            { ty: "fl", c: { a: 0, k: [0.2, 0.5, 0.8, 1] }, o: { a: 0, k: 100 } },
            {
              ty: "tr",
              p: { a: 0, k: [0, 0] },
              a: { a: 0, k: [0, 0] },
              s: { a: 0, k: [100, 100] },
              r: { a: 0, k: 0 },
              o: { a: 0, k: 100 },
            },
          ],
        },
      ],
    },
  ],
});

test("a user creates a pack, an invalid file is refused with a reason, and another user uses the pack", async () => {
  const [cleo, dan] = [await site.join("cleo", DESK), await site.join("dan", DESK)];
  await openDirect(cleo.page, "dan");
  await openDirect(dan.page, "cleo");
  await cleo.page.click("[data-test=stickers]");
  await cleo.page.click("[data-test=manage-packs]");
  await cleo.page.click("[data-test=new-pack]");
  await cleo.page.fill("[data-test=pack-title]", "Squares");
  await cleo.page.fill("[data-test=pack-author]", "Cleo");
  await cleo.page.fill("[data-test=pack-licence]", "CC0-1.0");
  await cleo.page.click("[data-test=create-pack-submit]");
  await cleo.page.waitForSelector("#panel[data-page=pack-page] [data-test=pack-empty]");
  const red = await picture(cleo.page, "red");
  await cleo.page.setInputFiles("[data-test=sticker-files]", [
    { ...red, name: "red square.png" },
    { name: "blue.json", mimeType: "application/json", buffer: Buffer.from(LOTTIE) },
    { name: "notes.png", mimeType: "image/png", buffer: Buffer.from("no picture at all") },
  ]);
  const refused = cleo.page.locator("[data-test=sticker-upload][data-state=refused]");
  await refused.waitFor();
  assert.match(await refused.textContent(), /^notes\.png: not a PNG/);
  await cleo.page.waitForFunction(() => document.querySelectorAll("[data-test=pack-grid] [data-drawn]").length === 2);
  await site.picture(cleo.page, "desk-own-pack");

  await cleo.page.click("[data-test=pack-grid] > button:has([data-drawn=png])");
  await cleo.page.fill("[data-test=sticker-emoji]", "🟥");
  await cleo.page.fill("[data-test=sticker-words]", "red warm");
  await cleo.page.click("[data-test=edit-sticker-submit]");
  await cleo.page.waitForSelector("#panel[data-page=pack-page] [data-test=visibility]");
  await cleo.page.selectOption("[data-test=visibility]", "public");
  await cleo.page.click("[data-test=publish-pack-submit]");
  await cleo.page.click("[data-test=keep-pack]");
  await cleo.page.waitForSelector("[data-test=keep-pack]:not(.main)");
  await cleo.page.click("[data-test=panel-close]");
  await openPicker(cleo.page);
  await cleo.page.click("[data-test=sticker-grid] > button:has([data-drawn=png])");
  await newestSticker(dan.page, "png");

  await dan.page.click("[data-test=sticker]");
  await dan.page.waitForSelector("#panel[data-page=pack-page] [data-test=keep-pack].main");
  await dan.page.click("[data-test=keep-pack]");
  await dan.page.waitForSelector("[data-test=keep-pack]:not(.main)");
  await dan.page.click("[data-test=panel-close]");
  await openPicker(dan.page);
  await dan.page.click("[data-test=sticker-grid] > button:has([data-drawn=lottie])");
  await newestSticker(cleo.page, "lottie");
  await newestSticker(dan.page, "lottie");
  // The emoji finds published stickers once the server has indexed them.
  for (let found = 0; found === 0;) {
    ({
      stickers: { length: found },
    } = await dan.page.evaluate(() => globalThis.chat.call("stickers.search", { query: "🟥" })));
  }
  assert.deepEqual([...cleo.complaints, ...dan.complaints], []);
});
