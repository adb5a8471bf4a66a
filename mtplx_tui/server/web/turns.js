// The turns of the conversation that is shown.

import { factsOf, path, siblings } from "./chat.js";
import { button, copy, make } from "./dom.js";
import { Page } from "./markdown.js";

const NEAR_END = 80;

export class Turns {
  // `act(name, turn, detail)` is called with edit, regenerate, select.
  constructor(parent, toEnd, act) {
    this.parent = parent;
    this.toEnd = toEnd;
    this.act = act;
    this.views = [];
    this.follows = true;
    parent.addEventListener("scroll", () => this.#look());
    toEnd.addEventListener("click", () => this.end());
  }

  show(chat, model) {
    const turns = path(chat);
    let same = 0;
    while (same < turns.length && this.views[same]?.turn.id === turns[same].id) same += 1;
    for (const view of this.views.splice(same)) view.element.remove();
    this.parent.querySelector(".welcome")?.remove();
    if (!turns.length) this.parent.append(welcome(model));
    turns.forEach((turn, at) => {
      if (!this.views[at]) {
        this.views[at] = new TurnView(this.act);
        this.parent.append(this.views[at].element);
      }
      this.views[at].show(turn, siblings(chat, turn));
    });
    if (this.follows) this.end();
  }

  // Shows a later state of the last turn alone.
  update(turn) {
    const view = this.views.at(-1);
    if (view?.turn.id !== turn.id) return;
    view.show(turn, view.branches);
    if (this.follows) this.end();
  }

  end() {
    this.follows = true;
    this.parent.scrollTop = this.parent.scrollHeight;
    this.toEnd.hidden = true;
  }

  // Gives the focus to the button of a turn's branches that was pressed, or to the other one at their end.
  focusBranch(id, label) {
    const view = this.views.find((each) => each.turn.id === id);
    const pressed = [...view?.element.querySelectorAll(".branches button:enabled") ?? []];
    (pressed.find((each) => each.ariaLabel === label) ?? pressed[0])?.focus();
  }

  editLast() {
    this.views.findLast((view) => view.turn.role === "user")?.edit();
  }

  #look() {
    const { scrollTop, clientHeight, scrollHeight } = this.parent;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.toEnd.hidden = this.follows;
  }
}

function welcome(model) {
  if (model === undefined) return make("div", { className: "welcome" }, make("h1", { textContent: "Connecting" }));
  return make("div", { className: "welcome" },
    make("h1", { textContent: model ? `Talk with ${model.id}` : "No model is loaded yet" }),
    make("p", { textContent: model
      ? model.has_head ? "It drafts with its own head; Live shows every token's fate." : "It has no head, so it decodes plainly."
      : "Load one in the app, or start serve with --model." }));
}

class TurnView {
  constructor(act) {
    this.act = act;
    this.turn = { id: null };
    this.branches = [];
    this.who = make("div", { className: "who" });
    this.thought = make("div", { className: "thought" });
    this.summary = make("summary");
    this.details = make("details", { hidden: true }, this.summary, this.thought);
    this.said = make("div", { className: "said" });
    this.facts = make("div", { className: "facts" });
    this.acts = make("div", { className: "acts" });
    this.element = make("article", {}, this.who, this.details, this.said, this.facts, this.acts);
    this.page = null;
  }

  show(turn, branches) {
    const isNew = turn.id !== this.turn.id || turn.status !== this.turn.status || branches.length !== this.branches.length;
    this.turn = turn;
    this.branches = branches;
    this.element.className = `turn ${turn.role} ${turn.status}`;
    this.element.dataset.turn = turn.id;
    if (isNew) this.#fillAround();
    if (turn.role === "user") this.said.textContent = turn.text;
    else this.#fillAnswer();
  }

  #fillAround() {
    const { turn, branches } = this;
    this.who.replaceChildren(turn.role === "user" ? "You" : turn.model || "Model");
    if (branches.length > 1) this.who.append(this.#branchPicker());
    if (turn.status === "writing") { this.acts.replaceChildren(); return; }
    const copying = button("Copy", () => copy(turn.text, copying));
    const other = turn.role === "user"
      ? button("Edit", () => this.edit())
      : button("Again", () => this.act("regenerate", turn), { title: "Another answer, as a branch beside this one" });
    this.acts.replaceChildren(copying, other);
  }

  #branchPicker() {
    const at = this.branches.findIndex((each) => each.id === this.turn.id);
    const to = (other, sign, label) => button(sign, () => this.act("select", this.branches[other], label),
      { disabled: !this.branches[other], "aria-label": label });
    return make("span", { className: "branches" }, to(at - 1, "‹", "The branch before"),
      `${at + 1}/${this.branches.length}`, to(at + 1, "›", "The next branch"));
  }

  #fillAnswer() {
    const { turn } = this;
    const isWriting = turn.status === "writing";
    this.details.hidden = !turn.reasoning;
    if (turn.reasoning) {
      const words = turn.reasoning.trim().split(/\s+/).length;
      this.summary.textContent = `${isWriting && !turn.text ? "Thinking" : "Thought"}, ${words.toLocaleString("en")} word${words === 1 ? "" : "s"}`;
      this.thought.textContent = turn.reasoning.trim();
    }
    this.page ??= new Page(this.said);
    this.page.show(turn.text);
    this.said.classList.toggle("writing", isWriting);
    this.facts.textContent = isWriting ? turn.progress ?? "" : factsOf(turn);
  }

  edit() {
    if (this.element.querySelector(".edit")) return;
    const area = make("textarea", { value: this.turn.text, ariaLabel: "The question, worded anew" });
    const close = () => {
      form.remove();
      this.said.hidden = this.acts.hidden = false;
      this.acts.lastElementChild?.focus();
    };
    const ask = () => { if (area.value.trim() && this.act("edit", this.turn, area.value)) close(); };
    const form = make("div", { className: "edit" }, area, make("div", { className: "acts" },
      button("Ask", ask, { className: "strong" }), button("Cancel", close)));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); close(); }
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
    });
    this.said.hidden = this.acts.hidden = true;
    this.said.after(form);
    area.focus();
  }
}
