// What the next answers of a chat are made with. An empty field leaves it to the model.

import { SETTINGS } from "./chat.js";
import { button, make } from "./dom.js";

const NUMBERS = [
  ["temperature", "Temperature", 0, 2, 0.05], ["top_p", "Top p", 0, 1, 0.01], ["top_k", "Top k", 0, 1000, 1],
  ["min_p", "Min p", 0, 1, 0.01], ["max_tokens", "Most tokens", 1, 1000000, 1], ["seed", "Seed", 0, Number.MAX_SAFE_INTEGER, 1],
];
const LEFT_OPEN = { max_tokens: "up to the context", seed: "random" };

export class Settings {
  // `changed(settings)` is called after each valid change.
  constructor(parent, changed) {
    this.parent = parent;
    this.changed = changed;
    this.fields = {};
  }

  show(settings, model) {
    const fields = make("div", { className: "fields" });
    fields.append(this.#field("system", "System text", make("textarea", { rows: 2, placeholder: "The chat template's own" }), "wide"));
    const depths = ["auto", ...Array.from({ length: (model?.max_depth ?? 8) + 1 }, (_, at) => String(at))];
    fields.append(this.#field("depth", "Depth (0 is plain decoding)", choice(depths)));
    fields.append(this.#field("mode", "Mode (all are exact)", choice(model?.modes ?? ["token", "block", "seeded"])));
    for (const [name, label, min, max, step] of NUMBERS) {
      const placeholder = LEFT_OPEN[name] ?? String(model?.sampling?.[name] ?? "");
      fields.append(this.#field(name, label, make("input", { type: "number", min, max, step: Number.isInteger(step) ? 1 : "any", placeholder })));
    }
    const reset = button("As the model has them", () => { this.show(SETTINGS, model); this.changed({ ...SETTINGS }); });
    fields.append(make("div", { className: "reset" }, reset));
    this.parent.replaceChildren(fields);
    for (const [name, field] of Object.entries(this.fields)) field.value = settings[name] ?? SETTINGS[name];
  }

  #field(name, label, field, className = "") {
    field.name = name;
    field.addEventListener("input", () => this.#take());
    this.fields[name] = field;
    return make("label", { className }, label, field);
  }

  #take() {
    const fields = Object.values(this.fields);
    if (fields.some((field) => !field.checkValidity())) return;
    this.changed(Object.fromEntries(fields.map((field) => [field.name, field.value.trim?.() ?? field.value])));
  }
}

function choice(values) {
  return make("select", {}, ...values.map((value) => make("option", { value, textContent: value })));
}
