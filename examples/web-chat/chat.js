// The page: each part stands in a module of its own, and is here only because it is imported.

import { chat, token } from "./session.js";
import "./house.js";
import "./door.js";
import "./conversations.js";
import "./talks.js";
import "./contacts.js";
import "./room.js";
import "./about.js";
import "./composer.js";
import "./menu.js";
import "./mentions.js";
import "./notices.js";
import "./announcements.js";
import "./pins.js";
import "./seen.js";
import "./group.js";
import "./joining.js";
import "./settings.js";
import "./replies.js";
import "./media.js";
import "./files.js";
import "./shared.js";
import "./stickers.js";
import "./sticker-picker.js";
import "./packs.js";
import "./translation.js";
import "./translation-settings.js";
import "./head.js";
import "./notify.js";

chat.connect(token());
