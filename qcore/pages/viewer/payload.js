// The data in the page: the head, the overview, and chunks of events, which are decoded when something needs them.

import { find } from "../shared/dom.js";

const KEPT_CHUNKS = 12;
const FLIGHT = ["event", "sent", "source", "target", "name", "term", "note", "end", "outcome"];

/** How many chunks were decoded since the page opened; the tests read it. */
export const decoding = { decoded: 0 };

/** Decode an element: base64 of deflated JSON. */
async function inflated(id) {
  const text = atob(find(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

/** Whether this browser can read the data. */
export function canRead() {
  try {
    return Boolean(new DecompressionStream("deflate-raw"));
  } catch {
    return false;
  }
}

/** A flight as an object: a message on its way, as the keyframe and `extra` list it. */
function flight(cells) {
  return Object.fromEntries(FLIGHT.map((name, place) => [name, cells[place]]));
}

/** The events from one keyframe to the next. */
export class Chunk {
  constructor(head, number, data) {
    const [first, count, start] = head.chunks[number];
    Object.assign(this, { head, number, first, count, start, data });
    this.keyframe = data.keyframe;
    this.flights = (data.keyframe.flights ?? []).map(flight);
    this.extra = (data.extra ?? []).map(flight).sort((a, b) => a.sent - b.sent);
    this.times = new Float64Array(count);
    this.kinds = new Uint8Array(count);
    this.nodes = new Int32Array(count);
    this.places = new Uint32Array(count);
    const seen = new Array(head.kinds.length).fill(0);
    const last = new Array(head.kinds.length).fill(start);
    for (let n = 0; n < count; n += 1) {
      const kind = data.order.charCodeAt(n) - 48;
      const rows = data.rows[head.kinds[kind]];
      const place = seen[kind]++;
      last[kind] += rows.t[place];
      this.kinds[n] = kind;
      this.places[n] = place;
      this.times[n] = last[kind];
      this.nodes[n] = rows.node[place];
    }
    this.log = absolute(data.log, start);
    this.durable = absolute(data.durable, start);
    this.clock = absolute(data.clock, start);
    this.ids = {};
  }

  /** One event with the fields of its kind. `n` is its number in the run. */
  event(n) {
    const offset = n - this.first;
    const kind = this.head.kinds[this.kinds[offset]];
    const place = this.places[offset];
    const found = { number: n, t: this.times[offset], kind, node: this.nodes[offset] };
    for (const [name, how] of Object.entries(this.head.fields[kind])) {
      const cell = this.data.rows[kind][name]?.[place];
      if (how === "text") found[name] = this.data.texts[cell];
      else if (how === "message") found[name] = this.head.names[cell];
      else if (how === "role") found[name] = this.head.roles[cell];
      else if (how !== "id") found[name] = cell;
    }
    if (found.mate) found.mate += n;
    return found;
  }

  /** The id of a message of an event, as the trace has it. */
  id(n) {
    const offset = n - this.first;
    const kind = this.head.kinds[this.kinds[offset]];
    if (!this.head.fields[kind].id) return "";
    this.ids[kind] ??= this.readIds(kind);
    return this.ids[kind][this.places[offset]];
  }

  readIds(kind) {
    const rows = this.data.rows[kind], senders = rows.from ?? rows.node, last = {};
    return rows.id.map((cell, place) => {
      if (typeof cell === "string") return cell;
      const sender = senders[place];
      last[sender] = (last[sender] ?? 0) + cell;
      return `${sender}-${last[sender]}`;
    });
  }

  /** The number of the last event at or before a time; the one before the chunk if there is none. */
  lastAt(t) {
    let low = 0, high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= t) low = middle + 1;
      else high = middle;
    }
    return this.first + low - 1;
  }
}

/** Columns with times instead of differences of times. */
function absolute(columns, start) {
  if (!columns?.t) return { t: [], length: 0 };
  let t = start;
  return { ...columns, t: columns.t.map((step) => (t += step)), length: columns.t.length };
}

/** The columns of a table as objects; none of no table. */
export function objects(columns) {
  if (!columns) return [];
  const names = Object.keys(columns).filter((name) => Array.isArray(columns[name]));
  const count = names.length ? columns[names[0]].length : 0;
  return Array.from({ length: count }, (_, place) => Object.fromEntries(names.map((name) => [name, columns[name][place]])));
}

/** Reads the chunks of the page, and keeps those that were used last. */
export class Payload {
  constructor() {
    this.head = JSON.parse(find("head").textContent);
    this.kept = new Map();      // number -> chunk, the last used at the end
    this.awaited = new Map();   // number -> promise
    this.listeners = [];
  }

  overview() { return inflated("overview"); }

  /** The chunk, if it is decoded. Otherwise nothing, and the listeners learn when it is. */
  peek(number) {
    const found = this.kept.get(number);
    if (found) {
      this.kept.delete(number);
      this.kept.set(number, found);
    } else if (number >= 0 && number < this.head.chunks.length) {
      this.chunk(number).then(() => this.listeners.forEach((listener) => listener()));
    }
    return found;
  }

  /** The chunk, decoded. */
  async chunk(number) {
    const found = this.kept.get(number);
    if (found) return found;
    if (!this.awaited.has(number)) this.awaited.set(number, this.decode(number));
    return this.awaited.get(number);
  }

  async decode(number) {
    const chunk = new Chunk(this.head, number, await inflated(`chunk-${number}`));
    decoding.decoded += 1;
    this.awaited.delete(number);
    this.kept.set(number, chunk);
    while (this.kept.size > KEPT_CHUNKS) this.kept.delete(this.kept.keys().next().value);
    return chunk;
  }

  /** The number of the chunk that holds an event. */
  chunkOf(event) { return lastWhere(this.head.chunks, (each) => each[0] <= event); }

  /** The number of the chunk in which the last event at or before a time may be. */
  chunkAt(t) { return lastWhere(this.head.chunks, (each) => each[2] <= t); }

  /** The numbers of the chunks with events of a window. */
  chunksBetween(from, to) {
    const first = this.chunkAt(from), last = this.chunkAt(to);
    return Array.from({ length: last - first + 1 }, (_, offset) => first + offset);
  }
}

/** The place of the last item for which a test holds, if it holds for all before; 0 if for none. */
export function lastWhere(items, holds) {
  let low = 0, high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(items[middle])) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
