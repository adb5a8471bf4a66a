// Keys of the whole page, and the list of them.

import { find, make } from "./dom.js";

const KEYS = [
  ["stop", "Escape", "Esc", "stop the answer"],
  ["fresh", "Alt+KeyN", "Alt+N", "new chat"],
  ["again", "Alt+KeyG", "Alt+G", "answer again"],
  ["edit", "Alt+KeyE", "Alt+E", "word the last question anew"],
  ["copy", "Alt+KeyY", "Alt+Y", "copy the last answer"],
  ["chats", "Alt+KeyC", "Alt+C", "chats"],
  ["settings", "Alt+KeyB", "Alt+B", "system text, sampling and depth"],
  ["live", "Alt+KeyL", "Alt+L", "live view"],
  ["end", "Alt+End", "Alt+End", "newest text"],
  ["prompt", "Slash", "/", "to the question"],
];
const MORE = [["Enter", "send"], ["Shift+Enter", "a new line"], ["↑", "in an empty field: word the last question anew"], ["?", "these keys"]];

export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches("input, textarea, select");
    if (event.key === "?" && !isTyping) { event.preventDefault(); keysHelp(); return; }
    const pressed = `${event.altKey ? "Alt+" : ""}${event.code}`;
    const key = KEYS.find(([, code]) => code === pressed);
    if (!key || (isTyping && !event.altKey && key[0] !== "stop")) return;
    event.preventDefault();
    actions[key[0]]();
  });
}

export function keysHelp() {
  const rows = [...MORE, ...KEYS.map(([, , name, words]) => [name, words])];
  find("keys").replaceChildren(...rows.flatMap(([name, words]) => [make("dt", { textContent: name }), make("dd", { textContent: words })]));
  find("help-dialog").showModal();
}
