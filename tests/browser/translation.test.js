// Translation on the page, with the built-in phrases of the plugin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESK, PHONE, Site } from "./site.js";
import {
  pressAction,
  toggleOriginal,
  open,
  setting,
  shows,
  chooseLanguage,
  openDirect,
  translated,
  write,
} from "./page.js";

let site;
before(async () => (site = await Site.open({ plugins: ["users", "translation"] })));
after(() => site?.close());

test("two users read each other in their languages, with the original one tap away, also after a reload", async () => {
  const [ann, bernd] = [await site.join("anna", DESK), await site.join("bernd", PHONE)];
  await openDirect(ann.page, "bernd");
  await write(ann.page, "Good morning!");
  await openDirect(bernd.page, "anna");
  await shows(bernd.page, 1);
  assert.equal(await translated(bernd.page, "Good morning!"), undefined);

  // Older messages are translated on request.
  await bernd.page.click("[data-test=back]");
  await chooseLanguage(bernd.page, "de");
  await openDirect(bernd.page, "anna");
  await bernd.page.tap("#messages .note[data-text='Good morning!']");
  await bernd.page.waitForSelector("[data-test=menu]:popover-open");
  await pressAction(bernd.page, "translate");
  assert.equal(
    await translated(bernd.page, "Good morning!", "Guten Morgen!"),
    "Translated from English · Show original",
  );

  await write(ann.page, "Thank you!");
  assert.equal(await translated(bernd.page, "Thank you!", "Danke!"), "Translated from English · Show original");
  // Senders see their original.
  assert.equal(await translated(ann.page, "Thank you!"), undefined);
  await site.picture(bernd.page, "phone-translated");
  await toggleOriginal(bernd.page, "Thank you!");
  assert.equal(await translated(bernd.page, "Thank you!"), "Original · Show translation");
  await toggleOriginal(bernd.page, "Thank you!");
  await translated(bernd.page, "Thank you!", "Danke!");

  await chooseLanguage(ann.page, "en");
  await write(bernd.page, "Guten Morgen!");
  assert.equal(await translated(ann.page, "Guten Morgen!", "Good morning!"), "Translated from German · Show original");
  await site.picture(ann.page, "desk-translated");

  // An edit is translated again.
  await open(ann.page, "Thank you!");
  await pressAction(ann.page, "edit");
  await write(ann.page, "Good night!");
  assert.equal(await translated(bernd.page, "Good night!", "Gute Nacht!"), "Translated from English · Show original");

  await bernd.page.reload();
  await openDirect(bernd.page, "anna");
  await translated(bernd.page, "Good night!", "Gute Nacht!");
  await bernd.page.click("[data-test=back]");
  assert.match(await bernd.page.textContent("[data-test=person-anna]"), /Guten Morgen!/);
  assert.deepEqual([...ann.complaints, ...bernd.complaints], []);
});

test("translation can be turned off for a conversation, and an untranslatable message shows a notice", async () => {
  const [carla, dirk] = [await site.join("carla", DESK), await site.join("dirk", DESK)];
  await openDirect(carla.page, "dirk");
  await chooseLanguage(dirk.page, "de");
  await write(carla.page, "Good morning!");
  await openDirect(dirk.page, "carla");
  await translated(dirk.page, "Good morning!", "Guten Morgen!");
  const pressed = (is) => dirk.page.waitForSelector(`[data-test=translate-conversation][aria-pressed=${is}]`);
  await pressed(true);
  await dirk.page.click("[data-test=translate-conversation]");
  await pressed(false);
  assert.equal(await translated(dirk.page, "Good morning!"), undefined);
  await dirk.page.click("[data-test=translate-conversation]");
  await pressed(true);
  await translated(dirk.page, "Good morning!", "Guten Morgen!");

  await write(carla.page, "Colourless green ideas sleep furiously.");
  await shows(dirk.page, 2);
  await open(dirk.page, "Colourless green ideas sleep furiously.");
  await pressAction(dirk.page, "translate");
  await dirk.page.waitForFunction(() => document.querySelector("#notice").textContent.includes("translate"));
  await translated(dirk.page, "Colourless green ideas sleep furiously.");

  await setting(dirk.page, "translation");
  assert.equal(await dirk.page.inputValue("[data-test=language]"), "de");
  await dirk.page.click("#panel summary");
  await dirk.page.check("[data-test=reads-en]");
  await site.picture(dirk.page, "desk-translation-settings");
  await dirk.page.click("[data-test=translation-settings-submit]");
  await dirk.page.waitForFunction(async () =>
    (await import("/translation/translation.js")).settings.reads.includes("en"),
  );
  // English is no longer translated; the later Spanish message is.
  await write(carla.page, "Good night!");
  await write(carla.page, "Buenos días!");
  await translated(dirk.page, "Buenos días!", "Guten Morgen!");
  assert.equal(await translated(dirk.page, "Good night!"), undefined);
  assert.deepEqual([...carla.complaints, ...dirk.complaints], []);
});
