/** The entities as a tree, with values that stay up to date through watches. */

import { find, make } from "../shared/dom.js";
import { dayText, place, sleep } from "./elements.js";
import { NodeError } from "./link.js";

const PAGE_ITEMS = 100; // children that are shown before "Show more"
const MAX_WATCHES = 400;
const CHIPS = 3; // values of an entity in the tree
const STRUCTURE = ["Name", "Parent", "Children"];
const SCALARS = ["Int", "Float", "Bool", "Choice", "String"];
/** Kinds of values that a visitor with the right may set. */
const EDITABLE = { Int: parseInteger, Float: parseNumber, Bool: parseBool, String: (text) => text };

export const keyOf = (id) => `${id.typ}$${id.id}`;

/** One reading of all entities over one connection. After the connection ends, another one begins. */
export class EntityTree {
  /** `edit(entity, field, kind, value)` asks for a value and writes it; null if the visitor may not. */
  constructor(link, expanded, picked, edit) {
    Object.assign(this, { link, expanded, picked, edit });
    this.schemas = new Map(); // type -> its complete schema
    this.nodes = new Map(); // key -> entity in the tree
    this.watches = new Map(); // "key field" -> token
    this.waiting = new Map();
    this.ended = false;
    this.root = { key: "", id: null, children: null, list: find("tree"), most: PAGE_ITEMS, values: {} };
  }

  async begin() {
    const names = await this.allPages("StoreGetEntityTypes", {});
    await Promise.all(names.map(async (typ) => {
      this.schemas.set(typ, (await this.link.ask("StoreGetCompleteEntitySchema", { entity_type: typ })).response.Ok);
    }));
    await Promise.all(names.flatMap((typ) => STRUCTURE.filter((field) => this.isOwn(typ, field)).map((field) =>
      this.link.watch({ EntityType: { entity_type: typ, field_type: field, trigger_on_change: false, context: [] } },
        (notice) => this.onStructure(notice), () => this.again()))));
    await this.readChildren(this.root);
    if (this.picked) this.pick(this.picked);
  }

  end() {
    this.ended = true;
    for (const token of [...this.link.tokens.keys()]) this.link.unwatch(token);
  }

  /** Whether a type has a field, and no type that it inherits has it: a watch on a type is one on its heirs, too. */
  isOwn(typ, field) {
    const parents = [this.schemas.get(typ)?.inherit ?? []].flat();
    return this.has(typ, field) && !parents.some((parent) => this.has(parent, field));
  }

  fieldsOf(typ) { return this.schemas.get(typ)?.fields ?? {}; }
  has(typ, field) { return field in this.fieldsOf(typ); }
  infoOf(typ, field) { return Object.values(this.fieldsOf(typ)[field] ?? {})[0]; }
  kindOf(typ, field) { return Object.keys(this.fieldsOf(typ)[field] ?? {})[0]; }

  byRank(typ) {
    return Object.keys(this.fieldsOf(typ)).sort((a, b) => this.infoOf(typ, a).rank - this.infoOf(typ, b).rank || (a < b ? -1 : 1));
  }

  shownInTree(typ) {
    return this.byRank(typ).filter((name) => !STRUCTURE.includes(name) && SCALARS.includes(this.kindOf(typ, name))).slice(0, CHIPS);
  }

  async allPages(kind, fields, most = Infinity) {
    const items = [];
    let cursor = null;
    do {
      const page = (await this.link.ask(kind, { ...fields, page_opts: { limit: PAGE_ITEMS, cursor } })).response.Ok;
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== null && items.length < most);
    return items;
  }

  /** Call `act` once, shortly after the first of several reasons for it; again if there is a reason while it runs. */
  soon(key, act) {
    const isWaiting = this.waiting.has(key);
    this.waiting.set(key, act);
    if (isWaiting) return;
    (async () => {
      await sleep(60);
      while (this.waiting.get(key) && !this.ended) {
        const next = this.waiting.get(key);
        this.waiting.set(key, null);
        await next().catch(passOver);
      }
      this.waiting.delete(key);
    })();
  }

  /** The node has ended a watch, because the page was too slow or may no longer: the main loop begins another tree. */
  again() { this.ended = true; }

  onStructure({ entity_id, field_type, current_value, previous_value, omitted }) {
    const node = this.nodes.get(keyOf(entity_id));
    if (field_type === "Children") {
      if (node) this.soon(node.key, () => node.children ? this.readChildren(node) : this.readValues(node));
      return;
    }
    if (field_type === "Name" && node && current_value !== null) this.take(node, "Name", current_value);
    const atTop = (value) => value === null || value?.EntityReference === null;
    const isEnd = !omitted && (current_value === null || previous_value === null);
    if (field_type === "Parent" ? atTop(current_value) || atTop(previous_value) : isEnd) {
      this.soon("", () => this.readChildren(this.root));
    }
  }

  async readChildren(node) {
    let ids;
    try {
      ids = await this.allPages("StoreGetChildren", { entity_id: node.id }, node.most + 1);
    } catch (error) {
      if (error.code !== "EntityNotFound") throw error;
      return; // deleted meanwhile: a watch reports it
    }
    if (this.ended) return;
    const before = new Set(node.children);
    const fresh = [];
    node.children = ids.slice(0, node.most).map((id) => {
      const key = keyOf(id);
      before.delete(key);
      if (!this.nodes.has(key)) fresh.push(this.add(id));
      this.nodes.get(key).parent = node;
      return key;
    });
    for (const key of before) if (this.nodes.get(key)?.parent === node) this.forget(this.nodes.get(key));
    const items = node.children.map((key) => this.nodes.get(key).item);
    if (ids.length > node.most) items.push(make("li", {}, make("button", { textContent: "Show more", onclick: () => {
      node.most += PAGE_ITEMS;
      this.readChildren(node).catch(passOver);
    } })));
    if (node === this.root && !items.length) items.push(make("li", { className: "faint", textContent: "There are no entities." }));
    place(node.list, items);
    if (node !== this.root) this.showNode(node);
    await Promise.all(fresh.map((child) => this.readValues(child)));
    this.watchFields();
    await Promise.all(fresh.filter((child) => this.expanded.has(child.key)).map((child) => this.readChildren(child)));
  }

  add(id) {
    const node = { id, key: keyOf(id), values: {}, children: null, mayOpen: false, most: PAGE_ITEMS, parent: null };
    node.list = make("ul");
    node.toggle = make("button", { className: "toggle", onclick: () => this.toggle(node) });
    node.label = make("button", { className: "name", onclick: () => this.pick(node.key) });
    node.chips = make("span", { className: "chips" });
    node.row = make("div", { className: "row" }, node.toggle, node.label, make("span", { className: "faint", textContent: node.key }), node.chips);
    node.item = make("li", {}, node.row, node.list);
    this.nodes.set(node.key, node);
    return node;
  }

  forget(node) {
    for (const key of node.children ?? []) if (this.nodes.get(key)?.parent === node) this.forget(this.nodes.get(key));
    this.nodes.delete(node.key);
    node.item.remove();
    if (node.key === this.picked) this.showValues(node, `${node.key} is not in the tree any more.`);
    this.watchFields();
  }

  async toggle(node) {
    if (!this.expanded.delete(node.key)) {
      this.expanded.add(node.key);
      if (node.children === null) await this.readChildren(node).catch(passOver);
    }
    this.showNode(node);
    this.watchFields();
  }

  pick(key) {
    const before = this.nodes.get(this.picked);
    this.picked = key;
    if (before) this.showNode(before);
    const node = this.nodes.get(key);
    if (node) this.soon("values", () => this.readValues(node));
    this.watchFields();
  }

  namesOf(node) {
    const shown = this.shownInTree(node.id.typ);
    const all = node.key === this.picked ? this.byRank(node.id.typ) : shown;
    return all.filter((name) => !STRUCTURE.includes(name)); // the watches of the types report those
  }

  async readValues(node) {
    const names = this.namesOf(node);
    if (this.has(node.id.typ, "Name")) names.push("Name");
    if (this.has(node.id.typ, "Children")) names.push("Children->0:1");
    const reads = names.map((name) => ({ Read: { entity_id: node.id, field_type: name, value: null, write_time: null, writer_id: null } }));
    if (!reads.length) return this.showNode(node);
    let results;
    try {
      results = (await this.link.ask("StorePerform", { requests: reads })).response.Ok;
    } catch (error) {
      if (error.code === "EntityNotFound") return; // deleted meanwhile: a watch reports it
      throw error;
    }
    for (const { Read: read } of results) {
      if (read.field_type === "Children->0:1") node.mayOpen = read.value.EntityList.length > 0;
      else node.values[read.field_type] = read.value;
    }
    this.showNode(node);
    if (node.key === this.picked) this.showValues(node);
  }

  /** Watch the values that the page shows. */
  watchFields() {
    this.soon("fields", async () => {
      const wanted = new Map();
      const picked = this.nodes.get(this.picked);
      const rows = [...(picked ? [picked] : [])];
      const walk = (node) => {
        for (const key of node.children ?? []) {
          const child = this.nodes.get(key);
          if (!child) continue;
          rows.push(child);
          if (this.expanded.has(key)) walk(child);
        }
      };
      walk(this.root);
      for (const node of rows) for (const name of this.namesOf(node)) if (wanted.size < MAX_WATCHES) wanted.set(`${node.key} ${name}`, [node, name]);
      for (const [key, token] of this.watches) {
        if (wanted.has(key)) continue;
        this.watches.delete(key);
        this.link.unwatch(token);
      }
      const begun = new Set();
      await Promise.all([...wanted].filter(([key]) => !this.watches.has(key)).map(async ([key, [node, name]]) => {
        const config = { EntityId: { entity_id: node.id, field_type: name, trigger_on_change: false, context: [] } };
        try {
          const token = await this.link.watch(config, ({ current_value }) => this.take(node, name, current_value), () => this.again());
          this.watches.set(key, token);
          begun.add(node);
        } catch (error) {
          if (!["EntityNotFound", "TypeNotFound", "FieldNotFound"].includes(error.code)) throw error;
        }
      }));
      await Promise.all([...begun].map((node) => this.readValues(node))); // what changed before the watches began
    });
  }

  take(node, name, value) {
    if (value === null || this.nodes.get(node.key) !== node) return;
    node.values[name] = value;
    node.changed = (node.changed ?? new Set()).add(name);
    this.soon(`show ${node.key}`, async () => {
      const names = node.changed ?? new Set();
      node.changed = null;
      this.showNode(node, names);
      if (node.key === this.picked) this.showValues(node, undefined, names);
    });
  }

  showNode(node, flashing) {
    const isOpen = this.expanded.has(node.key);
    node.toggle.disabled = !node.mayOpen;
    node.toggle.setAttribute("aria-expanded", isOpen);
    node.toggle.setAttribute("aria-label", `${isOpen ? "Close" : "Open"} ${node.key}`);
    node.list.hidden = !isOpen;
    node.label.textContent = node.values.Name?.String || "(no name)";
    node.row.classList.toggle("picked", node.key === this.picked);
    node.chips.replaceChildren(...this.shownInTree(node.id.typ).map((name) => {
      const text = this.textOf(node.values[name], node.id.typ, name);
      const chip = make("span", { className: "chip", title: `${name}: ${text.slice(0, 1000)}` }, name, make("b", { textContent: text.slice(0, 200) }));
      if (flashing?.has(name)) flash(chip);
      return chip;
    }));
  }

  showValues(node, problem, flashing) {
    find("picked-name").textContent = node.values.Name?.String || "(no name)";
    find("picked-about").textContent = problem ?? node.key;
    const names = problem ? [] : this.byRank(node.id.typ).filter((name) => !STRUCTURE.includes(name));
    find("values").tBodies[0].replaceChildren(...names.map((name) => {
      const value = node.values[name];
      const text = this.textOf(value, node.id.typ, name);
      const kind = this.kindOf(node.id.typ, name);
      const row = make("tr", {}, make("td", { textContent: name }), make("td", {}, make("div", { textContent: text.slice(0, 20_000) })));
      const canSet = kind in EDITABLE && value;
      const button = canSet ? make("button", { textContent: "Set", ariaLabel: `Set ${name}`, onclick: () => this.edit(node, name, kind, text) }) : null;
      if (this.edit) row.append(make("td", {}, button));
      if (flashing?.has(name)) flash(row);
      return row;
    }));
  }

  textOf(value, typ, field) {
    if (value === null || value === undefined) return "…";
    const [[kind, content]] = Object.entries(value);
    switch (kind) {
      case "Choice": return this.infoOf(typ, field)?.choices?.[content] ?? `choice ${content}`;
      case "Timestamp": return dateText(content);
      case "Blob": return `${content.length} bytes`;
      case "EntityReference": return content === null ? "none" : this.named(content);
      case "EntityList": return content.length ? content.slice(0, 50).map((id) => this.named(id)).join(", ") : "none";
      default: return String(content);
    }
  }

  named(id) {
    const name = this.nodes.get(keyOf(id))?.values.Name?.String;
    return name ? `${name} (${keyOf(id)})` : keyOf(id);
  }
}

/** The value of a text that a visitor has typed. Throws a RangeError if it is none of this kind. */
export function typedValue(kind, text) {
  return { [kind]: EDITABLE[kind](text) };
}

function parseInteger(text) {
  if (!/^-?\d{1,15}$/.test(text.trim())) throw new RangeError("Give an integer of at most 15 digits.");
  return Number(text);
}

function parseNumber(text) {
  const number = Number(text);
  if (!text.trim() || !Number.isFinite(number)) throw new RangeError("Give a number.");
  return number;
}

function parseBool(text) {
  if (!["true", "false"].includes(text.trim())) throw new RangeError("Give true or false.");
  return text.trim() === "true";
}

function dateText({ secs_since_epoch: seconds, nanos_since_epoch: nanos }) {
  const date = new Date(Number(seconds) * 1000 + nanos / 1e6);
  return Number.isNaN(date.getTime()) ? `${seconds} s` : dayText(date);
}

function flash(element) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--flash");
  element.animate([{ backgroundColor: colour }, {}], { duration: 1200 });
}

/** A request failed: the connection has ended, or the next reading tries again. */
function passOver(error) {
  if (!(error instanceof NodeError)) throw error; // a bug: the browser's console shows it
}
