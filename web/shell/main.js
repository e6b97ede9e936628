// The entry of the page: imports all modules and connects.

import { chat, token } from "./session.js";
import "./shell.js";
import "../sign-in/sign-in.js";
import "../chat/conversations.js";
import "../chat/conversation-list.js";
import "../people/contacts.js";
import "../chat/message-list.js";
import "../chat/conversation-header.js";
import "../chat/composer.js";
import "../chat/message-menu.js";
import "../chat/mentions.js";
import "../groups/event-lines.js";
import "../groups/announcements.js";
import "../groups/pins.js";
import "../chat/read-by.js";
import "../groups/group-page.js";
import "../groups/joining.js";
import "../settings/settings.js";
import "../chat/replies.js";
import "../files/media.js";
import "../files/tray.js";
import "../files/file-list.js";
import "../stickers/stickers.js";
import "../stickers/sticker-picker.js";
import "../stickers/packs.js";
import "../translation/translation.js";
import "../translation/translation-settings.js";
import "../chat/header-buttons.js";
import "../settings/notifications.js";

chat.connect(token());
