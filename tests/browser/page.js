// What people do on the page, and what they see there.

/** Finds someone and opens the conversation. */
export async function talk(page, partner) {
  await page.fill("[data-test=search]", partner);
  await page.click(`[data-test=person-${partner}]`);
  await page.waitForFunction((name) => document.querySelector("[data-test=title]").textContent === name, partner);
}

export async function write(page, text) {
  await page.fill("[data-test=text]", text);
  await page.press("[data-test=text]", "Enter");
}

/** The messages that the server has, as the page shows them. */
export const sent = (page) => page.$$eval("#messages .note:not([data-state=queued])", (notes) =>
  notes.map((note) => ({ seq: Number(note.dataset.seq), text: note.dataset.text })));

/** Waits until so many messages are shown, and all are sent. */
export const shows = (page, count) => page.waitForFunction((count) => {
  const notes = [...document.querySelectorAll("#messages .note")];
  return notes.length === count && notes.every((note) => note.dataset.state !== "queued");
}, count, { timeout: 60_000 });

/** Waits until the conversation with someone shows so many unread messages. */
export const unread = (page, partner, count) => page.waitForFunction(([partner, count]) => {
  const badge = document.querySelector(`[data-test=person-${partner}] [data-test=unread]`);
  return Number(badge?.textContent ?? 0) === count;
}, [partner, count]);

/** The bubble of the message that says this. */
export const bubble = (page, text) => page.locator(`#messages .note[data-text="${text}"]`);

/** Opens the menu of a message with the mouse. */
export async function open(page, text) {
  await bubble(page, text).hover();
  await page.click(`#messages .row:has(> .note[data-text="${text}"]) .more`);
  await page.waitForSelector("[data-test=menu]:popover-open");
}

/** Presses what is in the menu of a message. */
export const act = (page, name) => page.click(`[data-test=menu] [data-test="${name}"]`);

/** Waits until a chip shows this count, and tells whether it is one's own. */
export async function chip(page, emoji, count) {
  const found = page.locator(`[data-test="chip-${emoji}"]`, { hasText: String(count) });
  await found.waitFor();
  return (await found.getAttribute("aria-pressed")) === "true";
}

/** Looks for people, and waits until what was found is shown. */
export async function find(page, words, name = words) {
  await page.fill("[data-test=search]", words);
  await page.waitForSelector(`[data-test^="person-${name}"], [data-test^="found-${name}"]`);
}

/** Shows the list of contacts. */
export const contacts = (page) => page.click("[data-test=tab-contacts]");

/** Finds someone among people and opens the profile. */
export async function profileOf(page, words, name) {
  await contacts(page);
  await page.fill("[data-test=search]", words);
  await page.click(`[data-test="found-${name}"] .person`);
  await page.waitForSelector("#panel[data-page=profile]");
  await page.fill("[data-test=search]", "");
}

/** Opens a page of the settings. */
export async function setting(page, name) {
  if (await page.locator("[data-test=panel-close]").isVisible()) await page.click("[data-test=panel-close]");
  await page.click("[data-test=settings]");
  await page.click(`[data-test=${name}]`);
  await page.waitForSelector(`#panel[data-page^="${name}"]`);
}

/** Makes a picture of one colour, as a file to choose. */
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

/** Begins a group, or a discussion if it has no name. */
export async function newGroup(page, name, members = [], description = "") {
  await page.click("[data-test=new]");
  await page.click(name ? "[data-test=new-group]" : "[data-test=new-discussion]");
  if (name) {
    await page.fill("[data-test=new-group-name]", name);
    await page.fill("[data-test=new-group-description]", description);
  }
  for (const member of members) {
    await page.fill("[data-test=members-search]", member);
    await page.check(`[data-test=pick-${member}]`);
  }
  await page.click(name ? "[data-test=create-group-submit]" : "[data-test=create-discussion-submit]");
  await page.waitForSelector("#panel", { state: "hidden" });
  await page.waitForSelector("[data-test=text]:visible");
}

/** Opens a group from the list. */
export async function choose(page, name) {
  await page.click(`[data-test="group-${name}"]`);
  await page.waitForFunction((name) => document.querySelector("[data-test=title]").textContent === name, name);
}

/** Opens the page of the group whose conversation is open. */
export async function group(page) {
  if (await page.locator("[data-test=panel-close]").isVisible()) await page.click("[data-test=panel-close]");
  await page.click("[data-test=details]");
  await page.waitForSelector("#panel[data-page=group-page]");
}

/** Opens a page that the page of a group leads to. */
export async function groupSetting(page, name) {
  await group(page);
  await page.click(`#panel [data-test=${name}]`);
  await page.waitForSelector(`#panel[data-page^="${name}"]`);
}

/** Goes back in the panel until a page is there. */
export async function backTo(page, name) {
  await page.click("[data-test=panel-back]");
  await page.waitForSelector(`#panel[data-page=${name}]`);
}

/** Waits for a line between the messages. */
export const line = (page, text) => page.waitForSelector(`#messages .happened:has-text("${text}")`, { state: "attached" });

/** Waits until somebody's message stands under their name. */
export const says = (page, name, text) =>
  page.waitForSelector(`#messages .row:has(.sender:has-text("${name}")) .note[data-text="${text}"]`);
