// The page: each part stands in a module of its own, and is here only because it is imported.

import { chat, token } from "./session.js";
import "./house.js";
import "./door.js";
import "./conversations.js";
import "./talks.js";
import "./room.js";
import "./composer.js";
import "./menu.js";

chat.connect(token());
