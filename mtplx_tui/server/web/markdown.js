// Markdown to elements. What a model writes is never taken for HTML: all of it ends in text nodes.
// Images are shown as links, and links go to http, https and mailto alone.

import { button, copy, make } from "./dom.js";

const DEEPEST = 8;
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)(.*)$/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

export function blocksOf(text) {
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"));
}

function blocks(lines) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) { at += 1; continue; }
    const block = fence(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? quote(lines, at)
      ?? list(lines, at) ?? table(lines, at) ?? paragraph(lines, at);
    block.raw = lines.slice(at, block.end).join("\n");
    found.push(block);
    at = block.end;
  }
  return found;
}

function fence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  let end = at + 1;
  const close = new RegExp(`^ {0,3}${open[1][0]}{${open[1].length},}\\s*$`);
  while (end < lines.length && !close.test(lines[end])) end += 1;
  const code = lines.slice(at + 1, end).join("\n");
  return { kind: "code", language: open[2], code, end: Math.min(end + 1, lines.length) };
}

function heading(lines, at) {
  const match = HEADING.exec(lines[at]);
  return match && { kind: "heading", level: match[1].length, text: match[2], end: at + 1 };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { kind: "rule", end: at + 1 } : null;
}

function quote(lines, at) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  if (end === at) return null;
  return { kind: "quote", lines: lines.slice(at, end).map((line) => line.replace(QUOTE, "")), end };
}

function list(lines, at) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const isOrdered = /\d/.test(first[2]);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const match = ITEM.exec(lines[end]);
    if (!match || /\d/.test(match[2]) !== isOrdered || RULE.test(lines[end])) break;
    const indent = match[1].length + match[2].length + Math.min(Math.max(match[3].length, 1), 4);
    const item = [match[4]];
    end += 1;
    while (end < lines.length && goesOn(lines, end, indent)) {
      item.push(lines[end].slice(Math.min(indent, lines[end].search(/\S|$/))));
      end += 1;
    }
    items.push(item);
    while (end + 1 < lines.length && !lines[end].trim() && ITEM.test(lines[end + 1])) end += 1;
  }
  return { kind: "list", isOrdered, start: parseInt(first[2], 10), items, end };
}

function goesOn(lines, at, indent) {
  const line = lines[at];
  if (!line.trim()) {
    const next = lines[at + 1];
    return next !== undefined && next.trim() !== "" && next.search(/\S/) >= Math.min(indent, 2);
  }
  if (line.search(/\S/) >= Math.min(indent, 2)) return true;
  return lines[at - 1].trim() !== "" && !startsBlock(lines, at);
}

function startsBlock(lines, at) {
  const line = lines[at];
  return [FENCE, HEADING, RULE, QUOTE, ITEM].some((form) => form.test(line)) || table(lines, at) !== null;
}

function table(lines, at) {
  const under = lines[at + 1];
  if (!lines[at].includes("|") || under === undefined || !under.includes("-") || !TABLE_RULE.test(under)) return null;
  const sides = cells(under).map((cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "");
  const head = cells(lines[at]);
  if (head.length !== sides.length) return null;
  let end = at + 2;
  const rows = [];
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) rows.push(cells(lines[end++]));
  return { kind: "table", head, sides, rows, end };
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !startsBlock(lines, end)) end += 1;
  return { kind: "paragraph", text: lines.slice(at, end).join("\n"), end };
}

export function element(block, depth = 0) {
  switch (block.kind) {
    case "code": return codeBlock(block);
    case "heading": return inline(make(`h${block.level}`), block.text);
    case "rule": return make("hr");
    case "quote": return nested(make("blockquote"), block.lines, depth);
    case "list": return listElement(block, depth);
    case "table": return tableElement(block);
    default: return inline(make("p"), block.text);
  }
}

function nested(parent, lines, depth) {
  if (depth >= DEEPEST) parent.append(lines.join("\n"));
  else parent.append(...blocks(lines).map((block) => element(block, depth + 1)));
  return parent;
}

function listElement(block, depth) {
  const made = make(block.isOrdered ? "ol" : "ul");
  if (block.isOrdered) made.start = block.start;
  for (const item of block.items) {
    const child = nested(make("li"), item, depth);
    const only = child.firstElementChild;
    // A tight item is a line, not a paragraph of its own.
    if (only?.tagName === "P") only.replaceWith(...only.childNodes);
    made.append(child);
  }
  return made;
}

function codeBlock(block) {
  const code = make("code", {}, block.code);
  const copying = button("Copy", () => copy(code.textContent, copying));
  const head = make("div", { className: "head" }, make("span", { textContent: block.language || "text" }), copying);
  return make("div", { className: "code" }, head, make("pre", { tabIndex: 0 }, code));
}

function tableElement(block) {
  const row = (texts, name) => make("tr", {}, ...block.sides.map((side, at) =>
    inline(make(name, { className: side }), texts[at] ?? "")));
  const body = make("tbody", {}, ...block.rows.map((texts) => row(texts, "td")));
  return make("div", { className: "table" },
    make("table", {}, make("thead", {}, row(block.head, "th")), body));
}

const INLINE = [
  [/\\([\\`*_{}[\]()#+\-.!~|<>])/y, (match) => match[1]],
  [/(`{1,3})([^\n]*?[^`\n])\1(?!`)/y, (match) => make("code", { textContent: match[2].trim() || match[2] })],
  [/\*\*(?=\S)([^\n]*?[^\s*])\*\*(?!\*)/y, (match, depth) => inline(make("strong"), match[1], depth)],
  [/__(?=\S)([^\n]*?[^\s_])__(?!\w)/y, (match, depth) => inline(make("strong"), match[1], depth), true],
  [/\*(?=[^\s*])([^*\n]*[^*\s])\*/y, (match, depth) => inline(make("em"), match[1], depth)],
  [/_(?=[^\s_])([^_\n]*[^_\s])_(?!\w)/y, (match, depth) => inline(make("em"), match[1], depth), true],
  [/~~(?=\S)([^\n]*?\S)~~/y, (match, depth) => inline(make("del"), match[1], depth)],
  [/!?\[([^\]\n]{0,500})\]\(\s*<?([^\s<>)]{1,2000})>?(?:\s+"[^"\n]{0,200}")?\s*\)/y,
    (match, depth) => link(match[2], match[1] || match[2], match[0], depth)],
  [/<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y, (match, depth) => link(match[1], match[1], match[0], depth)],
  [/https?:\/\/[^\s<>()"'`]{1,2000}(?<![.,;:!?*_~])/y, (match, depth) => link(match[0], match[0], match[0], depth), true],
];
const PLAIN = /[^\\`*_~![<h\n]+/y;

function inline(parent, text, depth = 0) {
  let at = 0;
  let run = "";
  const flush = () => { if (run) parent.append(run); run = ""; };
  while (at < text.length) {
    const plain = matchAt(PLAIN, text, at);
    if (plain) { run += plain[0]; at += plain[0].length; continue; }
    if (text[at] === "\n") { flush(); parent.append(make("br")); at += 1; continue; }
    const [match, made] = depth < DEEPEST ? special(text, at, depth) : [null, null];
    if (match) { flush(); parent.append(made); at += match[0].length; } else { run += text[at]; at += 1; }
  }
  flush();
  return parent;
}

function special(text, at, depth) {
  const isInWord = at > 0 && /\w/.test(text[at - 1]);
  for (const [form, build, needsEdge] of INLINE) {
    if (needsEdge && isInWord) continue;
    const match = matchAt(form, text, at);
    if (match) return [match, build(match, depth + 1)];
  }
  return [null, null];
}

function matchAt(form, text, at) {
  form.lastIndex = at;
  return form.exec(text);
}

function link(address, text, raw, depth) {
  let target;
  try { target = new URL(address); } catch { return raw; }
  if (!["http:", "https:", "mailto:"].includes(target.protocol)) return raw;
  const made = make("a", { href: target.href, target: "_blank", rel: "noopener noreferrer" });
  if (text === address) made.append(text); else inline(made, text, Math.max(depth, DEEPEST - 1));
  return made;
}

// Adds what came to code that is shown, in which a person may scroll, select and copy; returns whether it is that.
function grow(shown, before, block) {
  if (before?.kind !== "code" || block?.kind !== "code" || before.language !== block.language) return false;
  // It is shorter by its last line's end, and by what turned out to be the fence, once that is whole.
  const kept = Math.min(before.code.length, block.code.length);
  if (before.code.slice(0, kept) !== block.code.slice(0, kept)) return false;
  shown.querySelector("code").firstChild.replaceData(kept, before.code.length - kept, block.code.slice(kept));
  return true;
}

// Shows a growing text in an element; blocks that did not change are left as they are.
export class Page {
  constructor(parent) {
    this.parent = parent;
    this.shown = [];
  }

  show(text) {
    const found = blocksOf(text);
    let same = 0;
    while (same < found.length && same < this.shown.length && found[same].raw === this.shown[same].raw) same += 1;
    if (grow(this.parent.children[same], this.shown[same], found[same])) same += 1;
    while (this.parent.children.length > same) this.parent.lastElementChild.remove();
    this.parent.append(...found.slice(same).map((block) => element(block)));
    this.shown = found;
  }
}
