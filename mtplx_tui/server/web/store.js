// Chats in the browser's own storage. Where it can't be used they live as long as the page.

const NAME = "mtplx-tui";
const TABLE = "chats";

export class Store {
  constructor() {
    this.memory = new Map();
    this.problem = "";
    this.database = null;
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

  async put(chat) {
    this.memory.set(chat.id, chat);
    await this.#write((table) => table.put(chat));
  }

  async remove(id) {
    this.memory.delete(id);
    await this.#write((table) => table.delete(id));
  }

  async #write(action) {
    if (this.database === null) return;
    try {
      await this.#asked("readwrite", action);
      this.problem = "";
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
