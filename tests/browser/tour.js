// Visits all views of the page, takes screenshots, and finds nodes that are cut off.

import assert from "node:assert/strict";
import { pressAction, backTo, choose, contacts, find, group, openPicker, openDirect } from "./page.js";

/** Returns nodes that overflow the page to the side, or scroll sideways although they are no strips. */
const outside = (page) =>
  page.evaluate(() => {
    const boxes = "#panel-body, #messages, #conversations, #contacts";
    const looked = `h1, h2, h3, p, label, button, input, select, textarea, summary, .note, .avatar, ${boxes}`;
    return [...document.querySelectorAll(looked)]
      .filter((node) => {
        if (!node.checkVisibility() || node.closest(".tabs, .tray") || node.matches(".unseen, .more")) return false;
        const { left, right, width } = node.getBoundingClientRect();
        const scrolls = node.matches(boxes) && node.scrollWidth > node.clientWidth;
        return scrolls || (width > 0 && (left < -1 || right > innerWidth + 1));
      })
      .map(
        (node) =>
          `${node.localName} ${node.dataset.test ?? (node.id || node.className)} ${node.textContent.slice(0, 30)}`,
      );
  });

/** A page of a user with a group and a contact, and the prefix of its screenshots. */
export class Tour {
  constructor(site, page, name) {
    Object.assign(this, { site, page, name, isPhone: page.viewportSize().width < 700 });
  }

  /** Takes a screenshot and checks that nothing is cut off. */
  async look(view) {
    await this.site.picture(this.page, `${this.name}-${view}`);
    assert.deepEqual(await outside(this.page), [], `nodes that overflow in ${this.name}-${view}`);
  }

  /** Does the same for the page in the panel, and for its end if it scrolls. */
  async lookAtPanel(view) {
    await this.page.waitForSelector("#panel:not([data-page=''])");
    await this.look(view);
    const isLonger = await this.page.$eval("#panel-body", (body) => {
      body.scrollTop = body.scrollHeight;
      return body.scrollTop > 0;
    });
    if (isLonger) await this.look(`${view}-end`);
  }

  /** Clicks a node and waits for a page of the panel. */
  async open(selector, page) {
    await this.page.click(selector);
    await this.page.waitForSelector(`#panel[data-page=${page}]`);
  }

  /** Visits a page of the panel and all its entries. */
  async lookAround(name) {
    const { page } = this;
    await this.lookAtPanel(name);
    const tests = await page.$$eval("#panel .entry", (entries) => entries.map(({ dataset }) => dataset.test));
    assert.ok(tests.length > 3, `${name} leads to ${tests}`);
    for (const test of tests) {
      await page.click(`#panel [data-test="${test}"]`);
      await page.waitForSelector(`#panel:not([data-page=""], [data-page=${name}])`);
      await this.lookAtPanel(`${name}-${test}`);
      await backTo(page, name);
    }
  }

  /** Closes the panel and the conversation. */
  async goHome() {
    const { page } = this;
    if (await page.locator("[data-test=panel-close]").isVisible()) await page.click("[data-test=panel-close]");
    if (await page.locator("[data-test=back]").isVisible()) await page.click("[data-test=back]");
  }

  async seeTheLists(friend) {
    const { page } = this;
    await this.goHome();
    await this.look("chats");
    await find(page, friend.slice(0, 2), friend);
    await this.look("search");
    await page.fill("[data-test=search]", "");
    await page.click("[data-test=new]");
    await this.look("new");
    await page.click("[data-test=new-group]");
    await this.lookAtPanel("new-group");
    await this.goHome();
    await contacts(page);
    await this.look("contacts");
    await this.open(`[data-test=friend-${friend}] .person`, "profile");
    await this.lookAtPanel("profile");
    await this.goHome();
    await page.click("[data-test=tab-chats]");
  }

  async seeTheSettings() {
    await this.goHome();
    await this.open("[data-test=settings]", "settings-page");
    await this.lookAround("settings-page");
    await this.goHome();
  }

  /** Opens the menu of the user's first message. */
  async openMenu() {
    const own = this.page.locator("#messages .row.own").first();
    await own.scrollIntoViewIfNeeded();
    if (this.isPhone) await own.locator(".note").tap();
    else {
      await own.hover();
      await own.locator(".more").click();
    }
    await this.page.waitForSelector("[data-test=menu]:popover-open");
  }

  async seeAConversation(name) {
    const { page } = this;
    await this.goHome();
    await choose(page, name);
    await page.waitForSelector("#messages li:last-child [data-drawn]");
    await this.look("group");
    await page.$eval("#messages", (list) => (list.scrollTop = 0));
    await this.look("group-begin");
    await this.openMenu();
    await this.look("menu");
    await pressAction(page, "seen-by");
    await this.lookAtPanel("seen-by");
    await page.click("[data-test=panel-close]");
    await this.openMenu();
    await pressAction(page, "reply");
    await this.look("replying");
    await page.click("[data-test=cancel-reply]");
    await openPicker(page);
    await this.look("stickers");
    await this.open("[data-test=manage-packs]", "packs-page");
    await page.waitForSelector("[data-test=found-packs]");
    await this.lookAtPanel("packs");
    await page.click("[data-test=panel-close]");
    await page.type("[data-test=text]", "@");
    await page.waitForSelector("[data-test=names]:visible");
    await this.look("mention");
    await page.fill("[data-test=text]", "");
    await page.click("[data-test=shared-files-button]");
    await page.waitForSelector("[data-test=shared-files]");
    await this.lookAtPanel("shared-files");
    await page.click("[data-test=panel-close]");
  }

  async seeTheGroup(friend, role) {
    const { page } = this;
    await group(page);
    await this.lookAround("group-page");
    await this.open("#panel [data-test=members]", "members-page");
    await this.open(`#panel [data-test=member-${friend}] .person`, "member-page");
    await this.lookAtPanel("member");
    await group(page);
    await this.open("#panel [data-test=roles]", "roles-page");
    await this.open(`#panel [data-test="role-${role}"]`, "role-page");
    await this.lookAtPanel("role");
    await group(page);
    await this.open("#panel [data-test=announcements]", "announcements-page");
    await this.open("#panel [data-test=readers-1]", "readers-page");
    assert.equal(await page.textContent("[data-test=unseen-list]"), "Everybody has seen it.");
    await this.lookAtPanel("readers");
  }

  async seeItInTheDark(name, friend) {
    const { page } = this;
    await page.emulateMedia({ colorScheme: "dark" });
    await this.goHome();
    await this.look("chats-dark");
    await openDirect(page, friend);
    await this.look("talk-dark");
    await this.goHome();
    await choose(page, name);
    await this.look("group-dark");
    await group(page);
    await this.lookAtPanel("group-page-dark");
    await page.emulateMedia({ colorScheme: "light" });
  }
}
