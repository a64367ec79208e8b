// The state of the cluster at a moment: the keyframe before it, and the events since. Nothing here draws.

import { lastWhere, objects } from "./payload.js";

const KEPT_LOSSES = 60;
const MOST_WINDOW_CHUNKS = 4;

/** Nodes, messages on their way and losses after an event. */
class Fold {
  constructor(chunk) {
    this.chunk = chunk;
    this.event = chunk.first - 1;
    this.t = chunk.start;
    this.nodes = new Map();
    for (const [id, node] of Object.entries(chunk.keyframe.nodes)) {
      this.nodes.set(Number(id), { ...node, why: node.why ?? "", log: node.log.map((run) => [...run]), snap: [...node.snap] });
    }
    this.flights = new Map(chunk.flights.map((each, place) => [each.event >= 0 ? each.event : `k${place}`, each]));
    this.losses = [];
    this.logPlace = this.durablePlace = this.extraPlace = 0;
    this.clocks = new Map();
  }

  /** Apply the events through number `event`, and what happens until the time `t` without one. */
  advance(event, t) {
    while (this.event < event) {
      this.event += 1;
      const offset = this.event - this.chunk.first;
      this.t = this.chunk.times[offset];
      this.apply(this.chunk.head.kinds[this.chunk.kinds[offset]], offset);
    }
    this.t = Math.max(this.t, t);
    this.applyLogs();
    const { extra } = this.chunk;
    while (this.extraPlace < extra.length && extra[this.extraPlace].sent <= this.t) {
      this.flights.set(`x${this.extraPlace}`, extra[this.extraPlace]);
      this.extraPlace += 1;
    }
  }

  apply(kind, offset) {
    const node = this.nodes.get(this.chunk.nodes[offset]);
    if (kind === "send") {
      const row = this.chunk.event(this.event);
      if (row.outcome !== 2 && row.end <= 0 && row.outcome !== 1) return;  // received as it was sent, or before
      this.flights.set(this.event, {
        event: this.event, sent: row.t, source: row.node, target: row.to, name: row.message, term: row.term, note: row.note,
        end: row.outcome === 2 ? Infinity : row.t + row.end, outcome: row.outcome,
      });
    } else if (kind === "recv") {
      this.flights.delete(this.chunk.event(this.event).mate);
    } else if (kind === "drop") {
      const row = this.chunk.event(this.event);
      const sent = this.flights.get(row.mate);
      this.flights.delete(row.mate);
      this.losses.push({
        event: this.event, t: row.t, source: row.from, target: row.node, name: row.message, why: row.note,
        sent: sent?.sent ?? row.t, note: sent?.note ?? "", term: sent?.term ?? 0,
      });
      if (this.losses.length > KEPT_LOSSES) this.losses.shift();
    } else if (kind === "clock") {
      const row = this.chunk.event(this.event);
      if (node) node.clock = row.offset_us;
    } else if (node) {
      this.applyToNode(kind, node);
    }
  }

  applyToNode(kind, node) {
    if (kind === "commit") {
      node.commit = this.chunk.event(this.event).index;
    } else if (kind === "apply") {
      node.applied = this.chunk.event(this.event).index;
    } else if (kind === "role") {
      const row = this.chunk.event(this.event);
      if (row.term > node.term) node.voted = null;
      Object.assign(node, { role: row.role, term: row.term, leader: row.leader });
    } else if (kind === "vote") {
      const row = this.chunk.event(this.event);
      Object.assign(node, { term: Math.max(node.term, row.term), voted: row.candidate });
    } else if (kind === "up") {
      const row = this.chunk.event(this.event);
      if (!node.paused) Object.assign(node, { role: "follower", leader: null });
      if (row.term > node.term) node.voted = null;
      Object.assign(node, { up: true, paused: false, why: "", term: row.term, commit: row.commit });
    } else if (kind === "down") {
      const { why } = this.chunk.event(this.event);
      Object.assign(node, { up: false, paused: why === "pause", why });
    }
  }

  applyLogs() {
    const { log, durable } = this.chunk;
    for (; this.logPlace < log.length && log.t[this.logPlace] <= this.t; this.logPlace += 1) {
      const place = this.logPlace;
      const node = this.nodes.get(log.node[place]);
      if (node) changeLog(node, log.phase[place], log.first[place], log.last[place], log.term[place]);
    }
    for (; this.durablePlace < durable.length && durable.t[this.durablePlace] <= this.t; this.durablePlace += 1) {
      const node = this.nodes.get(durable.node[this.durablePlace]);
      if (node) node.durable = durable.index[this.durablePlace];
    }
  }
}

/** A log appends entries (phase 0), removes its end (1), or is replaced by a snapshot up to an entry (2). */
export function changeLog(node, phase, first, last, term) {
  const { log } = node;
  const cutFrom = phase === 2 ? Infinity : first;
  while (log.length && log.at(-1)[0] >= cutFrom) log.pop();
  if (log.length && log.at(-1)[1] >= cutFrom) log.at(-1)[1] = cutFrom - 1;
  if (phase === 0) {
    const newest = log.at(-1);
    if (newest && newest[2] === term && newest[1] === first - 1) newest[1] = last;
    else log.push([first, last, term]);
  } else if (phase === 2) {
    node.snap = [last, term];
    while (log.length && log[0][1] < first) log.shift();
    if (log.length && log[0][0] < first) log[0][0] = first;
  }
  node.last = log.length ? log.at(-1)[1] : phase === 2 ? Math.max(node.snap[0], 0) : cutFrom - 1;
}

/** A run: its data, and the state at each moment. */
export class Run {
  constructor(payload, overview) {
    Object.assign(this, { payload, overview, head: payload.head });
    this.begin = this.head.begin_us;
    this.end = this.head.end_us;
    this.first = Math.min(this.begin, this.head.chunks[0]?.[2] ?? this.begin);  // real nodes record before the cluster begins
    this.nodes = this.head.nodes;
    this.spans = new Map(this.nodes.map((node) => [node, []]));
    for (const span of objects(overview.spans)) {
      span.role = this.head.roles[span.role] ?? span.role;
      this.spans.get(span.node)?.push(span);
    }
    this.leaderships = objects(overview.leaderships ?? {});
    this.leaderless = objects(overview.leaderless ?? {});
    this.isChunked = Boolean(overview.operations?.chunked);
    this.operations = this.isChunked ? [] : objects(overview.operations ?? {});
    this.operations.forEach((each, number) => { each.number = number; });
    this.longest = this.operations.reduce((most, each) => Math.max(most, (each.end ?? each.invoke) - each.invoke), 0);
    this.open = this.operations.filter((each) => each.end === null);
    this.byPlace = new Map();
    for (const each of this.operations) {
      this.byPlace.set(each.place, each);
      if (each.end_event >= 0) this.byPlace.set(each.end_event, each);
    }
  }

  /** An event; nothing while its chunk is not decoded. */
  event(n) {
    if (n < 0 || n >= this.head.events) return null;
    return this.payload.peek(this.payload.chunkOf(n))?.event(n) ?? null;
  }

  /** The last event at or before a time; nothing while the chunk is not decoded. -1 before the first. */
  lastEvent(t) {
    const chunk = this.payload.peek(this.payload.chunkAt(t));
    return chunk ? chunk.lastAt(t) : null;
  }

  /** The state after event number `event`, at the time `t`; nothing while the chunk is not decoded. */
  moment(event, t) {
    const chunk = this.payload.peek(this.payload.chunkOf(Math.max(event, 0)));
    if (!chunk) return null;
    let fold = this.fold;
    if (!fold || fold.chunk !== chunk || fold.event > event || (fold.event === event && fold.t > t)) fold = new Fold(chunk);
    this.fold = fold;
    fold.advance(event, t);
    return fold;
  }

  /** What a node is at a time, from its spans: they also know of nodes that were killed without a record. */
  spanAt(node, t) {
    const spans = this.spans.get(node);
    if (!spans?.length || spans[0].start > t) return null;
    const span = spans[lastWhere(spans, (each) => each.start <= t)];
    return span && t <= span.start + span.length ? span : null;
  }

  /** The leaders at a time; during a partition there can be two. */
  leadersAt(t) {
    return this.leaderships.filter((each) => each.start <= t && t < each.start + each.length);
  }

  /** The faults that are active at a time. */
  faultsAt(t) { return this.overview.faults.filter((each) => each.start <= t && t < each.end); }

  /** The directed links that are cut at a time, as `a>b`. */
  cutAt(t) {
    const cut = new Set();
    for (const fault of this.faultsAt(t)) if (fault.cuts) for (const [a, b] of fault.links) cut.add(`${a}>${b}`);
    return cut;
  }

  /** Links with another fault: slow, lossy. */
  impairedAt(t) {
    const found = new Map();
    for (const fault of this.faultsAt(t)) if (!fault.cuts) for (const [a, b] of fault.links) found.set(`${a}>${b}`, fault.label);
    return found;
  }

  /** The election that runs at a time. */
  electionAt(t) {
    return this.overview.elections.find((each) => each.start <= t && t <= each.end) ?? null;
  }

  /** The operations that overlap a window, and whether all could be read. */
  operationsBetween(from, to) {
    if (!this.isChunked) {
      const found = [];
      const first = lastWhere(this.operations, (each) => each.invoke < from - this.longest);
      for (let place = first; place < this.operations.length && this.operations[place].invoke <= to; place += 1) {
        const each = this.operations[place];
        if ((each.end ?? this.end) >= from) found.push(each);
      }
      for (const each of this.open) if (each.invoke < from - this.longest) found.push(each);
      return { found, isWhole: true };
    }
    const chunks = this.payload.chunksBetween(from, to);
    if (chunks.length > MOST_WINDOW_CHUNKS) return { found: [], isWhole: false };
    const decoded = chunks.map((number) => this.payload.peek(number));
    if (decoded.includes(undefined)) return { found: [], isWhole: false };
    for (const chunk of decoded) chunk.operations ??= objects(chunk.data.operations ?? {});
    const found = decoded.flatMap((chunk) => chunk.operations);
    return { found: found.filter((each) => each.invoke <= to && (each.end ?? this.end) >= from), isWhole: true };
  }

  /** The events of a window, as chunks with the first and last number; nothing while they are not decoded or too many. */
  eventsBetween(from, to, mostChunks = MOST_WINDOW_CHUNKS) {
    const numbers = this.payload.chunksBetween(from, to);
    if (numbers.length > mostChunks) return { isTooLong: true, parts: [] };
    const chunks = numbers.map((number) => this.payload.peek(number));
    if (chunks.includes(undefined)) return { isTooLong: false, parts: null };
    const parts = chunks.map((chunk) => ({ chunk, first: chunk.lastAt(from - 1) + 1, last: chunk.lastAt(to) }));
    return { isTooLong: false, parts: parts.filter((each) => each.first <= each.last) };
  }
}
