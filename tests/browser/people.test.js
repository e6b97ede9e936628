// Sign-in, profiles, contacts, presence, blocks and devices on the page.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { PASSWORD, PHONE, DESK, Site, freePort } from "./site.js";
import { ThirdParty } from "./third-party.js";
import {
  accept,
  befriend,
  block,
  bubble,
  confirm,
  contacts,
  find,
  me,
  picture,
  profileOf,
  setting,
  openDirect,
  showsTitle,
  write,
} from "./page.js";

let site, party;

before(async () => {
  const port = await freePort();
  party = await ThirdParty.start(`http://127.0.0.1:${port}/`);
  site = await Site.open({ port, further: { users: party.settings } });
});
afterEach(() => site.empty());
after(async () => {
  await site?.close();
  party?.close();
});

test("a user signs in with a code from the server's log, and others see the profile and the picture", async () => {
  const { page, complaints } = await site.visit(PHONE);
  await page.tap("[data-test=by-code]");
  await page.fill("[data-test=address]", "Ada@example.org");
  await page.tap("[data-test=submit-code]");
  await page.waitForSelector("[data-test=code-note]:has-text('is in its log')");
  const [, code] = await site.logged(/the code for ada@example\.org is (\d{6})/);
  await page.fill("[data-test=code]", code === "000000" ? "000001" : "000000");
  await page.tap("[data-test=submit-code]");
  await page.waitForSelector("[data-test=problem]:has-text('4 more tries')");
  await site.picture(page, "phone-code");
  await page.fill("[data-test=code]", code);
  await page.tap("[data-test=submit-code]");
  await page.waitForSelector("[data-test=me]:visible");

  await setting(page, "own-profile");
  await page.fill("[data-test=display-name]", "Ada Lovelace");
  await page.fill("[data-test=bio]", "I write notes on engines.\nAnd poems.");
  await page.fill("[data-test=locale]", "en-GB");
  await page.tap("[data-test=profile-form-submit]");
  await me(page, "Ada Lovelace");
  await page.setInputFiles("[data-test=picture-file]", await picture(page, "seagreen"));
  await page.waitForSelector("[data-test=remove-picture]");
  await page.waitForFunction(() => document.querySelector("#my-face .avatar").style.background.includes("blob:"));
  await site.picture(page, "phone-profile");

  const ben = await site.join("ben", DESK);
  await profileOf(ben.page, "love", "Ada Lovelace");
  await ben.page.waitForSelector("#panel .lines:has-text('And poems.')");
  await ben.page.waitForFunction(() => document.querySelector("#panel .avatar").style.background.includes("blob:"));
  assert.match(await ben.page.textContent("#panel"), /British English/);
  await site.picture(ben.page, "desk-profile");
  assert.deepEqual([...complaints, ...ben.complaints], []);
});

const dot = (page, name, state) => page.waitForSelector(`[data-test="friend-${name}"] .dot.${state}`);

test("two people become contacts, see their presence, and keep nicknames and tags", async () => {
  const [cleo, dirk] = [await site.join("cleo", DESK), await site.join("dirk", PHONE)];
  await befriend(cleo.page, "dirk", "It is me, from the fountain");

  await dirk.page.waitForSelector("[data-test=wishes]:has-text('1')");
  await contacts(dirk.page);
  await dirk.page.waitForSelector("[data-test=asking-cleo]:has-text('from the fountain')");
  await site.picture(dirk.page, "phone-request");
  await accept(dirk.page, "cleo");
  await dot(dirk.page, "cleo", "online");
  await contacts(cleo.page);
  await dot(cleo.page, "dirk", "online");

  await setting(dirk.page, "own-presence");
  await dirk.page.check("[data-test=state-busy]");
  await dirk.page.fill("[data-test=status]", "Baking");
  await dirk.page.selectOption("[data-test=status-end]", "60");
  await dirk.page.tap("[data-test=presence-form-submit]");
  await dot(cleo.page, "dirk", "busy");
  await cleo.page.waitForSelector("[data-test=friend-dirk]:has-text('busy · Baking')");
  await dirk.page.waitForFunction(() => document.querySelector("#my-state").textContent === "Busy · Baking");
  await site.picture(dirk.page, "phone-presence");

  await cleo.page.click("[data-test=friend-dirk] .person");
  await cleo.page.fill("[data-test=remark]", "Dirk the baker");
  await cleo.page.fill("[data-test=tags]", "neighbours, cake");
  await cleo.page.click("[data-test=notes-submit]");
  await cleo.page.waitForSelector("[data-test='friend-Dirk the baker'] .tag");
  await cleo.page.click("[data-test=tag-cake]");
  await cleo.page.waitForSelector("[data-test='friend-Dirk the baker']");
  await site.picture(cleo.page, "desk-contacts");

  await dirk.page.context().close();
  await cleo.page.waitForSelector("[data-test='friend-Dirk the baker']:not(:has(.dot)):has-text('last seen')");
  await confirm(cleo.page, "remove-friend");
  await cleo.page.waitForSelector("[data-test=request-friend]");
  await cleo.page.waitForSelector("[data-test=friends].quiet");
  assert.deepEqual([...cleo.complaints, ...dirk.complaints], []);
});

test("a blocked user reaches nobody, and a refused message can be sent after the block", async () => {
  const [elsa, fred] = [await site.join("elsa", DESK), await site.join("fred", DESK)];
  await openDirect(fred.page, "elsa");
  await write(fred.page, "Buy now!");
  await openDirect(elsa.page, "fred");
  await bubble(elsa.page, "Buy now!").waitFor();
  await block(elsa.page);

  await write(fred.page, "Only today!");
  await fred.page.waitForSelector("[data-test=failure]:has-text('reach')");
  await site.picture(fred.page, "desk-blocked");
  await setting(elsa.page, "blocklist");
  await elsa.page.waitForSelector("[data-test=blocked-fred]");
  await elsa.page.click("[data-test=unblock-fred]");
  await elsa.page.waitForSelector("[data-test=blocked].quiet");
  assert.equal(await bubble(elsa.page, "Only today!").count(), 0);
  await fred.page.click("[data-test=try-again]");
  await bubble(elsa.page, "Only today!").waitFor();
  assert.equal(await fred.page.locator("[data-test=failure]").count(), 0);
  assert.deepEqual([...elsa.complaints, ...fred.complaints], []);
});

test("a device logs out another one, and a new password logs out all others", async () => {
  const desk = await site.join("gabi", DESK);
  const [phone, tablet] = [await site.join("gabi", PHONE, "login"), await site.join("gabi", DESK, "login")];
  await setting(desk.page, "devices");
  await desk.page.waitForSelector("[data-test=this-session]:has-text('Chrome on Linux')");
  assert.equal(await desk.page.locator("[data-test=other-session]").count(), 2);
  await site.picture(desk.page, "desk-devices");
  // The newest session comes first.
  await desk.page.locator("[data-test=other-session] button").first().click();
  await tablet.page.waitForSelector("[data-test=sign]:visible");
  await phone.page.waitForSelector("[data-test=me]:visible");

  await setting(desk.page, "account");
  await desk.page.fill("[data-test=old-password]", PASSWORD);
  await desk.page.fill("[data-test=new-password]", "battery staple");
  await desk.page.click("[data-test=password-form-submit]");
  await phone.page.waitForSelector("[data-test=sign]:visible");
  await phone.page.fill("[data-test=name]", "gabi");
  await phone.page.fill("[data-test=password]", PASSWORD);
  await phone.page.tap("[data-test=login]");
  await phone.page.waitForSelector("[data-test=problem][data-code='users.invalid_credentials']");
  await phone.page.fill("[data-test=password]", "battery staple");
  await phone.page.tap("[data-test=login]");
  await me(phone.page, "gabi");
});

test("an address is added with a code", async () => {
  const { page } = await site.join("hans", DESK);
  await setting(page, "account");
  await page.fill("[data-test=new-address]", "hans@example.org");
  await page.click("[data-test=address-form-submit]");
  const [, code] = await site.logged(/the code for hans@example\.org is (\d{6})/);
  await page.fill("[data-test=address-code]", code);
  await page.click("[data-test=confirm-form-submit]");
  await page.waitForSelector("[data-test=addresses]:has-text('hans@example.org')");
  await site.picture(page, "desk-account");
});

test("a third party signs a user in, and an answer to a sign-in of somebody else is refused", async () => {
  const { page, complaints } = await site.visit(DESK);
  await page.waitForSelector("[data-test=provider-example]");
  await site.picture(page, "desk-door");
  await page.click("[data-test=provider-example]");
  await me(page, "Ann A.");
  assert.equal(new URL(page.url()).search, "", "the code is no longer in the address");
  await page.reload();
  await me(page, "Ann A.");

  const stranger = await site.visit(DESK, "/?code=stolen&state=somebodys");
  await stranger.page.waitForSelector("[data-test=problem]:has-text('not started here')");
  assert.deepEqual([...complaints, ...stranger.complaints], []);
});

test("a hidden page shows notifications, except while the user is busy", async () => {
  const [kim, lars] = [await site.visit(DESK), await site.join("lars", DESK)];
  // Headless browsers show no notifications: this records them.
  await kim.page.addInitScript(() => {
    globalThis.notifications = [];
    globalThis.Notification = class {
      static permission = "granted";
      static requestPermission = async () => "granted";
      constructor(title, { body }) {
        notifications.push(`${title}: ${body}`);
      }
    };
  });
  await kim.page.reload();
  await site.enter(kim.page, "kim");
  await setting(kim.page, "notifications");
  await kim.page.check("[data-test=notify-here]");
  await kim.page.evaluate(() => (document.hasFocus = () => false));
  await openDirect(lars.page, "kim");
  await write(lars.page, "Are you there?");
  await kim.page.waitForFunction(() => notifications.length === 1 && notifications[0] === "lars: Are you there?");
  await setting(kim.page, "own-presence");
  await kim.page.check("[data-test=state-busy]");
  await kim.page.click("[data-test=presence-form-submit]");
  await kim.page.waitForFunction(() => document.querySelector("#my-state").textContent === "Busy");
  await write(lars.page, "Hello?");
  await kim.page.waitForSelector("[data-test=person-lars]:has-text('Hello?')");
  await setting(kim.page, "own-presence");
  await kim.page.check("[data-test=state-online]");
  await kim.page.click("[data-test=presence-form-submit]");
  await kim.page.waitForFunction(() => document.querySelector("#my-state").textContent === "Online");
  await write(lars.page, "Welcome back");
  await kim.page.waitForFunction(() => notifications.length > 1);
  assert.deepEqual(await kim.page.evaluate(() => notifications), ["lars: Are you there?", "lars: Welcome back"]);
});

test("people are found by words of their names, with the keyboard alone", async () => {
  const { page } = await site.join("ilse", DESK);
  await site.join("juri", DESK);
  await find(page, "jur");
  await page.focus("[data-test=search]");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await showsTitle(page, "juri");
  await page.keyboard.type("Hello");
  await page.keyboard.press("Enter");
  await bubble(page, "Hello").waitFor();
});
