// The page: chats on the left, the conversation, the engine's live view on the right.

import { Refused, answer, loadedModel, renew, setDepth, showKey } from "./api.js";
import { asMarkdown, emptyChat, joined, mended, newId, path, requestFor, showing, withChanged, withTurn } from "./chat.js";
import { ChatList } from "./chat_list.js";
import { copy, download, find } from "./dom.js";
import { keysHelp, listen } from "./keys.js";
import { Live } from "./live.js";
import { Settings } from "./settings.js";
import { Store } from "./store.js";
import { startTheme } from "./theme.js";
import { Turns } from "./turns.js";

const BUSY = "an answer is still being written; Esc stops it";
const DRAW_MS = 60;
const SAVE_MS = 500;
const RETRY_MS = 3000;

class App {
  constructor() {
    this.store = new Store((id) => this.changedElsewhere(id));
    this.chat = emptyChat();
    this.model = undefined; // null, once the server has said that there is none
    this.running = null;
    this.beginning = null;
    this.turns = new Turns(find("turns"), find("to-end"), (name, turn, detail) => this.act(name, turn, detail));
    this.list = new ChatList(find("chat-list"), this.store, {
      open: (chat) => this.open(chat), remove: (chat) => this.remove(chat), exported: (chat) => this.exportChat(chat),
    });
    this.live = new Live(find("live"), {
      state: (word) => this.setState(word), modelChanged: () => this.lookForModel(), refused: () => this.begin(),
    });
  }

  async start() {
    startTheme(find("theme"));
    this.opened = this.#openChats();
    this.#wire();
    await this.opened;
    await this.begin();
  }

  async #openChats() {
    await this.store.open();
    const remembered = this.store.get(this.store.shown);
    if (remembered) this.chat = mended(this.#withLeft(remembered));
    else this.chat = emptyChat(this.store.all()[0]?.settings && { ...this.store.all()[0].settings, system: "" });
    this.settings = new Settings(find("settings"), (settings) => this.setSettings(settings));
    this.settings.show(this.chat.settings);
    this.show();
  }

  // The chat with all that its answer said until this page was left.
  #withLeft(chat) {
    const turn = this.store.left;
    if (!turn || !chat.turns[turn.id]) return chat;
    const whole = joined(chat, { turns: { [turn.id]: turn } });
    this.store.put(whole);
    return whole;
  }

  // Connects, however long it takes; asks for the key where the server wants it.
  begin() {
    this.beginning ??= this.#begin().finally(() => { this.beginning = null; });
    return this.beginning;
  }

  async #begin() {
    for (let isThere = false; !isThere;) {
      try {
        this.model = await loadedModel();
        isThere = true;
      } catch (error) {
        if (error.status === 401) { await this.#admitted(); continue; }
        this.setState("not connected");
        await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
      }
    }
    if (this.hasBegun) await renew().catch(() => {});
    this.hasBegun = true;
    this.showModel();
    this.live.connect();
  }

  #admitted() {
    const dialog = find("key-dialog"), trouble = find("key-trouble"), field = find("key");
    return new Promise((resolve) => {
      // A browser lets a person dismiss any dialog; without the key there is nothing behind it.
      dialog.onclose = () => dialog.showModal();
      find("key-send").onclick = async (event) => {
        event.preventDefault();
        try {
          await showKey(field.value.trim());
          field.value = "";
          dialog.onclose = null;
          dialog.close();
          resolve();
        } catch (error) {
          trouble.textContent = error.message;
          trouble.hidden = false;
        }
      };
      if (!dialog.open) dialog.showModal();
    });
  }

  async lookForModel() {
    try {
      this.model = await loadedModel();
      this.showModel();
    } catch { /* the live view tells that the server is gone */ }
  }

  setState(word) {
    find("state").textContent = word;
    find("state").dataset.state = word;
  }

  showModel() {
    find("model").textContent = this.model?.id ?? "no model";
    this.settings.offer(this.model);
    this.show();
  }

  show() {
    const held = document.activeElement;
    this.turns.show(this.chat, this.model);
    this.list.show(this.chat);
    find("send").hidden = this.running !== null;
    find("stop").hidden = this.running === null;
    const isLost = document.activeElement === document.body || !document.activeElement.checkVisibility();
    if (held !== document.body && isLost) find(this.running ? "stop" : "send").focus();
    this.tell(this.store.problem);
  }

  tell(text) {
    find("trouble").textContent = text;
    find("trouble").hidden = !text;
  }

  // Chats

  open(chat) {
    if (this.running) { this.tell(BUSY); return; }
    this.chat = mended(chat);
    this.store.shown = chat.id;
    this.turns.follows = true;
    this.settings.show(chat.settings);
    this.show();
    if (NARROW.matches && !find("chats").hidden) toggle("chats");
    find("prompt").focus();
  }

  async newChat() {
    await this.opened;
    this.open(emptyChat({ ...this.chat.settings, system: "" }));
  }

  async remove(chat) {
    if (this.running && chat.id === this.chat.id) { this.open(chat); return; }
    await this.store.remove(chat.id);
    if (chat.id === this.chat.id) this.newChat();
    this.show();
  }

  exportChat(chat) {
    const name = (chat.title || "chat").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60) || "chat";
    download(`${name}.md`, asMarkdown(chat), "text/markdown");
  }

  exportAll() {
    const content = { format: 1, chats: this.store.all() };
    download("mtplx-tui-chats.json", `${JSON.stringify(content, null, 2)}\n`, "application/json");
  }

  setSettings(settings) {
    const wasDepth = this.chat.settings.depth;
    this.chat = { ...this.chat, settings };
    if (Object.keys(this.chat.turns).length) this.store.put(this.chat);
    if (this.running?.request && wasDepth !== settings.depth) {
      const depth = settings.depth === "auto" ? "auto" : Number(settings.depth);
      setDepth(this.running.request, depth).catch((error) => this.tell(error.message));
    }
  }

  // Another page of this browser has kept or deleted a chat; one that is shown here stays.
  changedElsewhere(id) {
    const kept = this.store.get(id);
    if (id === this.chat.id && kept) this.chat = mended(joined(this.chat, kept), this.running?.turn);
    this.show();
  }

  // Asking

  // Returns whether it was done: not while an answer is written.
  act(name, turn, detail) {
    if (this.running) { this.tell(BUSY); return false; }
    if (name === "select") {
      this.chat = showing(this.chat, turn.id);
      this.store.put(this.chat);
      this.show();
      this.turns.focusBranch(turn.id, detail);
    }
    if (name === "edit") this.ask(detail, turn.parent);
    if (name === "regenerate") this.#answer(turn.parent);
    return true;
  }

  // A question may come before the chats are read: it waits, so that the chat it is put in stays.
  async ask(text, parent) {
    await this.opened;
    if (this.running || !text.trim()) return;
    const question = { id: newId(), parent: parent === undefined ? this.chat.leaf : parent, role: "user", text, status: "done" };
    this.chat = withTurn(this.chat, question);
    this.#answer(question.id);
  }

  again() {
    const last = path(this.chat).at(-1);
    if (last?.role === "assistant") this.act("regenerate", last);
  }

  async #answer(questionId) {
    const running = this.running = { stopping: new AbortController(), request: null, turn: newId() };
    if (!this.model) await this.lookForModel();
    let turn = { id: running.turn, parent: questionId, role: "assistant", text: "", reasoning: "", status: "writing", model: this.model?.id ?? "", progress: "waiting for the engine" };
    this.chat = withTurn(this.chat, turn);
    this.store.shown = this.chat.id;
    this.turns.follows = true;
    this.show();
    this.store.put(this.chat);
    let drawnAt = 0, savedAt = Date.now();
    const keep = (later) => {
      turn = later;
      this.chat = withChanged(this.chat, turn);
      const now = Date.now();
      if (now - drawnAt > DRAW_MS) { drawnAt = now; this.turns.update(turn); }
      else this.pending ??= setTimeout(() => { this.pending = null; this.turns.update(this.chat.turns[turn.id] ?? turn); }, DRAW_MS);
      if (now - savedAt > SAVE_MS) { savedAt = now; this.store.put(this.chat); }
    };
    // What is shown as over is kept, since the page may be left at once, and another one may be asked for.
    const end = async (later) => {
      await this.store.put(withChanged(this.chat, later));
      clearTimeout(this.pending);
      this.pending = null;
      this.chat = withChanged(this.chat, later);
      this.running = null;
      this.show();
    };
    try {
      for await (const chunk of answer(requestFor(this.chat, questionId, this.model?.id ?? "none"), running.stopping.signal)) {
        keep(taken(turn, chunk));
        if (running.request === null && chunk.mtplx?.request) {
          running.request = chunk.mtplx.request;
          // The engine knows each choice of a request by a name of its own; this one has one.
          this.live.follow(`${running.request}.0`);
        }
      }
      await end({ ...turn, status: "done", progress: "" });
    } catch (error) {
      await end(broken(turn, error));
      if (error.status === 401) this.begin();
    }
  }

  stop() {
    this.running?.stopping.abort();
  }

  #wire() {
    const prompt = find("prompt");
    const fit = () => { prompt.style.height = "auto"; prompt.style.height = `${prompt.scrollHeight + 2}px`; };
    const send = () => {
      if (this.running || !prompt.value.trim()) return;
      const text = prompt.value;
      prompt.value = "";
      fit();
      this.ask(text);
    };
    prompt.addEventListener("input", fit);
    prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
      if (event.key === "ArrowUp" && !prompt.value) { event.preventDefault(); this.turns.editLast(); }
    });
    find("ask").addEventListener("submit", (event) => { event.preventDefault(); send(); });
    find("stop").addEventListener("click", () => this.stop());
    find("new").addEventListener("click", () => this.newChat());
    find("export-all").addEventListener("click", () => this.exportAll());
    find("search").addEventListener("input", (event) => this.list.show(this.chat, event.target.value));
    find("help").addEventListener("click", () => keysHelp());
    for (const side of ["chats", "settings", "live"]) find(`show-${side}`).addEventListener("click", () => toggle(side));
    if (matchMedia("(min-width: 1100px)").matches) { toggle("live"); toggle("chats"); }
    listen({
      stop: () => this.stop(), fresh: () => this.newChat(), again: () => this.again(), edit: () => this.turns.editLast(),
      chats: () => toggle("chats"), settings: () => toggle("settings"), live: () => toggle("live"),
      prompt: () => prompt.focus(), copy: () => this.#copyLast(), end: () => this.turns.end(),
    });
    addEventListener("pagehide", () => { this.store.left = (this.running && this.chat.turns[this.running.turn]) ?? null; });
    prompt.focus();
  }

  #copyLast() {
    const last = path(this.chat).findLast((turn) => turn.role === "assistant");
    const pressed = [...document.querySelectorAll(".turn.assistant > .acts button")].filter((each) => each.textContent === "Copy").at(-1);
    if (last && pressed) copy(last.text, pressed);
  }
}

const NARROW = matchMedia("(max-width: 760px)");

function toggle(side) {
  const panel = find(side);
  panel.hidden = !panel.hidden;
  find(`show-${side}`).setAttribute("aria-expanded", String(!panel.hidden));
  if (panel.hidden || !NARROW.matches) return;
  for (const other of ["chats", "settings", "live"]) if (other !== side && !find(other).hidden) toggle(other);
}

function taken(turn, chunk) {
  const delta = chunk.choices[0]?.delta ?? {};
  const facts = chunk.mtplx?.choices ? factsFrom(chunk) : turn.facts;
  const finish = chunk.choices[0]?.finish_reason;
  return {
    ...turn, facts, progress: "",
    text: turn.text + (delta.content ?? ""),
    reasoning: turn.reasoning + (delta.reasoning_content ?? ""),
    note: finish === "length" ? "the limit of tokens" : turn.note,
  };
}

function factsFrom({ mtplx, usage }) {
  const told = mtplx.choices[0] ?? {};
  return {
    tokens: usage?.completion_tokens ?? 0, prompt: usage?.prompt_tokens ?? 0,
    cached: usage?.prompt_tokens_details?.cached_tokens ?? 0,
    tokens_per_s: told.tokens_per_s, tokens_per_cycle: told.tokens_per_cycle, depth: told.depth, seed: told.seed,
    saved_s: told.saved_s, saved_doubt_s: told.saved_doubt_s,
  };
}

function broken(turn, error) {
  if (error.name === "AbortError") return { ...turn, status: "stopped", progress: "" };
  const message = error instanceof Refused ? error.message : `the answer can't be read: ${error.message}`;
  return { ...turn, status: turn.text || turn.reasoning ? "cut" : "failed", note: message, progress: "" };
}

new App().start();
