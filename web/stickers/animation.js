// Lottie animations. The player is loaded with the first of them.

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

/** Plays visible animations, pauses others, and destroys those that left the document. */
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

/** Plays an animation in a node in a loop. With reduced motion, it shows one frame. */
export async function animate(node, animationData) {
  const { loadAnimation } = await loadPlayer();
  const animation = loadAnimation({
    container: node,
    renderer: "svg",
    loop: true,
    autoplay: false,
    animationData,
    rendererSettings: { progressiveLoad: false, preserveAspectRatio: "xMidYMid meet" },
  });
  // The frame in the middle usually shows all parts.
  animation.goToAndStop(still.matches ? Math.floor(animation.totalFrames / 2) : 0, true);
  playing.set(node, animation);
  seen.observe(node);
}
