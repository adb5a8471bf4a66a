// A conversation as a tree of turns, as the app keeps them: another answer, or another wording of a
// question, is a sibling. Every change returns a new chat. Knows no page and no storage.

export const SETTINGS = { system: "", temperature: "", top_p: "", top_k: "", min_p: "", seed: "", max_tokens: "", depth: "auto", mode: "token" };

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export function emptyChat(settings = SETTINGS, now = Date.now()) {
  return { id: newId(), title: "", created: now, changed: now, turns: {}, chosen: {}, leaf: null, settings: { ...SETTINGS, ...settings } };
}

export function path(chat, leaf = chat.leaf) {
  const turns = [];
  for (let at = leaf; at !== null && at !== undefined; at = chat.turns[at].parent) turns.unshift(chat.turns[at]);
  return turns;
}

export function siblings(chat, turn) {
  return Object.values(chat.turns).filter((each) => each.parent === turn.parent);
}

export function withTurn(chat, turn, now = Date.now()) {
  const title = chat.title || (turn.role === "user" ? titleFor(turn.text) : "");
  return showing({ ...chat, title, turns: { ...chat.turns, [turn.id]: turn } }, turn.id, now);
}

export function withChanged(chat, turn, now = Date.now()) {
  return { ...chat, changed: now, turns: { ...chat.turns, [turn.id]: turn } };
}

// The branch through a turn, below it the one that was shown there last.
export function showing(chat, id, now = Date.now()) {
  const chosen = { ...chat.chosen };
  for (const turn of path(chat, id)) chosen[turn.parent] = turn.id;
  let leaf = id;
  for (;;) {
    const below = Object.values(chat.turns).filter((turn) => turn.parent === leaf);
    if (!below.length) break;
    leaf = below.some((turn) => turn.id === chosen[leaf]) ? chosen[leaf] : below.at(-1).id;
  }
  return { ...chat, changed: now, leaf, chosen };
}

// Two states of one chat, such as two pages keep: all turns of both, and all else as in the first.
export function joined(chat, other) {
  if (!other) return chat;
  const turns = { ...other.turns, ...chat.turns };
  for (const [id, turn] of Object.entries(other.turns)) turns[id] = laterOf(turns[id], turn);
  return { ...other, ...chat, turns, chosen: { ...other.chosen, ...chat.chosen } };
}

// Of two states of a turn the one that knows more; whoever only found it half written knows least.
function laterOf(turn, other) {
  const known = ({ status, isLeft, text, reasoning = "" }) => [isLeft ? 0 : status === "writing" ? 1 : 2, text.length + reasoning.length];
  const [one, two] = [known(turn), known(other)];
  return two[0] > one[0] || (two[0] === one[0] && two[1] > one[1]) ? other : turn;
}

// A turn that is still written shows as cut where it isn't written: its page was left, or is another one.
export function mended(chat, writing) {
  const turns = { ...chat.turns };
  for (const turn of Object.values(turns)) {
    if (turn.status !== "writing" || turn.id === writing) continue;
    turns[turn.id] = { ...turn, status: "cut", isLeft: true, note: "its page was left, or is still writing it" };
  }
  return { ...chat, turns };
}

export function titleFor(question) {
  const words = (question.split("\n").find((line) => line.trim()) ?? "").trim().replace(/\s+/g, " ");
  return words.length <= 48 ? words : `${words.slice(0, 47)}…`;
}

// What the server is asked: the turns before an answer, and the settings that are not left open.
export function requestFor(chat, questionId, model) {
  const { system, depth, mode, ...numbers } = chat.settings;
  const messages = path(chat, questionId).map((turn) => ({
    role: turn.role, content: turn.text, ...(turn.role === "assistant" && turn.reasoning ? { reasoning_content: turn.reasoning } : {}),
  }));
  if (system) messages.unshift({ role: "system", content: system });
  const chosen = Object.entries(numbers).filter(([, value]) => value !== "").map(([key, value]) => [key, Number(value)]);
  return {
    model, messages, stream: true, stream_options: { include_usage: true },
    depth: depth === "auto" ? "auto" : Number(depth), mode, ...Object.fromEntries(chosen),
  };
}

export function asMarkdown(chat) {
  const parts = [`# ${chat.title || "Chat"}`, `*${new Date(chat.created).toISOString()}*`];
  if (chat.settings.system) parts.push("## System", chat.settings.system);
  for (const turn of path(chat)) {
    parts.push(turn.role === "user" ? "## You" : `## ${turn.model || "Model"}`);
    if (turn.reasoning) parts.push("<details><summary>Thought</summary>", turn.reasoning.trim(), "</details>");
    if (turn.text) parts.push(turn.text);
    if (turn.role === "assistant") parts.push(`*${factsOf(turn)}*`);
  }
  return `${parts.join("\n\n")}\n`;
}

export function factsOf(turn) {
  const parts = [];
  if (turn.status === "stopped") parts.push("stopped");
  if (turn.status === "cut") parts.push(`cut: ${turn.note || "the connection ended"}`);
  if (turn.status === "failed") parts.push(`failed: ${turn.note || "no reason was given"}`);
  const facts = turn.facts ?? {};
  if (facts.tokens_per_s) parts.push(`${facts.tokens_per_s.toFixed(1)} tok/s`);
  if (facts.tokens_per_cycle) parts.push(`${facts.tokens_per_cycle.toFixed(1)} tokens/cycle`);
  if (facts.depth !== undefined) parts.push(`depth ${facts.depth}`);
  if (facts.tokens) parts.push(`${facts.tokens.toLocaleString("en")} token${facts.tokens === 1 ? "" : "s"}`);
  if (facts.cached) parts.push(`${facts.cached.toLocaleString("en")} of ${facts.prompt.toLocaleString("en")} prompt tokens reused`);
  if (typeof facts.saved_s === "number") parts.push(savingOf(facts));
  return parts.join(" · ");
}

function savingOf({ saved_s: saved, saved_doubt_s: doubt }) {
  const size = `${Math.abs(saved).toFixed(2)} ± ${doubt.toFixed(2)} s`;
  if (Math.abs(saved) <= doubt) return `no sure saving (${saved < 0 ? "-" : ""}${size})`;
  return `${saved > 0 ? "saved" : "lost"} ${size}`;
}
