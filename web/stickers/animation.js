// Stickers that are Lottie animations. The player is fetched when the first of them is shown.

let player;

function loadPlayer() {
  player ??= new Promise((loaded, failed) => {
    const script = document.createElement("script");
    script.src = new URL("../vendor/lottie_light.min.js", import.meta.url).href;
    script.onload = () => loaded(globalThis.lottie);
    script.onerror = () => {
      player = undefined;
      failed(new Error("The player of animations can't be loaded."));
    };
    document.head.append(script);
  });
  return player;
}

const playing = new Map();

/** Plays what is seen, and lets go what is not in the page any more. */
const seen = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    const animation = playing.get(target);
    if (!animation) continue;
    if (!target.isConnected) {
      animation.destroy();
      playing.delete(target);
      seen.unobserve(target);
    } else if (isIntersecting && !still.matches) animation.play();
    else animation.pause();
  }
});

const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Plays an animation in a node, over and over; for those who want no motion it stands still. */
export async function animate(node, animationData) {
  const { loadAnimation } = await loadPlayer();
  const animation = loadAnimation({
    container: node, renderer: "svg", loop: true, autoplay: false, animationData,
    rendererSettings: { progressiveLoad: false, preserveAspectRatio: "xMidYMid meet" },
  });
  // A picture that stands still shows the middle, where mostly everything is there.
  animation.goToAndStop(still.matches ? Math.floor(animation.totalFrames / 2) : 0, true);
  playing.set(node, animation);
  seen.observe(node);
}
