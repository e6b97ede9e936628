import assert from "node:assert/strict";
import { test } from "node:test";
import { Latest, now } from "../latest.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A `Latest` whose requests wait until the test answers them. */
function served(most) {
  const requests = [];
  const stored = [];
  const fetch = (keys) => new Promise((resolve, reject) => requests.push({ keys, resolve, reject }));
  const latest = new Latest(
    fetch,
    (answer, key) => {
      stored.push([key, answer]);
      return answer;
    },
    most,
  );
  return { latest, requests, stored };
}

test("a subject that is loaded again while its request is in flight is fetched once more, and the older answer is not stored", async () => {
  const { latest, requests, stored } = served();
  const first = latest.load("group");
  await settled();
  const later = [latest.load("group"), latest.load("group")];
  await settled();
  assert.equal(requests.length, 1, "one request in flight");
  requests[0].resolve(["muted"]);
  await settled();
  assert.deepEqual(stored, []);
  assert.equal(requests.length, 2, "one more, however often it was loaded");
  requests[1].resolve(["free"]);
  assert.deepEqual(await Promise.all([first, ...later]), ["free", "free", "free"]);
  assert.deepEqual(stored, [["group", "free"]]);
});

test("loads of one turn share a request, and a load after the answer makes a new one", async () => {
  const { latest, requests, stored } = served();
  const both = [latest.load("a"), latest.load("a")];
  await settled();
  assert.equal(requests.length, 1);
  requests[0].resolve([1]);
  assert.deepEqual(await Promise.all(both), [1, 1]);
  const again = latest.load("a");
  await settled();
  requests[1].resolve([2]);
  assert.equal(await again, 2);
  assert.deepEqual(stored, [
    ["a", 1],
    ["a", 2],
  ]);
});

test("subjects of one turn are fetched together, and only the overtaken one once more", async () => {
  const { latest, requests, stored } = served(2);
  const all = latest.loadAll(["a", "b", "c"]);
  await settled();
  assert.deepEqual(
    requests.map(({ keys }) => keys),
    [["a", "b"], ["c"]],
  );
  latest.overtake("b");
  requests[1].resolve(["c1"]);
  requests[0].resolve(["a1", "b1"]);
  await settled();
  assert.deepEqual(requests[2].keys, ["b"]);
  requests[2].resolve(["b2"]);
  assert.deepEqual(await all, ["a1", "b2", "c1"]);
  assert.deepEqual(stored, [
    ["c", "c1"],
    ["a", "a1"],
    ["b", "b2"],
  ]);
});

test("a push is stored at once, and the answer that it overtook is not", async () => {
  const { latest, requests, stored } = served();
  const loaded = latest.load("ann");
  await settled();
  latest.offer("ann", "busy");
  requests[0].resolve(["online"]);
  await settled();
  assert.deepEqual(stored, [["ann", "busy"]]);
  requests[1].resolve(["busy, late"]);
  assert.equal(await loaded, "busy, late");
});

test("an answer from elsewhere that may be older than what is stored is not stored; the subject is fetched", async () => {
  const { latest, requests, stored } = served();
  const since = now();
  const loaded = latest.load("ann");
  await settled();
  requests[0].resolve(["Ann B."]);
  await loaded;
  latest.offer("ann", "Ann A.", since);
  await settled();
  assert.deepEqual(stored, [["ann", "Ann B."]]);
  requests[1].resolve(["Ann C."]);
  await settled();
  latest.offer("ann", "Ann D.", now());
  assert.deepEqual(stored, [
    ["ann", "Ann B."],
    ["ann", "Ann C."],
    ["ann", "Ann D."],
  ]);
});

test("a subject that is forgotten stays so, and can be loaded anew", async () => {
  const { latest, requests, stored } = served();
  const gone = latest.load("group");
  await settled();
  latest.forget("group");
  assert.equal(await gone, undefined);
  const again = latest.load("group");
  await settled();
  requests[0].resolve(["old"]);
  requests[1].resolve(["new"]);
  assert.equal(await again, "new");
  assert.deepEqual(stored, [["group", "new"]]);
});

test("`need` joins the request that is in flight", async () => {
  const { latest, requests, stored } = served(10);
  const both = [latest.load("a"), latest.need("a")];
  await settled();
  both.push(latest.need("a"), latest.needAll(["a", "b"]));
  await settled();
  assert.deepEqual(
    requests.map(({ keys }) => keys),
    [["a"], ["b"]],
  );
  requests[0].resolve([1]);
  requests[1].resolve([2]);
  assert.deepEqual(await Promise.all(both), [1, 1, 1, [1, 2]]);
  assert.deepEqual(stored, [
    ["a", 1],
    ["b", 2],
  ]);
});

test("nothing that was in flight is stored after all subjects were forgotten", async () => {
  const { latest, requests, stored } = served();
  const both = latest.loadAll(["a", "b"]);
  await settled();
  latest.clear();
  assert.deepEqual(await both, [undefined, undefined]);
  for (const { resolve } of requests) resolve(["old"]);
  await settled();
  assert.deepEqual(stored, []);
});

test("a failure reaches all who wait, and an overtaken one is tried once more", async () => {
  const { latest, requests, stored } = served();
  const loaded = latest.load("a");
  await settled();
  const later = latest.load("a");
  requests[0].reject(new Error("no connection"));
  await settled();
  requests[1].reject(new Error("not a member"));
  for (const one of [loaded, later]) await assert.rejects(one, /not a member/);
  const again = latest.load("a");
  await settled();
  requests[2].resolve(["back"]);
  assert.equal(await again, "back");
  assert.deepEqual(stored, [["a", "back"]]);
});

test("one that throws while it fetches or stores rejects, and goes on", async () => {
  const broken = Latest.each(
    () => {
      throw new Error("fetching");
    },
    () => {},
  );
  await assert.rejects(broken.load("a"), /fetching/);
  let isBroken = true;
  const storing = Latest.each(
    async () => 1,
    (answer) => {
      if (isBroken) throw new Error("storing");
      return answer;
    },
  );
  await assert.rejects(storing.load("a"), /storing/);
  isBroken = false;
  assert.equal(await storing.load("a"), 1);
});
