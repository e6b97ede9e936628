// Groups and discussions on the page, with the groups plugin.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { DESK, PHONE, Site } from "./site.js";
import {
  pressAction,
  announce,
  backTo,
  bubble,
  choose,
  confirm,
  giveRole,
  group,
  groupSetting,
  line,
  member,
  newGroup,
  newRole,
  open,
  showsMessageOf,
  seenBy,
  shows,
  showsTitle,
  write,
} from "./page.js";

let site;
before(async () => (site = await Site.open({ plugins: ["users", "groups"] })));
afterEach(() => site.empty());
after(() => site?.close());

test("people join a group by invitation and by link, and see senders, readers and who is typing", async () => {
  const [ann, bob] = [await site.join("ann", DESK), await site.join("bob", PHONE)];
  await newGroup(ann.page, "Fountain friends", ["bob"], "We meet at the fountain.");
  await showsTitle(ann.page, "Fountain friends");
  await bob.page.waitForSelector(".invitation:has-text('ann invites you')");
  await site.picture(bob.page, "phone-invitation");
  await bob.page.tap("[data-test='accept-Fountain friends']");
  await showsTitle(bob.page, "Fountain friends");
  await line(ann.page, "bob joined");

  await groupSetting(ann.page, "links");
  await ann.page.selectOption("[data-test=link-span]", "3600");
  await ann.page.click("[data-test=link-form-submit]");
  const address = await ann.page.inputValue("[data-test=link-address]");
  await site.picture(ann.page, "desk-links");
  const eve = await site.join("eve", DESK, "register", new URL(address).hash.replace(/^/, "/"));
  await eve.page.waitForSelector("#panel:has-text('2 of 500 members')");
  await site.picture(eve.page, "desk-join");
  await eve.page.click("[data-test=join-by-link]");
  await showsTitle(eve.page, "Fountain friends");
  await line(bob.page, "eve joined");

  await write(ann.page, "Welcome, Eve!");
  await write(bob.page, "Hello! The water is fine today.");
  await write(eve.page, "Thanks for having me");
  for (const { page } of [ann, bob, eve]) await shows(page, 3);
  await showsMessageOf(bob.page, "eve", "Thanks for having me");
  await ann.page.bringToFront();
  await ann.page.waitForSelector(
    ".note[data-text='Welcome, Eve!'] .seen, .note[data-text='Welcome, Eve!'][data-mark=read]",
  );
  await open(ann.page, "Welcome, Eve!");
  await pressAction(ann.page, "seen-by");
  await ann.page.waitForSelector("[data-test=seen-by-list] [data-test=read-bob]");
  await site.picture(ann.page, "desk-group");
  await bob.page.waitForSelector("[data-test=subtitle]:has-text('3 members')");
  await site.picture(bob.page, "phone-group");

  let seen = false;
  const both = ann.page.waitForFunction(() =>
    /^(bob, eve|eve, bob) are typing…$/.test(document.querySelector("#writing").textContent),
  );
  const over = both.finally(() => (seen = true));
  // Typing is sent every few seconds, and expires soon.
  while (!seen) for (const { page } of [bob, eve]) await page.type("[data-test=text]", "…");
  await over;

  await group(ann.page);
  await site.picture(ann.page, "desk-group-page");
  await group(bob.page);
  await bob.page.emulateMedia({ colorScheme: "dark" });
  await site.picture(bob.page, "phone-group-page");
  await bob.page.click("[data-test=panel-close]");
  await site.picture(bob.page, "phone-group-dark");
  await groupSetting(ann.page, "members");
  await ann.page.emulateMedia({ colorScheme: "dark" });
  await site.picture(ann.page, "desk-members-dark");
  await groupSetting(ann.page, "links");
  await ann.page.click("[data-test=revoke-link]");
  await ann.page.waitForSelector("[data-test=link-list].quiet");
  const late = await site.join("late", DESK, "register", `/${new URL(address).hash}`);
  await late.page.waitForSelector("[data-test=notice]:has-text('This link is unknown')");
  assert.deepEqual([...ann.complaints, ...bob.complaints, ...eve.complaints, ...late.complaints], []);
});

test("a request to join a group is approved", async () => {
  const [gert, hedi] = [await site.join("gert", DESK), await site.join("hedi", PHONE)];
  await newGroup(gert.page, "Chess club");
  await groupSetting(gert.page, "group-settings");
  await gert.page.selectOption("[data-test=join]", "approval");
  await gert.page.click("[data-test=group-joins-submit]");
  const address = await gert.page.textContent("[data-test=group-address]");
  await hedi.page.goto(address.match(/https?:\S+/)[0]);
  await hedi.page.fill("[data-test=ask-note]", "I know how the knight moves");
  await hedi.page.tap("[data-test=ask-form-submit]");
  await hedi.page.waitForSelector("[data-test=asked-note]");
  await gert.page.waitForSelector("[data-test=notice]:has-text('hedi wants to join Chess club')");
  await backTo(gert.page, "group-page");
  await gert.page.click("[data-test=requests]:has(.badge)");
  await gert.page.waitForSelector("[data-test=request-hedi]:has-text('knight')");
  await site.picture(gert.page, "desk-requests");
  await gert.page.click("[data-test=approve-hedi]");
  await line(gert.page, "hedi joined");
  await hedi.page.waitForSelector("[data-test='group-Chess club']", { state: "attached" });
  assert.deepEqual([...gert.complaints, ...hedi.complaints], []);
});

test("roles grant permissions: a moderator mutes, ownership is transferred, and a banned user stays out", async () => {
  const [olga, max, nora] = [
    await site.join("olga", DESK),
    await site.join("max", DESK),
    await site.join("nora", PHONE),
  ];
  await newGroup(olga.page, "Garden", ["max", "nora"]);
  for (const { page } of [max, nora]) {
    await page.click("[data-test=accept-Garden]");
    await showsTitle(page, "Garden");
  }
  await newRole(olga.page, "Gardener", 50, "mute", "recall_others");
  await site.picture(olga.page, "desk-role");
  await olga.page.click("[data-test=role-new-submit]");
  await olga.page.waitForSelector("[data-test=role-Gardener]");
  await giveRole(olga.page, "max", "Gardener");
  await line(max.page, "olga gave you the role Gardener");
  await site.picture(olga.page, "desk-member");

  // The page offers what the role permits, and nothing else.
  await write(nora.page, "Weeds are plants too");
  await bubble(max.page, "Weeds are plants too").waitFor();
  await open(max.page, "Weeds are plants too");
  await confirm(max.page, "recall-other");
  await nora.page.waitForSelector("#messages .recalled");
  await member(max.page, "nora");
  assert.equal(await max.page.locator("[data-test=remove-member], [data-test=ban]").count(), 0);
  await max.page.selectOption("[data-test=mute-span]", "");
  await max.page.click("[data-test=mute-form-submit]");
  await nora.page.waitForSelector("[data-test=silent]:has-text('You are muted.')");
  await site.picture(nora.page, "phone-muted");
  await max.page.click("[data-test=unmute]");
  await nora.page.waitForSelector("[data-test=text]:visible");

  await member(olga.page, "nora");
  await olga.page.click("[data-test=overrides]");
  await olga.page.check("[data-test=deny-send]");
  await olga.page.click("[data-test=overrides-form-submit]");
  await nora.page.waitForSelector("[data-test=silent]:has-text('send messages in this group')");
  await olga.page.waitForSelector("[data-test=deny-send]:checked");
  await olga.page.uncheck("[data-test=deny-send]");
  await olga.page.click("[data-test=overrides-form-submit]");
  await nora.page.waitForSelector("[data-test=text]:visible");

  await groupSetting(olga.page, "group-settings");
  await olga.page.check("[data-test=mute-all]");
  await olga.page.selectOption("[data-test=slow]", "3600");
  await olga.page.click("[data-test=group-silence-submit]");
  await nora.page.waitForSelector("[data-test=silent]:has-text('Everybody is muted')");
  await olga.page.uncheck("[data-test=mute-all]");
  await olga.page.click("[data-test=group-silence-submit]");
  await write(nora.page, "Finally");
  await bubble(olga.page, "Finally").waitFor();
  await write(nora.page, "One more");
  await nora.page.waitForSelector(
    "[data-test=failure]:has-text('Slow mode'), .note[data-text='One more'][data-state=queued]",
  );

  await member(olga.page, "nora");
  await olga.page.click("[data-test=ban]");
  await olga.page.fill("[data-test=ban-reason]", "Weeds");
  await olga.page.click("[data-test=ban-form-submit]");
  await line(max.page, "nora was removed by olga");
  await nora.page.waitForSelector("[data-test=group-Garden]", { state: "detached" });
  await groupSetting(olga.page, "bans");
  await olga.page.waitForSelector("[data-test=banned-nora]:has-text('Weeds')");

  await member(olga.page, "max");
  await confirm(olga.page, "transfer");
  await line(max.page, "You are the owner now");
  await group(max.page);
  await confirm(max.page, "dissolve");
  for (const { page } of [olga, max]) await page.waitForSelector("[data-test=group-Garden]", { state: "detached" });
  assert.deepEqual([...olga.complaints, ...max.complaints, ...nora.complaints], []);
});

// Two loads of a group once overlapped. The older answer was stored last, and the composer stayed hidden.
test("the composer is back after everybody was muted and unmuted, though the older answer arrives last", async () => {
  const [tina, udo] = [await site.join("tina", DESK), await site.join("udo", DESK)];
  await newGroup(tina.page, "Choir", ["udo"]);
  await udo.page.click("[data-test=accept-Choir]");
  await showsTitle(udo.page, "Choir");
  await udo.page.evaluate(() => {
    const { chat } = globalThis;
    const call = chat.call.bind(chat);
    const calls = (globalThis.calls = { running: 0, infos: 0, most: 0, release: undefined });
    // The answer with `all_muted` is held back until the test releases it.
    chat.call = async (method, params) => {
      const isInfo = method === "groups.info";
      calls.running += 1;
      if (isInfo) calls.most = Math.max(calls.most, ++calls.infos);
      try {
        const answer = await call(method, params);
        if (isInfo && answer.all_muted) await new Promise((release) => (calls.release = release));
        return answer;
      } finally {
        calls.running -= 1;
        if (isInfo) calls.infos -= 1;
      }
    };
  });
  await groupSetting(tina.page, "group-settings");
  await tina.page.check("[data-test=mute-all]");
  await tina.page.click("[data-test=group-silence-submit]");
  await udo.page.waitForFunction(() => globalThis.calls.release);
  await tina.page.waitForSelector("[data-test=notice]:has-text('Saved.')");
  await tina.page.uncheck("[data-test=mute-all]");
  await tina.page.click("[data-test=group-silence-submit]");
  await line(udo.page, "tina unmuted everybody");
  // All other requests of the page have their answers.
  await udo.page.waitForFunction(() => globalThis.calls.running === 1);
  await udo.page.evaluate(() => globalThis.calls.release());
  await udo.page.waitForFunction(() => globalThis.calls.running === 0);
  assert.equal(await udo.page.locator("[data-test=silent]").isVisible(), false);
  assert.equal(await udo.page.evaluate(() => globalThis.calls.most), 1, "one request at a time");
  await write(udo.page, "La la la");
  await bubble(tina.page, "La la la").waitFor();
  assert.deepEqual([...tina.complaints, ...udo.complaints], []);
});

test("mentions are highlighted and counted, announcements list their readers, and pins stay above", async () => {
  const [pia, quin] = [await site.join("pia", DESK), await site.join("quin", PHONE)];
  await newGroup(pia.page, "Office", ["quin"]);
  await quin.page.tap("[data-test=accept-Office]");
  await showsTitle(quin.page, "Office");
  await quin.page.click("[data-test=back]");

  await pia.page.type("[data-test=text]", "Lunch at noon, @qu");
  await pia.page.waitForSelector("[data-test=name-quin]");
  await site.picture(pia.page, "desk-mention");
  await pia.page.keyboard.press("Enter");
  await pia.page.keyboard.type("?");
  await pia.page.keyboard.press("Enter");
  await bubble(pia.page, "Lunch at noon, @quin ?").waitFor();
  await quin.page.waitForSelector("[data-test=group-Office] [data-test=mentions]");
  await site.picture(quin.page, "phone-mentioned");
  // A device that was offline shows it as well.
  await quin.page.reload();
  await quin.page.waitForSelector("[data-test=group-Office] [data-test=mentions]");
  await quin.page.bringToFront();
  await choose(quin.page, "Office");
  await quin.page.waitForSelector(".mention.mine");
  await quin.page.waitForSelector("[data-test=group-Office] [data-test=mentions]", { state: "detached" });

  await announce(pia.page, "The office is closed on Friday.");
  await quin.page.waitForSelector(".announcement:has-text('closed on Friday')");
  await seenBy(pia.page, 1, "quin");
  await site.picture(pia.page, "desk-announcement");

  await open(pia.page, "Lunch at noon, @quin ?");
  await pressAction(pia.page, "pin");
  await quin.page.waitForSelector("[data-test=pinned]:has-text('Lunch at noon')");
  await site.picture(quin.page, "phone-pinned");
  await open(pia.page, "Lunch at noon, @quin ?");
  await pressAction(pia.page, "unpin");
  await quin.page.waitForSelector("[data-test=pinned]", { state: "hidden" });
  assert.deepEqual([...pia.complaints, ...quin.complaints], []);
});

test("a discussion has no roles, and is named after its members", async () => {
  const [rosa, sven] = [await site.join("rosa", DESK), await site.join("sven", DESK)];
  await newGroup(rosa.page, "", ["sven"]);
  await showsTitle(rosa.page, "sven");
  await choose(sven.page, "rosa");
  await write(sven.page, "What is it about?");
  await bubble(rosa.page, "What is it about?").waitFor();
  await group(rosa.page);
  assert.equal(await rosa.page.locator("[data-test=roles], [data-test=dissolve]").count(), 0);
  await confirm(rosa.page, "leave-group");
  await line(sven.page, "rosa left");
  await rosa.page.waitForSelector("[data-test=group-sven]", { state: "detached" });
  assert.deepEqual([...rosa.complaints, ...sven.complaints], []);
});
