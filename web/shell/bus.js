// Events between the modules of the page.

/**
 * Events: `close` (before the open conversation closes), `open` (another conversation is open, or none), `list` (data of the
 * conversation list), `messages` (detail: {toEnd?, older?}; the open conversation), `shown` (after the messages were drawn),
 * `writing`, `people` (a name, a picture or a presence), `contacts` (friends and requests), `groups` (detail: {group?}),
 * `self` (the user's own profile or presence).
 */
export const changes = new EventTarget();

export const changed = (type, detail = {}) => changes.dispatchEvent(new CustomEvent(type, { detail }));

export const on = (types, run) => {
  for (const type of types.split(" "))
    changes.addEventListener(type, (/** @type {CustomEvent} */ { detail }) => run(detail));
};

/** Returns a function that schedules `run` as a microtask. Calls before it runs have no further effect. */
export function batched(run) {
  let isScheduled = false;
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(() => {
      isScheduled = false;
      run();
    });
  };
}

/** Returns a function that schedules `run` for the next frame, or after 100 ms while the page is hidden. */
export function perFrame(run) {
  let isScheduled = false;
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    const go = () => {
      if (!isScheduled) return;
      isScheduled = false;
      run();
    };
    requestAnimationFrame(go);
    setTimeout(go, 100);
  };
}
