// Steps of users on the page, and conditions to wait for.

import { createHash } from "node:crypto";

/** Waits until the page shows the name of the signed-in user. */
export const me = (page, name) => reads(page, "[data-test=me]", name);

/** Waits until a conversation with this title is open. */
export const showsTitle = (page, title) => reads(page, "[data-test=title]", title);

/** Waits until the text of a node is exactly this. */
const reads = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => document.querySelector(selector)?.textContent === text, [selector, text]);

/** Presses a button that asks a question first, and confirms. */
export async function confirm(page, test) {
  await page.click(`[data-test="${test}"]`);
  await page.click(`[data-test="${test}-confirm"]`);
}

/** Finds a person and opens the direct conversation. */
export async function openDirect(page, partner) {
  await page.fill("[data-test=search]", partner);
  await page.click(`[data-test="person-${partner}"]`);
  await showsTitle(page, partner);
}

export async function write(page, text) {
  await page.fill("[data-test=text]", text);
  await page.press("[data-test=text]", "Enter");
}

/** Returns the messages on the page that the server has. */
export const sent = (page) =>
  page.$$eval("#messages .note:not([data-state=queued])", (notes) =>
    notes.map((note) => ({ seq: Number(note.dataset.seq), text: note.dataset.text })),
  );

/** Waits until the page shows `count` messages and all are sent. */
export const shows = (page, count) =>
  page.waitForFunction(
    (count) => {
      const notes = [...document.querySelectorAll("#messages .note")];
      return notes.length === count && notes.every((note) => note.dataset.state !== "queued");
    },
    count,
    { timeout: 60_000 },
  );

/** Waits until the list shows `count` unread messages for a direct conversation. */
export const unread = (page, partner, count) =>
  page.waitForFunction(
    ([partner, count]) => {
      const badge = document.querySelector(`[data-test="person-${partner}"] [data-test=unread]`);
      return Number(badge?.textContent ?? 0) === count;
    },
    [partner, count],
  );

/** Returns the bubble of the message with this text. */
export const bubble = (page, text) => page.locator(`#messages .note[data-text="${text}"]`);

/** Opens the menu of a message with the mouse. */
export async function open(page, text) {
  await bubble(page, text).hover();
  await page.click(`#messages .row:has(> .note[data-text="${text}"]) .more`);
  await page.waitForSelector("[data-test=menu]:popover-open");
}

/** Presses an entry of the menu of a message. */
export const pressAction = (page, name) => page.click(`[data-test=menu] [data-test="${name}"]`);

/** Waits until a reaction shows this count. Returns true if it is the user's own. */
export async function chip(page, emoji, count) {
  const found = page.locator(`[data-test="chip-${emoji}"]`, { hasText: String(count) });
  await found.waitFor();
  return (await found.getAttribute("aria-pressed")) === "true";
}

/** Searches people and waits for the result. */
export async function find(page, words, name = words) {
  await page.fill("[data-test=search]", words);
  await page.waitForSelector(`[data-test^="person-${name}"], [data-test^="found-${name}"]`);
}

/** Shows the list of contacts. */
export const contacts = (page) => page.click("[data-test=tab-contacts]");

/** Searches a person and opens the profile. */
export async function profileOf(page, words, name) {
  await contacts(page);
  await page.fill("[data-test=search]", words);
  await page.click(`[data-test="found-${name}"] .person`);
  await page.waitForSelector("#panel[data-page=profile]");
  await page.fill("[data-test=search]", "");
}

/** Sends a contact request with this message. */
export async function befriend(page, name, words) {
  await profileOf(page, name, name);
  await page.click("[data-test=request-friend]");
  await page.fill("[data-test=request-text]", words);
  await page.click("[data-test=request-form-submit]");
  await page.waitForSelector("[data-test=withdraw-friend]");
}

/** Accepts a contact request. */
export async function accept(page, name) {
  await contacts(page);
  await page.click(`[data-test="accept-${name}"]`);
  await page.waitForSelector(`[data-test="friend-${name}"]`);
}

/** Blocks the partner of the open conversation. */
export async function block(page) {
  await page.click("[data-test=details]");
  await confirm(page, "block");
  await page.waitForSelector("[data-test=blocked-note]");
}

/** Opens a page of the settings. */
export async function setting(page, name) {
  if (await page.locator("[data-test=panel-close]").isVisible()) await page.click("[data-test=panel-close]");
  await page.click("[data-test=settings]");
  await page.click(`[data-test=${name}]`);
  await page.waitForSelector(`#panel[data-page^="${name}"]`);
}

/** Returns a picture of one colour as a file. */
export async function picture(page, colour) {
  const url = await page.evaluate((colour) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 80, height: 60 });
    const context = canvas.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 80, 60);
    return canvas.toDataURL("image/png");
  }, colour);
  return { name: `${colour}.png`, mimeType: "image/png", buffer: Buffer.from(url.split(",")[1], "base64") };
}

/** Creates a group, or a discussion if the name is empty. */
export async function newGroup(page, name, members = [], description = "") {
  await page.click("[data-test=new]");
  await page.click(name ? "[data-test=new-group]" : "[data-test=new-discussion]");
  if (name) {
    await page.fill("[data-test=new-group-name]", name);
    await page.fill("[data-test=new-group-description]", description);
  }
  for (const member of members) {
    await page.fill("[data-test=members-search]", member);
    await page.check(`[data-test="pick-${member}"]`);
  }
  await page.click(name ? "[data-test=create-group-submit]" : "[data-test=create-discussion-submit]");
  await page.waitForSelector("#panel", { state: "hidden" });
  await page.waitForSelector("[data-test=text]:visible");
}

/** Opens a group from the list. */
export async function choose(page, name) {
  await page.click(`[data-test="group-${name}"]`);
  await showsTitle(page, name);
}

/** Opens the page of the group whose conversation is open. */
export async function group(page) {
  if (await page.locator("[data-test=panel-close]").isVisible()) await page.click("[data-test=panel-close]");
  await page.click("[data-test=details]");
  await page.waitForSelector("#panel[data-page=group-page]");
}

/** Opens an entry of the page of the group. */
export async function groupSetting(page, name) {
  await group(page);
  await page.click(`#panel [data-test=${name}]`);
  await page.waitForSelector(`#panel[data-page^="${name}"]`);
}

/** Opens the page of a member. */
export async function member(page, name) {
  await groupSetting(page, "members");
  await page.click(`[data-test="member-${name}"] .person`);
  await page.waitForSelector("#panel[data-page=member-page]");
}

/** Fills in a new role with permissions in addition to those of members. */
export async function newRole(page, title, rank, ...permissions) {
  await groupSetting(page, "roles");
  await page.click("[data-test=new-role]");
  await page.fill("[data-test=role-title]", title);
  await page.fill("[data-test=role-rank]", String(rank));
  for (const permission of permissions) await page.check(`[data-test=may-${permission}]`);
}

/** Gives a role to a member. */
export async function giveRole(page, name, role) {
  await member(page, name);
  await page.selectOption("[data-test=member-role]", { label: role });
  await page.click("[data-test=role-form-submit]");
}

/** Posts an announcement in the group whose conversation is open. */
export async function announce(page, text) {
  await groupSetting(page, "announcements");
  await page.fill("[data-test=announcement]", text);
  await page.click("[data-test=announce-form-submit]");
  await page.waitForSelector(`#panel .card:has-text("${text}")`);
}

/** Opens the readers of an announcement, and refreshes the list until these people are in it. */
export async function seenBy(page, announcement, ...names) {
  await page.click(`[data-test=readers-${announcement}]`);
  await page.waitForSelector("#panel[data-page=readers-page]");
  for (const name of names) {
    while (!(await page.locator(`[data-test=seen-list] [data-test="saw-${name}"]`).count())) {
      await page.click("[data-test=readers-again]");
      await page.waitForSelector("#panel[data-page=readers-page]");
    }
  }
}

/** Goes back in the panel until it shows a page. */
export async function backTo(page, name) {
  await page.click("[data-test=panel-back]");
  await page.waitForSelector(`#panel[data-page=${name}]`);
}

/** Waits for a line between the messages. */
export const line = (page, text) =>
  page.waitForSelector(`#messages .happened:has-text("${text}")`, { state: "attached" });

/** Waits until a message is shown with its sender. */
export const showsMessageOf = (page, name, text) =>
  page.waitForSelector(`#messages .row:has(.sender:has-text("${name}")) .note[data-text="${text}"]`);

/** Adds files to the tray. */
export const attach = (page, ...files) => page.setInputFiles("[data-test=choose-files]", files);

/** Sends the files of the tray. */
export const send = (page) => page.press("[data-test=text]", "Enter");

/** Waits until `bytes` of a file were sent. */
export const uploadReaches = (page, bytes) =>
  page.waitForFunction((bytes) => Number(document.querySelector(".progress progress")?.value ?? 0) >= bytes, bytes);

/** Waits until an upload waits for the connection. */
export const uploadWaits = (page) =>
  page.waitForFunction(() => document.querySelector("[data-test=progress]")?.textContent.startsWith("Waiting"));

/** Records the offsets of all further upload requests of a page. */
export function offsets(page) {
  const found = [];
  page.on("request", (request) => {
    if (request.method() === "PATCH") found.push(Number(request.headers()["upload-offset"]));
  });
  return found;
}

/** Saves the newest file of the open conversation, and returns its name and path. */
export async function save(page) {
  const get = page.locator("#messages [data-test=download]").last();
  const [saved] = await Promise.all([page.waitForEvent("download"), get.click()]);
  return { name: saved.suggestedFilename(), path: await saved.path() };
}

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Opens the sticker picker. */
export async function openPicker(page) {
  await page.click("[data-test=stickers]");
  await page.waitForSelector("[data-test=sticker-grid] [data-drawn]");
}

/** Waits until the newest message is a drawn sticker of this format. */
export const newestSticker = (page, format) =>
  page.waitForFunction(
    (format) =>
      document.querySelector("#messages li:last-child [data-test=sticker] [data-drawn]")?.dataset.drawn === format,
    format,
  );

/** Chooses the language in the settings of translation. */
export async function chooseLanguage(page, language) {
  await setting(page, "translation");
  await page.selectOption("[data-test=language]", language);
  await page.click("[data-test=translation-settings-submit]");
  await page.waitForFunction(
    async (language) => (await import("/translation/translation.js")).settings.language === language,
    language,
  );
  await page.click("[data-test=panel-close]");
}

/** Waits until the message with this original shows these words, and returns the line below them. */
export async function translated(page, original, words = original) {
  await page.waitForFunction(
    ([original, words]) =>
      document.querySelector(`#messages .note[data-text="${original}"] .words`)?.textContent === words,
    [original, words],
  );
  const line = bubble(page, original).locator("[data-test=translated]");
  return (await line.count()) > 0 ? line.textContent() : undefined;
}

/** Switches between a translation and its original. */
export const toggleOriginal = (page, original) => bubble(page, original).locator("[data-test=flip]").click();
