// Codes for signing in and for adding addresses.

/** Returns a sentence about where a code was sent. */
export const codeSentence = (by, address) =>
  by === "log" ? "This server can't send messages: the code is in its log." : `A code was sent to ${address}.`;
