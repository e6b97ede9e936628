// Files on the page: sent through a broken link, shown, saved, listed and deleted.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DESK, PHONE, Site } from "./site.js";
import { attach, uploadReaches, offsets, save, send, setting, shows, sha256, openDirect, uploadWaits } from "./page.js";

/** Small parts, so that little is sent again after a kill. */
const LIMITS = "[blobs]\npart_bytes = 262144\nmax_bytes = 20000000";

let site, folder;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), "courtyard-files-"));
  site = await Site.open({ plugins: ["users", "files"], top: LIMITS });
});
after(async () => {
  await site?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Writes a file of `length` bytes. */
function file(name, length) {
  const path = join(folder, name);
  const bytes = Buffer.from(Uint8Array.from({ length }, (_, at) => (at * 7919) % 251));
  writeFileSync(path, bytes);
  return { path, sum: sha256(bytes) };
}

/** Limits the upload to `bytes` per second; 0 removes the limit. */
async function throttle(page, bytes) {
  page.link ??= await page.context().newCDPSession(page);
  await page.link.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput: bytes || -1,
  });
}

async function pair(left, right, how = DESK) {
  const both = [await site.join(left, DESK), await site.join(right, how)];
  await openDirect(both[0].page, right);
  await openDirect(both[1].page, left);
  return both;
}

test("an upload continues after a broken link and a killed server, and arrives complete", async () => {
  const [ann, bob] = await pair("ann", "bob");
  const big = file("plans for the garden.zip", 12_000_000);
  const sent = offsets(ann.page);
  await throttle(ann.page, 2_000_000);
  await attach(ann.page, big.path);
  await send(ann.page);
  await uploadReaches(ann.page, 2_000_000);
  await site.picture(ann.page, "desk-upload");
  await site.kill();
  await uploadWaits(ann.page);
  await site.picture(ann.page, "desk-upload-waiting");
  await throttle(ann.page, 0);
  await site.start();
  await shows(ann.page, 1);
  await shows(bob.page, 1);
  assert.equal(sent[0], 0);
  assert.ok(sent[1] > 0, `the upload began at 0 again: ${sent}`);

  assert.match(await bob.page.textContent("[data-test=file]"), /plans for the garden\.zip12\.0 MB · ZIP/);
  const saved = await save(bob.page);
  assert.equal(saved.name, "plans for the garden.zip");
  assert.equal(sha256(readFileSync(saved.path)), big.sum);
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
});

test("after a reload the same file continues where it stopped, and a cancelled file is not sent", async () => {
  const [cleo, dan] = await pair("cleo", "dan");
  cleo.page.on("dialog", (dialog) => dialog.accept());
  const big = file("film.bin", 9_000_000);
  await throttle(cleo.page, 2_000_000);
  await attach(cleo.page, big.path);
  await send(cleo.page);
  await uploadReaches(cleo.page, 2_000_000);
  await cleo.page.reload();
  await openDirect(cleo.page, "dan");
  await throttle(cleo.page, 0);
  const sent = offsets(cleo.page);
  await attach(cleo.page, big.path);
  await send(cleo.page);
  await shows(dan.page, 1);
  assert.ok(sent[0] > 0, `the upload began at 0 again: ${sent}`);

  await throttle(cleo.page, 500_000);
  // The small file waits for the large one before it, until that is cancelled.
  await attach(cleo.page, file("other.bin", 9_000_000).path, file("small.bin", 10).path);
  await send(cleo.page);
  await uploadReaches(cleo.page, 100_000);
  await cleo.page.locator("#messages li", { hasText: "other.bin" }).locator("[data-test=cancel-upload]").click();
  await throttle(cleo.page, 0);
  await shows(cleo.page, 2);
  // A file over the limit shows the error and can be deleted.
  await attach(cleo.page, file("huge.bin", 20_000_001).path);
  await send(cleo.page);
  await cleo.page.waitForSelector("[data-test=failure]");
  assert.match(await cleo.page.textContent("[data-test=failure]"), /max_bytes/);
  await cleo.page.click("[data-test=drop-failed]");
  await shows(cleo.page, 2);
  await shows(dan.page, 2);
  assert.match(await dan.page.textContent("#messages li:last-child"), /small\.bin/);
  assert.deepEqual([...cleo.complaints, ...dan.complaints], []);
});

/** Returns a picture of a landscape as a file. */
async function landscape(page, name) {
  const bytes = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(1200, 800);
    const context = canvas.getContext("2d");
    const sky = context.createLinearGradient(0, 0, 0, 800);
    for (const [at, colour] of [
      [0, "#8ec5ff"],
      [0.6, "#ffe3b0"],
      [0.61, "#7cae6e"],
      [1, "#3d6b3f"],
    ])
      sky.addColorStop(at, colour);
    context.fillStyle = sky;
    context.fillRect(0, 0, 1200, 800);
    context.fillStyle = "#ffd45e";
    context.arc(900, 200, 90, 0, 7);
    context.fill();
    return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
  });
  return { name, mimeType: "image/png", buffer: Buffer.from(bytes) };
}

/** Waits until an image is drawn, and returns its natural width. */
async function drawn(page, selector) {
  await page.waitForFunction((selector) => document.querySelector(selector)?.naturalWidth > 0, selector);
  return page.$eval(selector, (image) => image.naturalWidth);
}

test("images are shown in the conversation as thumbnails, and in full size in the viewer, with a caption", async () => {
  const [eve, finn] = await pair("evelyn", "finn", PHONE);
  await attach(eve.page, await landscape(eve.page, "meadow.png"), await landscape(eve.page, "again.png"));
  await eve.page.fill("[data-test=text]", "The meadow this morning");
  await site.picture(eve.page, "desk-tray");
  await send(eve.page);
  await shows(finn.page, 2);
  await drawn(finn.page, "#messages [data-test=image]");
  await drawn(eve.page, "#messages [data-test=image]");
  assert.match(await finn.page.textContent("#messages"), /The meadow this morning/);

  // After the inspection by the server, a page that is loaded later gets the thumbnail first.
  const blob = await finn.page.evaluate(async () => {
    const { current } = await import("/chat/conversations.js");
    const {
      content: { blob },
    } = current.list.messages[0];
    while ((await globalThis.chat.call("files.file", { blob })).state === "checking")
      await new Promise((turn) => setTimeout(turn, 50));
    return blob;
  });
  await finn.page.reload();
  await openDirect(finn.page, "evelyn");
  assert.ok((await drawn(finn.page, "#messages [data-test=image]")) < 1200);
  const { width, height } = await finn.page.locator("#messages .frame").first().boundingBox();
  assert.ok(Math.abs(width / height - 1.5) < 0.05, `${width} × ${height}`);
  await site.picture(finn.page, "phone-images");
  await finn.page.locator("[data-test=open-image]").first().tap();
  await finn.page.waitForSelector("[data-test=viewer][data-state=shown]");
  assert.equal(await drawn(finn.page, "[data-test=viewer] img"), 1200);
  await site.picture(finn.page, "phone-lightbox");
  await finn.page.keyboard.press("ArrowRight");
  await finn.page.waitForFunction(() => document.querySelector("[data-test=viewer] img").alt === "again.png");
  await finn.page.keyboard.press("Escape");
  await finn.page.waitForSelector("[data-test=viewer]", { state: "hidden" });

  // A file that is no image is sent as a file, also with the name of an image.
  await attach(eve.page, { name: "trick.png", mimeType: "image/png", buffer: Buffer.from("no picture at all") });
  await send(eve.page);
  await finn.page.waitForFunction(() =>
    [...document.querySelectorAll("#messages [data-test=file]")].some((card) => card.textContent.includes("trick.png")),
  );

  await finn.page.tap("[data-test=shared-files-button]");
  await finn.page.waitForFunction(
    () => document.querySelectorAll("[data-test=shared-files] [data-test=file]").length === 3,
  );
  await site.picture(finn.page, "phone-shared");
  await setting(eve.page, "own-files");
  await eve.page.waitForFunction(
    () => document.querySelectorAll("[data-test=own-files] [data-test=file]").length === 3,
  );
  assert.match(await eve.page.textContent("[data-test=usage]"), /^3 files take up/);
  await site.picture(eve.page, "desk-own-files");
  const row = eve.page
    .locator("[data-test=own-files] li", { hasText: "meadow.png" })
    .locator("[data-test=delete-file]");
  await row.click();
  await eve.page.click("[data-test=delete-file-confirm]");
  await eve.page.waitForFunction(() => document.querySelector("[data-test=usage]").textContent.startsWith("2 files"));
  const gone = await finn.page.evaluate(
    (blob) =>
      import("/shell/pictures.js").then(({ blobs }) =>
        blobs.download("files", blob).then(
          () => "there",
          ({ code }) => code,
        ),
      ),
    blob,
  );
  assert.equal(gone, "unknown_blob");
  await finn.page.reload();
  await openDirect(finn.page, "evelyn");
  await finn.page.waitForSelector("#messages .frame.gone");
  assert.deepEqual([...eve.complaints, ...finn.complaints], []);
});

test("a picture can be pasted and dropped like any other file", async () => {
  const [gil, hana] = await pair("gil", "hana");
  const { buffer } = await landscape(gil.page, "x.png");
  const into = (event, selector) =>
    gil.page.evaluate(
      ([event, selector, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(bytes)], `${event}.png`, { type: "image/png" }));
        const init = { bubbles: true, cancelable: true };
        const happened =
          event === "paste"
            ? new ClipboardEvent(event, { ...init, clipboardData: data })
            : new DragEvent(event, { ...init, dataTransfer: data });
        document.querySelector(selector).dispatchEvent(happened);
      },
      [event, selector, [...buffer]],
    );
  await into("paste", "#text");
  await into("drop", "#messages");
  await gil.page.waitForFunction(() => document.querySelectorAll("[data-test=waiting-file]").length === 2);
  await gil.page.click("[data-test=remove-file] >> nth=0");
  await send(gil.page);
  await shows(hana.page, 1);
  // The thumbnail or the image, depending on whether the server has inspected it; both have the same shape.
  await drawn(hana.page, "#messages [data-test=image]");
  const shape = await hana.page.$eval(
    "#messages [data-test=image]",
    (image) => image.naturalWidth / image.naturalHeight,
  );
  assert.ok(Math.abs(shape - 1.5) < 0.02, `${shape}`);
  assert.deepEqual([...gil.complaints, ...hana.complaints], []);
});

/** Returns a sound of some seconds as a file. */
function sound(seconds) {
  const rate = 8000;
  const bytes = Buffer.alloc(44 + rate * seconds * 2);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt32LE(0x10001, 20);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(rate * 2, 28);
  bytes.writeUInt32LE(0x100002, 32);
  bytes.write("data", 36);
  bytes.writeUInt32LE(rate * seconds * 2, 40);
  for (let at = 0; at < rate * seconds; at++) bytes.writeInt16LE(Math.round(8000 * Math.sin(at / 5)), 44 + at * 2);
  return { name: "song.wav", mimeType: "audio/wav", buffer: bytes };
}

/** Returns a short video as a file. */
async function clip(page) {
  const bytes = await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 90 });
    const context = canvas.getContext("2d");
    const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
    const parts = [];
    const stopped = new Promise((done) => (recorder.onstop = done));
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.start();
    for (let hue = 0; hue < 300; hue += 15) {
      context.fillStyle = `hsl(${hue} 60% 50%)`;
      context.fillRect(0, 0, 160, 90);
      await new Promise((turn) => setTimeout(turn, 50));
    }
    recorder.stop();
    await stopped;
    return [...new Uint8Array(await new Blob(parts).arrayBuffer())];
  });
  return { name: "clip.webm", mimeType: "video/webm", buffer: Buffer.from(bytes) };
}

test("sound and video that were sent together arrive in order and play on the page", async () => {
  const [ida, jan] = await pair("ida", "jan", PHONE);
  await attach(ida.page, sound(20), await clip(ida.page));
  await send(ida.page);
  await shows(jan.page, 2);
  const kinds = await jan.page.$$eval("#messages .note", (notes) => notes.map((note) => note.dataset.kind));
  assert.deepEqual(kinds, ["voice", "video"]);
  const plays = (what) => jan.page.waitForFunction((what) => document.querySelector(what)?.currentTime > 0, what);
  await jan.page.tap("[data-test=play-voice]");
  await plays("audio");
  await jan.page.tap("[data-test=play-video]");
  await plays("video");
  await site.picture(jan.page, "phone-media");
  assert.deepEqual([...ida.complaints, ...jan.complaints], []);
});
