// Chats in the browser's own storage, which all its pages share. Where it can't be used they live as
// long as the page.

import { joined } from "./chat.js";

const NAME = "mtplx-tui";
const TABLE = "chats";
const SHOWN = "chat";
const LEFT = "left";

export class Store {
  // `changed(id)` is called when another page has kept or deleted a chat.
  constructor(changed) {
    this.changed = changed;
    this.memory = new Map();
    this.problem = "";
    this.database = null;
    this.others = null;
  }

  async open() {
    try {
      this.database = await new Promise((resolve, reject) => {
        const opening = indexedDB.open(NAME, 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: "id" });
        opening.onsuccess = () => resolve(opening.result);
        opening.onerror = () => reject(opening.error);
        opening.onblocked = () => reject(new Error("another page holds it"));
      });
      this.#listen();
      for (const chat of await this.#asked("readonly", (table) => table.getAll())) this.memory.set(chat.id, chat);
    } catch (error) {
      this.#refused(error);
    }
  }

  all() {
    return [...this.memory.values()].sort((a, b) => b.changed - a.changed);
  }

  get(id) {
    return this.memory.get(id);
  }

  // Keeps a chat; what another page has kept of it in the meantime stays in it.
  async put(chat) {
    this.memory.set(chat.id, chat);
    await this.#write(chat.id, (table) => {
      const reading = table.get(chat.id);
      reading.onsuccess = () => table.put(joined(chat, reading.result));
      return reading;
    });
  }

  async remove(id) {
    this.memory.delete(id);
    await this.#write(id, (table) => table.delete(id));
  }

  // Which chat this very page shows, also after a reload.
  get shown() {
    try { return sessionStorage.getItem(SHOWN); } catch { return null; }
  }

  set shown(id) {
    try { sessionStorage.setItem(SHOWN, id); } catch { /* then a reload begins with a new one */ }
  }

  // The turn that was being written when this very page was left: the chats' storage is closed by then.
  get left() {
    try { return JSON.parse(sessionStorage.getItem(LEFT)); } catch { return null; }
  }

  set left(turn) {
    try { sessionStorage.setItem(LEFT, JSON.stringify(turn)); } catch { /* then its last half second is lost */ }
  }

  #listen() {
    try {
      this.others = new BroadcastChannel(NAME);
    } catch { return; /* then another page is seen at the next reload */ }
    this.others.onmessage = async ({ data: id }) => {
      const kept = await this.#asked("readonly", (table) => table.get(id)).catch(() => undefined);
      if (kept) this.memory.set(id, joined(kept, this.memory.get(id)));
      else this.memory.delete(id);
      this.changed(id);
    };
  }

  async #write(id, action) {
    if (this.database === null) return;
    try {
      await this.#asked("readwrite", action);
      this.problem = "";
      this.others?.postMessage(id);
    } catch (error) {
      this.#refused(error);
    }
  }

  #asked(mode, action) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(TABLE, mode);
      const request = action(transaction.objectStore(TABLE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
    });
  }

  #refused(error) {
    this.problem = `chats are kept only while this page is open: ${error?.message ?? error}`;
  }
}
