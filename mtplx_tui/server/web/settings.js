// What the next answers of a chat are made with. An empty field leaves it to the model.

import { SETTINGS } from "./chat.js";
import { button, make } from "./dom.js";

const NUMBERS = [
  ["temperature", "Temperature", 0, 2, 0.05], ["top_p", "Top p", 0, 1, 0.01], ["top_k", "Top k", 0, 1000, 1],
  ["min_p", "Min p", 0, 1, 0.01], ["max_tokens", "Most tokens", 1, 1000000, 1], ["seed", "Seed", 0, Number.MAX_SAFE_INTEGER, 1],
];
const LEFT_OPEN = { max_tokens: "up to the context", seed: "random" };

// The fields stay the page's whole life: a model that loads must not take away the one being written in.
export class Settings {
  // `changed(settings)` is called after each valid change.
  constructor(parent, changed) {
    this.changed = changed;
    this.fields = {};
    const all = make("div", { className: "fields" });
    all.append(this.#field("system", "System text", make("textarea", { rows: 2, placeholder: "The chat template's own" }), "wide"));
    all.append(this.#field("depth", "Depth (0 is plain decoding)", make("select")));
    all.append(this.#field("mode", "Mode (all are exact)", make("select")));
    for (const [name, label, min, max, step] of NUMBERS) {
      all.append(this.#field(name, label, make("input", { type: "number", min, max, step: Number.isInteger(step) ? 1 : "any" })));
    }
    const reset = button("As the model has them", () => { this.show(SETTINGS); this.changed({ ...SETTINGS }); });
    all.append(make("div", { className: "reset" }, reset));
    this.offer(null);
    this.show(SETTINGS);
    parent.replaceChildren(all);
  }

  // A chat's settings. What the loaded model does not offer is shown all the same: it is what will be asked for.
  show(settings) {
    for (const [name, field] of Object.entries(this.fields)) {
      const value = settings[name] ?? SETTINGS[name];
      if (field.options && !valuesOf(field).includes(value)) field.append(option(value));
      field.value = value;
    }
  }

  // What a model lets one choose, and what it takes where a field is empty. What is chosen or being typed stays.
  offer(model) {
    choose(this.fields.depth, ["auto", ...Array.from({ length: (model?.max_depth ?? 8) + 1 }, (_, at) => String(at))]);
    choose(this.fields.mode, model?.modes ?? ["token", "block", "seeded"]);
    for (const [name] of NUMBERS) this.fields[name].placeholder = LEFT_OPEN[name] ?? String(model?.sampling?.[name] ?? "");
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

const option = (value) => make("option", { value, textContent: value });
const valuesOf = (field) => Array.from(field.options, (each) => each.value);

function choose(field, values) {
  const chosen = field.value;
  const offered = !chosen || values.includes(chosen) ? values : [...values, chosen];
  if (offered.join() === valuesOf(field).join()) return;
  field.replaceChildren(...offered.map(option));
  if (chosen) field.value = chosen;
}
