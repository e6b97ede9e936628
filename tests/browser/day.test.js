// A day of a team, with all plugins of the default configuration and real neighbours: a provider of OpenID Connect, a server of
// Apertium, and a link that breaks. The names of its pictures begin with `day-`.

import assert from "node:assert/strict";
import { createCipheriv } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Apertium } from "./apertium.js";
import { BreakableProxy } from "./breakable-proxy.js";
import { DESK, PHONE, Site, freePort } from "./site.js";
import { ThirdParty } from "./third-party.js";
import {
  accept,
  announce,
  attach,
  befriend,
  block,
  bubble,
  choose,
  contacts,
  toggleOriginal,
  giveRole,
  line,
  me,
  newGroup,
  newRole,
  newestSticker,
  offsets,
  openPicker,
  save,
  showsMessageOf,
  seenBy,
  send,
  setting,
  sha256,
  openDirect,
  showsTitle,
  translated,
  uploadWaits,
  write,
  chooseLanguage,
} from "./page.js";
import { Tour } from "./tour.js";

const GROUP = "Kitchen crew";
const ROLE = "Planner";
const FILE = { name: "menu with pictures.zip", size: 50_000_000 };
const CHUNK = 8 << 20;

let folder, party, apertium, site, link;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "courtyard-day-"));
  const port = await freePort();
  party = await ThirdParty.start(`http://127.0.0.1:${port}/`);
  apertium = await Apertium.start();
  site = await Site.open({
    port,
    plugins: ["users", "translation", "stickers", "files", "groups"],
    further: { users: party.settings, translation: apertium.settings },
  });
  link = await BreakableProxy.to(port);
});
after(async () => {
  await site?.close();
  link?.close();
  apertium?.close();
  party?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Signs Ann in with a third party. */
async function ann(how, name) {
  // Without motion, pictures are the same each time.
  const one = await site.visit({ ...how, reducedMotion: "reduce" });
  const tour = new Tour(site, one.page, name);
  await one.page.waitForSelector("[data-test=provider-example]");
  await tour.look("door");
  await one.page.click("[data-test=by-code]");
  await tour.look("door-code");
  await one.page.click("[data-test=provider-example]");
  await me(one.page, "Ann A.");
  return { ...one, tour };
}

/** Ann has a desktop, Ben a phone, Carmen a bad link, and Eddy sends spam. */
async function everybodyComes() {
  const [one, ben, carmen, eddy] = await Promise.all([
    ann(DESK, "day-desk"),
    site.join("ben", PHONE),
    site.join("carmen", DESK, "register", link.address),
    site.join("eddy", DESK),
  ]);
  return { ann: one, ben, carmen, eddy };
}

async function theyBefriend({ ann, ben, carmen }) {
  await befriend(ann.page, "ben", "Ann from the office");
  await befriend(ann.page, "carmen", "Ann from the office");
  await befriend(carmen.page, "ben", "Carmen, who sits in Madrid");
  await ben.page.waitForSelector("[data-test=wishes]:has-text('2')");
  await contacts(ben.page);
  await new Tour(site, ben.page, "day-phone").look("requests");
  await accept(ben.page, "Ann A.");
  await accept(ben.page, "carmen");
  await contacts(carmen.page);
  await new Tour(site, carmen.page, "day-desk").look("requests");
  await accept(carmen.page, "Ann A.");
  await contacts(ann.page);
  for (const name of ["ben", "carmen"]) await ann.page.waitForSelector(`[data-test=friend-${name}] .dot.online`);
}

async function theyFoundAGroup({ ann, ben, carmen }) {
  await ann.page.click("[data-test=tab-chats]");
  await newGroup(ann.page, GROUP, ["ben", "carmen"], "Who cooks what, and when.");
  await showsTitle(ann.page, GROUP);
  for (const { page } of [ben, carmen]) {
    await page.click("[data-test=tab-chats]");
    await page.waitForSelector(".invitation");
    await new Tour(site, page, page === ben.page ? "day-phone" : "day-desk").look("invitation");
    await page.click(`[data-test="accept-${GROUP}"]`);
    await showsTitle(page, GROUP);
  }
  await line(ann.page, "carmen joined");
  // Members have no permission to announce; the role has it.
  await newRole(ann.page, ROLE, 50, "announce");
  await ann.page.click("[data-test=role-new-submit]");
  await ann.page.waitForSelector(`[data-test=role-${ROLE}]`);
  await giveRole(ann.page, "ben", ROLE);
  await line(ben.page, `Ann A. gave you the role ${ROLE}`);
  await ann.page.click("[data-test=panel-close]");
}

async function benAnnounces({ ann, ben, carmen }) {
  await announce(ben.page, "Dinner is at seven today.");
  for (const { page } of [ann, carmen])
    await page.waitForSelector(".announcement:has-text('Dinner is at seven today.')");
  await seenBy(ben.page, 1, "Ann A.", "carmen");
  await ben.page.waitForSelector("[data-test=unseen-list]:has-text('Everybody has seen it.')");
  await ben.page.click("[data-test=panel-close]");
}

const mentioned = (page) => page.waitForSelector(`[data-test="group-${GROUP}"] [data-test=mentions]`);

async function theyMentionEachOther({ ann, ben, carmen }) {
  await ben.page.click("[data-test=back]");
  await carmen.page.type("[data-test=text]", "Is there soup, @be");
  await carmen.page.click("[data-test=name-ben]");
  await carmen.page.type("[data-test=text]", "?");
  await send(carmen.page);
  await mentioned(ben.page);
  await bubble(ann.page, "Is there soup, @ben ?").waitFor();
  assert.equal(await ann.page.locator(".mention.mine").count(), 0);
  await choose(ben.page, GROUP);
  await ben.page.waitForSelector(".mention.mine:has-text('@ben')");
  await ben.page.click("[data-test=back]");

  await ann.page.type("[data-test=text]", "@every");
  await ann.page.click("[data-test=name-everybody]");
  await ann.page.type("[data-test=text]", "bring a plate");
  await send(ann.page);
  await mentioned(ben.page);
  await carmen.page.waitForSelector(".mention.mine:has-text('@everybody')");
  await choose(ben.page, GROUP);
  await showsMessageOf(ben.page, "Ann A.", "@everybody bring a plate");
}

/** Returns a file with pseudo-random bytes that are the same each time. */
function largeFile() {
  const stream = createCipheriv("aes-128-ctr", Buffer.alloc(16), Buffer.alloc(16));
  const bytes = stream.update(Buffer.alloc(FILE.size));
  const path = join(folder, FILE.name);
  writeFileSync(path, bytes);
  return { path, sum: sha256(bytes) };
}

/** Records the progress texts of an upload, and returns a function that returns them. */
async function heardOfProgress(page) {
  await page.evaluate(() => {
    globalThis.heard = [];
    const note = () => {
      const words = document.querySelector("[data-test=progress]")?.textContent;
      if (words && words !== heard.at(-1)) heard.push(words);
    };
    new MutationObserver(note).observe(document.querySelector("#messages"), {
      subtree: true,
      childList: true,
      characterData: true,
    });
  });
  return () => page.evaluate(() => globalThis.heard);
}

async function carmenSendsAFile({ ann, ben, carmen }) {
  const file = largeFile();
  const parts = offsets(carmen.page);
  const before = link.sent;
  const broken = link.breaksAfter(2.5 * CHUNK);
  const heard = await heardOfProgress(carmen.page);
  await attach(carmen.page, file.path);
  await carmen.page.fill("[data-test=text]", "What we cook this week");
  await send(carmen.page);
  await broken;
  await uploadWaits(carmen.page);
  await carmen.page.waitForSelector("[data-test=link]:visible");
  const share = await carmen.page.$eval(".progress progress", ({ value, max }) => value / max);
  assert.ok(share > 0.3 && share < 0.7, `${share} of it are shown as sent`);
  await new Tour(site, carmen.page, "day-desk").look("broken-link");
  assert.deepEqual(parts, [0, CHUNK, 2 * CHUNK]);

  link.mend();
  for (const { page } of [carmen, ann, ben])
    await page.waitForSelector(`#messages .note[data-kind=file]:not([data-state=queued])`);
  assert.ok(parts[3] >= 2 * CHUNK && parts[3] < 3 * CHUNK, `it went on at ${parts[3]}`);
  const said = await heard();
  const pause = said.indexOf("Waiting for the connection…");
  for (const some of [said.slice(0, pause), said.slice(pause)])
    assert.ok(
      some.some((words) => / of 50\.0 MB$/.test(words)),
      `${said}`,
    );
  const more = link.sent - before - FILE.size;
  assert.ok(more < CHUNK, `${more} bytes too many were sent`);
  for (const { page } of [ann, ben]) {
    const saved = await save(page);
    assert.equal(saved.name, FILE.name);
    assert.equal(sha256(readFileSync(saved.path)), file.sum);
  }
}

async function twoLanguagesMeet({ ben, carmen }) {
  await ben.page.click("[data-test=back]");
  await chooseLanguage(ben.page, "en");
  await chooseLanguage(carmen.page, "es");
  await openDirect(ben.page, "carmen");
  await openDirect(carmen.page, "ben");
  const pairs = [
    [ben, carmen, "The house is big.", "La casa es grande.", "English"],
    [carmen, ben, "El gato es negro.", "The cat is black.", "Spanish"],
  ];
  for (const [from, to, original, words, language] of pairs) {
    await write(from.page, original);
    assert.equal(await translated(to.page, original, words), `Translated from ${language} · Show original`);
    assert.equal(
      await bubble(to.page, original).locator("[data-test=translated]").getAttribute("title"),
      "By apertium",
    );
    assert.equal(await translated(from.page, original), undefined);
    await toggleOriginal(to.page, original);
    assert.equal(await translated(to.page, original), "Original · Show translation");
    await toggleOriginal(to.page, original);
    await translated(to.page, original, words);
    await new Tour(site, to.page, to === ben ? "day-phone" : "day-desk").look("translated");
  }
}

async function carmenSendsASticker({ ann, ben, carmen }) {
  await choose(carmen.page, GROUP);
  await ben.page.click("[data-test=back]");
  await choose(ben.page, GROUP);
  await openPicker(carmen.page);
  await carmen.page.click("[data-test=sticker-grid] [data-test=sticker-party]");
  for (const { page } of [carmen, ann, ben]) await newestSticker(page, "lottie");
}

async function eddyIsBlocked({ ben, eddy }) {
  await openDirect(eddy.page, "ben");
  await write(eddy.page, "Buy my knives!");
  await ben.page.click("[data-test=back]");
  await openDirect(ben.page, "eddy");
  await bubble(ben.page, "Buy my knives!").waitFor();
  await block(ben.page);
  await write(eddy.page, "Only today!");
  await eddy.page.waitForSelector('[data-test=failure]:has-text("You and this person can\'t reach each other.")');
  await new Tour(site, eddy.page, "day-desk").look("refused");
  await new Tour(site, ben.page, "day-phone").look("blocked");
  await ben.page.click("[data-test=panel-close]");
  assert.equal(await bubble(ben.page, "Only today!").count(), 0);
  assert.equal(await bubble(ben.page, "Buy my knives!").count(), 1);
}

/** Ann signs in on her phone, finds everything there, and visits all pages on both devices. */
async function annLooksAround({ ann, ben, carmen, eddy, phone }) {
  for (const { page } of [ben, carmen, eddy]) await page.context().close();
  await phone.page.waitForSelector(`[data-test="group-${GROUP}"]:has-text("carmen: 🥳 Sticker")`);
  await choose(phone.page, GROUP);
  await phone.page.waitForSelector("#messages [data-test=seen-1]");
  await Promise.all(
    [ann, phone].map(async ({ tour }) => {
      await tour.seeTheLists("ben");
      await tour.seeTheSettings();
      await tour.seeAConversation(GROUP);
      await tour.seeTheGroup("ben", ROLE);
      await tour.seeItInTheDark(GROUP, "ben");
    }),
  );
}

async function aDeviceIsSignedOut({ ann, phone }) {
  await setting(ann.page, "devices");
  await ann.page.locator("[data-test=other-session] button").click();
  await phone.page.waitForSelector("[data-test=sign]:visible");
  await phone.page.waitForSelector("[data-test=notice]:has-text('You were logged out on this device.')");
  await phone.page.waitForSelector("[data-test=provider-example]");
  await phone.tour.look("signed-out");
  await ann.page.waitForSelector("[data-test=sessions]:not(:has([data-test=other-session]))");
  await me(ann.page, "Ann A.");
}

test("a team lives through a day", async () => {
  const people = await everybodyComes();
  await theyBefriend(people);
  await theyFoundAGroup(people);
  await benAnnounces(people);
  await theyMentionEachOther(people);
  await carmenSendsAFile(people);
  await twoLanguagesMeet(people);
  await carmenSendsASticker(people);
  await eddyIsBlocked(people);
  people.phone = await ann(PHONE, "day-phone");
  await annLooksAround(people);
  await aDeviceIsSignedOut(people);
  assert.deepEqual(
    Object.values(people).flatMap(({ complaints }) => complaints),
    [],
  );
});
