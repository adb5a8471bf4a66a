// The live view: what the engine says at /events, token by token, in the terminal's colours and marks.

import { make } from "./dom.js";
import { BONUS, PLAIN, RESIDUAL, RequestFacts, kindOf, wilson } from "./facts.js";

const DEPTH_MARKS = [..."⁰¹²³⁴⁵⁶⁷⁸"];
const MOST_TOKENS = 3000;
const KEPT = 12;
const RETRY_MS = 2000;

const markOf = (kind) => (kind === BONUS ? "⁺" : kind === RESIDUAL ? "⁻" : DEPTH_MARKS[kind]);
const classOf = (kind) => (kind === BONUS ? "bonus" : kind === RESIDUAL ? "residual" : kind === PLAIN ? "plain" : `depth-${kind}`);
const percent = (share) => `${Math.round(100 * share)}`;

export class Live {
  // `state(word)` hears of the engine's state, `modelChanged()` that another model may be there.
  constructor(parent, { state, modelChanged, refused }) {
    this.told = { state, modelChanged, refused };
    this.requests = new Map();
    this.shown = null;
    this.isPinned = false;
    this.source = null;
    this.#build(parent);
  }

  connect() {
    this.source?.close();
    const source = this.source = new EventSource("/events");
    const on = (name, take) => source.addEventListener(name, (event) => { take(JSON.parse(event.data)); this.#soon(); });
    on("snapshot", (data) => this.#begin(data));
    on("RequestStarted", (event) => this.#start(event));
    on("PrefillProgress", (event) => { const r = this.#request(event.request); r.facts.read = event.done; r.facts.promptTokens = event.total; });
    on("DepthSet", (event) => { this.#request(event.request).facts.depth = event.depth; });
    on("CycleDone", (event) => this.#cycle(event));
    on("RequestDone", (event) => this.#over(event));
    on("RequestFailed", (event) => this.#over(event));
    on("ModelLoaded", () => { this.told.state("ready"); this.told.modelChanged(); });
    on("LoadProgress", () => this.told.state("loading"));
    on("LoadFailed", () => { this.told.state("no model"); this.told.modelChanged(); });
    on("EngineStarted", () => this.told.state("no model"));
    on("gone", () => { this.told.state("stopped"); for (const each of this.requests.values()) each.facts.isRunning = false; });
    on("served", (data) => this.#served(data));
    on("lagged", (data) => { this.note.textContent = `${data.missed} events came too fast and were passed over`; });
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) { this.told.state("connecting"); return; }
      this.told.state("not connected");
      setTimeout(() => this.told.refused(), RETRY_MS);
    };
  }

  // Shows a request, and stays with it while it runs.
  follow(name) {
    this.#show(this.#request(name));
  }

  #build(parent) {
    this.pick = make("select", { className: "pick", ariaLabel: "Which answer is shown" });
    this.pick.addEventListener("change", () => { this.isPinned = true; this.#show(this.requests.get(this.pick.value)); });
    this.figures = { speed: make("dd", { id: "live-speed" }), perCycle: make("dd"), depth: make("dd") };
    this.legend = make("div", { className: "legend mono", id: "legend" });
    this.ribbon = make("div", { className: "ribbon mono", id: "ribbon", tabIndex: 0, ariaLabel: "Tokens, coloured by depth" });
    this.bars = make("div", { className: "bars", id: "bars" });
    this.served = make("ul", { className: "requests", id: "served" });
    this.note = make("p", { className: "faint" });
    const figure = (label, value) => make("div", {}, make("dt", { textContent: label }), value);
    parent.append(make("h2", { textContent: "Live" }), this.pick,
      make("dl", { className: "figures" }, figure("tokens/s", this.figures.speed),
        figure("tokens/cycle", this.figures.perCycle), figure("depth", this.figures.depth)),
      make("h2", { textContent: "Tokens" }), this.legend, this.ribbon, this.note,
      make("h2", { textContent: "Acceptance at each depth" }), this.bars,
      make("h2", { textContent: "Requests" }), this.served);
  }

  #request(name) {
    let known = this.requests.get(name);
    if (!known) {
      known = { facts: new RequestFacts(name), cycles: [] };
      this.requests.set(name, known);
      const old = [...this.requests.keys()].filter((each) => each !== this.shown?.facts.name && each !== name);
      while (this.requests.size > KEPT) this.requests.delete(old.shift());
    }
    return known;
  }

  #begin(data) {
    this.requests.clear();
    this.shown = null;
    this.told.state(data.state);
    for (const each of data.requests) {
      const request = this.#request(each.request);
      Object.assign(request.facts, { isRunning: each.is_running, depth: each.depth, promptTokens: each.prompt_tokens, read: each.prefilled });
      for (const cycle of each.cycles) { request.facts.take(cycle); request.cycles.push(cycle); }
      this.#show(request);
    }
    this.#served(data);
    this.told.modelChanged();
  }

  #start(event) {
    const request = this.#request(event.request);
    Object.assign(request.facts, { depth: event.depth, promptTokens: event.prompt_tokens });
    this.told.state("generating");
    if (!(this.isPinned && this.shown?.facts.isRunning)) { this.isPinned = false; this.#show(request); }
  }

  #cycle(cycle) {
    const request = this.#request(cycle.request);
    request.facts.take(cycle);
    request.cycles.push(cycle);
    if (request === this.shown) this.#appendCycle(cycle);
    else if (this.shown === null) this.#show(request);
  }

  #over(event) {
    this.#request(event.request).facts.isRunning = false;
    if (![...this.requests.values()].some((each) => each.facts.isRunning)) this.told.state("ready");
  }

  #show(request) {
    if (!request || request === this.shown) return;
    this.shown = request;
    this.lastKind = null;
    this.ribbon.replaceChildren();
    for (const cycle of request.cycles) this.#appendCycle(cycle);
    this.#soon();
  }

  #appendCycle(cycle) {
    const isAtEnd = this.ribbon.scrollHeight - this.ribbon.scrollTop - this.ribbon.clientHeight < 40;
    const nodes = cycle.emitted_pieces.map((piece, index) => this.#token(piece, kindOf(cycle, index)));
    const rejected = cycle.drafted_pieces.slice(cycle.accepted);
    if (rejected.length && cycle.emitted_pieces.length > cycle.accepted) nodes.push(drafts(rejected));
    this.ribbon.append(...nodes);
    while (this.ribbon.childElementCount > MOST_TOKENS) this.ribbon.firstElementChild.remove();
    if (isAtEnd) this.ribbon.scrollTop = this.ribbon.scrollHeight;
  }

  #token(piece, kind) {
    const text = piece.replaceAll("\n", "↵\n").replaceAll("\t", "⇥");
    const blanks = text.length - text.trimStart().length;
    const made = make("span", { className: `token ${classOf(kind)}` });
    if (kind !== this.lastKind) {
      const lead = text.includes("\n") ? 0 : blanks;
      made.append(text.slice(0, lead), make("span", { className: "mark", textContent: markOf(kind) }), text.slice(lead));
    } else made.append(text);
    this.lastKind = kind;
    return made;
  }

  #served({ live, recent }) {
    const shown = [...live].reverse().concat(recent).slice(0, 8);
    this.served.replaceChildren(...shown.map(servedLine));
    if (!shown.length) this.served.append(make("li", { className: "faint", textContent: "none yet" }));
  }

  // What may be picked; what is offered already stays, since the list may be open.
  #offer(names) {
    const offered = new Map(Array.from(this.pick.options, (option) => [option.value, option]));
    for (const [name, option] of offered) if (!names.includes(name)) option.remove();
    names.forEach((name, at) => {
      if (!offered.has(name)) this.pick.add(make("option", { value: name, textContent: name }), at);
    });
  }

  #soon() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.#draw(); });
  }

  #draw() {
    const facts = this.shown?.facts ?? new RequestFacts("");
    const names = [...this.requests.keys()].reverse();
    if (this.names !== names.join()) {
      this.names = names.join();
      this.#offer(names);
    }
    this.pick.hidden = names.length < 2;
    if (this.shown) this.pick.value = facts.name;
    this.figures.speed.textContent = facts.tokensPerS?.toFixed(1) ?? "–";
    this.figures.perCycle.textContent = facts.tokensPerCycle?.toFixed(2) ?? "–";
    this.figures.depth.textContent = this.shown ? facts.depthWords : "–";
    this.legend.replaceChildren(...legend(facts));
    this.bars.replaceChildren(...bars(facts));
  }
}

function drafts([rejected, ...unjudged]) {
  const texts = [make("s", { textContent: rejected.trim() || "␣" }), unjudged.map((each) => ` ${each.trim() || "␣"}`).join("")];
  return make("span", { className: "rejected", title: "Rejected; what was drafted behind it was not judged" }, "‹", ...texts, "›");
}

function legend(facts) {
  const entry = (kind, word) => make("span", { className: classOf(kind) }, `${markOf(kind)}${word} ${facts.kinds[kind].toLocaleString("en")}`);
  const depths = facts.depthsAccepted;
  const entries = Array.from({ length: depths }, (_, at) => entry(at + 1, ""));
  if (depths) entries.push(entry(BONUS, "bonus"), entry(RESIDUAL, "residual"));
  if (facts.kinds[PLAIN] || !depths) entries.push(entry(PLAIN, "plain"));
  if (depths) entries.push(make("span", { className: "rejected" }, "‹", make("s", { textContent: "rejected" }), `› ${facts.rejected.toLocaleString("en")}`));
  return entries;
}

function bars(facts) {
  const depths = facts.depthsJudged;
  if (!depths) return [make("span", { className: "faint", textContent: facts.cycles ? "plain decoding drafts nothing" : "nothing drafted yet" })];
  return Array.from({ length: depths }, (_, at) => bar(at + 1, facts.acceptedAt[at], facts.reachedAt[at])).flat();
}

function bar(depth, accepted, reached) {
  const color = `depth-${depth}`;
  const [low, high] = wilson(accepted, reached);
  const share = reached ? accepted / reached : 0;
  const track = make("span", { className: `track ${color}` }, make("span", { className: "doubt" }), make("span", { className: "full" }));
  track.style.setProperty("--share", `${100 * share}%`);
  track.style.setProperty("--high", `${reached ? 100 * high : 0}%`);
  return [make("span", { className: color, textContent: DEPTH_MARKS[depth] }), track,
    make("strong", { textContent: reached ? `${percent(share)} %` : "" }),
    make("span", { className: "counts", textContent: reached ? `${accepted}/${reached} · ${percent(low)}–${percent(high)}` : "not reached" })];
}

function servedLine(each) {
  const parts = [each.phase];
  if (each.phase === "reading") parts.push(`${each.read_tokens}/${each.prompt_tokens}`);
  if (each.completion_tokens) parts.push(`${each.completion_tokens} tokens`);
  if (each.tokens_per_s) parts.push(`${each.tokens_per_s.toFixed(1)}/s`);
  return make("li", {}, `${each.id} ${each.api}`, make("span", { className: "phase", textContent: parts.join(" · ") }));
}

