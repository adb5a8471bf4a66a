// The chats of this browser, newest first.

import { button, make } from "./dom.js";

export class ChatList {
  constructor(parent, store, { open, remove, exported }) {
    Object.assign(this, { parent, store, open, remove, exported, wanted: "" });
  }

  show(current, wanted = this.wanted) {
    this.wanted = wanted;
    const found = this.store.all().filter((chat) => has(chat, wanted.trim().toLowerCase()));
    this.parent.replaceChildren(...found.map((chat) => this.#line(chat, chat.id === current.id)));
  }

  #line(chat, isCurrent) {
    const removing = button("✕", () => {
      if (removing.dataset.asked) { this.remove(chat); return; }
      removing.dataset.asked = "yes";
      removing.textContent = "Delete?";
      removing.addEventListener("blur", () => this.show({ id: isCurrent ? chat.id : null }), { once: true });
    }, { className: "act", title: "Delete", ariaLabel: `Delete ${chat.title}` });
    const line = make("li", {},
      button(chat.title || "New chat", () => this.open(chat), { className: "open", title: chat.title }),
      button("⤓", () => this.exported(chat), { className: "act", title: "Export as Markdown", ariaLabel: `Export ${chat.title}` }),
      removing);
    if (isCurrent) line.setAttribute("aria-current", "true");
    return line;
  }
}

function has(chat, wanted) {
  if (!wanted || chat.title.toLowerCase().includes(wanted)) return true;
  return Object.values(chat.turns).some((turn) => turn.text.toLowerCase().includes(wanted));
}
