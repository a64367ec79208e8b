// The operations of the clients. Those of a long run are in its chunks, and are decoded when something needs them.

import { lastWhere, objects } from "../viewer/payload.js";

export const MOST_WINDOW_CHUNKS = 4;

export class Operations {
  constructor(payload, { operations, totals }, end) {
    Object.assign(this, { payload, end, totals, count: operations.count ?? 0, isChunked: Boolean(operations.chunked) });
    this.firsts = operations.firsts ?? [];
    this.all = this.isChunked ? [] : numbered(objects(operations));
    if (!this.isChunked) this.count = this.all.length;
    /** Those that failed or are open; of many, the first writes and then the first reads. */
    this.failed = this.isChunked ? numbered(objects(operations.failed)) : this.all.filter((each) => each.outcome !== "ok");
    this.failedByNumber = new Map(this.failed.map((each) => [each.number, each]));
    this.keys = operations.keys ?? [...new Set(this.all.map((each) => each.key))].filter(Boolean).sort();
    this.longest = this.all.reduce((most, each) => Math.max(most, (each.end ?? each.invoke) - each.invoke), 0);
    this.open = this.all.filter((each) => each.end === null);
  }

  /** An operation by its number; nothing while its chunk is not decoded. */
  get(number) {
    if (!(number >= 0 && number < this.count)) return null;
    if (!this.isChunked) return this.all[number];
    const known = this.failedByNumber.get(number);
    if (known) return known;
    const chunk = this.payload.peek(this.chunkOf(number));
    return chunk ? this.ofChunk(chunk).begun[number - this.firsts[chunk.number]] ?? null : null;
  }

  /** An operation by its number, decoded. */
  async fetch(number) {
    if (this.isChunked && number >= 0 && number < this.count) await this.payload.chunk(this.chunkOf(number));
    return this.get(number);
  }

  /** An operation by its number if it can be had without decoding; otherwise nothing. */
  known(number) {
    if (!this.isChunked) return this.all[number] ?? null;
    const chunk = this.payload.kept.get(this.chunkOf(number));
    return this.failedByNumber.get(number) ?? (chunk ? this.ofChunk(chunk).begun[number - this.firsts[chunk.number]] : null);
  }

  chunkOf(number) { return lastWhere(this.firsts, (first) => first <= number); }

  /** The operations that began in a chunk, and those that still ran when it began. */
  ofChunk(chunk) {
    chunk.operations ??= { begun: numbered(objects(chunk.data.operations)), waiting: numbered(objects(chunk.data.waiting)) };
    return chunk.operations;
  }

  /** The operations that overlap a window, in the order of their begin, and whether all could be read. */
  between(from, to) {
    const overlaps = (each) => each.invoke <= to && (each.end ?? this.end) >= from;
    if (!this.isChunked) {
      const found = this.open.filter((each) => each.invoke < from - this.longest);
      const first = lastWhere(this.all, (each) => each.invoke < from - this.longest);
      for (let place = first; place < this.all.length && this.all[place].invoke <= to; place += 1) {
        const each = this.all[place];
        if (overlaps(each) && !(each.end === null && each.invoke < from - this.longest)) found.push(each);
      }
      return { found, isWhole: true };
    }
    const numbers = this.payload.chunksBetween(from, to);
    if (numbers.length > MOST_WINDOW_CHUNKS) return { found: [], isWhole: false };
    const chunks = numbers.map((number) => this.payload.peek(number));
    if (chunks.includes(undefined)) return { found: [], isWhole: false };
    const found = chunks.flatMap((chunk, place) => {
      const { begun, waiting } = this.ofChunk(chunk);
      return place ? begun : [...waiting, ...begun];
    });
    return { found: found.filter(overlaps), isWhole: true };
  }

  /** The operations of each client around a time, by their begin; nothing while they are not decoded. */
  byClient(t) {
    if (!this.isChunked) return (this.clients ??= byClient(this.all));
    const chunk = this.payload.peek(this.payload.chunkAt(t));
    if (!chunk) return new Map();
    const { begun, waiting } = this.ofChunk(chunk);
    return (chunk.clients ??= byClient([...waiting, ...begun]));
  }
}

/** Give operations their numbers, if they have none. */
function numbered(operations) {
  operations.forEach((each, number) => { each.number ??= number; });
  return operations;
}

function byClient(operations) {
  const found = new Map();
  for (const each of operations) {
    if (!found.has(each.client)) found.set(each.client, []);
    found.get(each.client).push(each);
  }
  return found;
}
