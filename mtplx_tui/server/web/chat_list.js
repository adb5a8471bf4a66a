// The chats of this browser, newest first.

import { button, find, make } from "./dom.js";

export class ChatList {
  constructor(parent, store, { open, remove, exported }) {
    Object.assign(this, { parent, store, acts: { open, remove, exported }, lines: new Map(), wanted: "" });
  }

  // A line stays the same as long as its chat is listed: one that has the focus keeps it, and its place in the page.
  show(current, wanted = this.wanted) {
    this.wanted = wanted;
    const found = this.store.all().filter((chat) => has(chat, wanted.trim().toLowerCase()));
    const lines = found.map((chat) => this.#line(chat, chat.id === current.id));
    const before = [...this.parent.children];
    const at = before.findIndex((line) => line.contains(document.activeElement));
    for (const [id, line] of this.lines) if (!lines.includes(line)) { line.element.remove(); this.lines.delete(id); }
    const elements = lines.map((line) => line.element);
    const held = elements.indexOf(before[at]);
    if (held < 0) this.parent.replaceChildren(...elements);
    else { before[at].before(...elements.slice(0, held)); before[at].after(...elements.slice(held + 1)); }
    if (at >= 0 && held < 0) (lines[Math.min(at, lines.length - 1)]?.opening ?? find("new")).focus();
  }

  #line(chat, isCurrent) {
    let line = this.lines.get(chat.id);
    if (!line) this.lines.set(chat.id, line = new Line(this.acts));
    line.show(chat, isCurrent);
    return line;
  }
}

class Line {
  constructor({ open, remove, exported }) {
    this.opening = button("", () => open(this.chat), { className: "open" });
    this.exporting = button("⤓", () => exported(this.chat), { className: "act", title: "Export as Markdown" });
    this.removing = button("✕", () => {
      if (this.removing.dataset.asked) { remove(this.chat); return; }
      this.removing.dataset.asked = "yes";
      this.removing.textContent = "Delete?";
    }, { className: "act", title: "Delete" });
    this.removing.addEventListener("blur", () => { delete this.removing.dataset.asked; this.removing.textContent = "✕"; });
    this.element = make("li", {}, this.opening, this.exporting, this.removing);
  }

  show(chat, isCurrent) {
    this.chat = chat;
    this.opening.textContent = chat.title || "New chat";
    this.opening.title = chat.title;
    this.exporting.ariaLabel = `Export ${chat.title}`;
    this.removing.ariaLabel = `Delete ${chat.title}`;
    if (isCurrent) this.element.setAttribute("aria-current", "true");
    else this.element.removeAttribute("aria-current");
  }
}

function has(chat, wanted) {
  if (!wanted || chat.title.toLowerCase().includes(wanted)) return true;
  return Object.values(chat.turns).some((turn) => turn.text.toLowerCase().includes(wanted));
}
