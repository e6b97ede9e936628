// How the parts of the page hear of each other.

/**
 * Tells the views what changed: `close` (the open conversation is about to be left), `open` (another one is open, or none),
 * `list` (something that the list of conversations shows), `messages` (detail: {toEnd?, older?}: something in the open one),
 * `shown` (the messages were drawn), `writing`, `people` (a name, a picture or a presence), `contacts` (friends and requests),
 * `groups` (detail: {group?}), `self` (one's own profile or presence).
 */
export const changes = new EventTarget();

export const changed = (type, detail = {}) => changes.dispatchEvent(new CustomEvent(type, { detail }));

export const on = (types, run) => {
  for (const type of types.split(" ")) changes.addEventListener(type, ({ detail }) => run(detail));
};

/** Returns a function that has something done once, however often it is called until then. */
export function soon(run) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      run();
    });
  };
}

/** The same for what is drawn: once for each picture that the screen shows, or a little later while nobody sees it. */
export function drawn(run) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    const go = () => {
      if (!waiting) return;
      waiting = false;
      run();
    };
    requestAnimationFrame(go);
    setTimeout(go, 100);
  };
}
