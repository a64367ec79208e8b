// The state of the cluster at a moment: the keyframe before it, and the events since. Nothing here draws.

import { MOST_WINDOW_CHUNKS, Operations } from "../viewer_tabs/operation_data.js";
import { lastWhere, objects } from "./payload.js";

const KEPT_LOSSES = 60;

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
    this.flights = new Map(chunk.flights.map((each, place) => [each.event >= 0 && each.note !== "duplicate" ? each.event : `k${place}`, each]));
    this.losses = [];
    this.places = { log: 0, durable: 0, clock: 0, extra: 0 };
  }

  /** Apply the events through number `event`, and what happens until the time `t` without one. */
  advance(event, t) {
    while (this.event < event) {
      this.event += 1;
      const offset = this.event - this.chunk.first;
      this.t = this.chunk.times[offset];
      this.applyChanges();
      this.apply(this.chunk.head.kinds[this.chunk.kinds[offset]], offset);
    }
    this.t = Math.max(this.t, t);
    this.applyChanges();
    const { extra } = this.chunk;
    for (; this.places.extra < extra.length && extra[this.places.extra].sent <= this.t; this.places.extra += 1) {
      this.flights.set(`x${this.places.extra}`, extra[this.places.extra]);
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
      const { role, term, leader } = this.chunk.event(this.event);
      Object.assign(node, { role, term, leader });
    } else if (kind === "vote") {
      const { term, candidate } = this.chunk.event(this.event);
      node.vote = [term, candidate];
    } else if (kind === "up") {
      const { term, commit, applied } = this.chunk.event(this.event);
      if (!node.paused) Object.assign(node, { role: "follower", term, leader: null, commit, applied });
      Object.assign(node, { up: true, paused: false, why: "" });
    } else if (kind === "down") {
      const { why } = this.chunk.event(this.event);
      Object.assign(node, { up: false, paused: why === "pause", why });
    }
    node.voted = node.vote?.[0] === node.term ? node.vote[1] : null;
  }

  /** Follow the logs, what is on disk, and the clocks: their changes are columns of the chunk. */
  applyChanges() {
    const { log, durable, clock } = this.chunk;
    this.follow("log", log, (node, n) => changeLog(node, log.phase[n], log.first[n], log.last[n], log.term[n]));
    this.follow("durable", durable, (node, n) => { node.durable = durable.index[n]; });
    this.follow("clock", clock, (node, n) => { node.clock = clock.offset[n]; });
  }

  follow(name, columns, change) {
    let place = this.places[name];
    for (; place < columns.length && columns.t[place] <= this.t; place += 1) {
      const node = this.nodes.get(columns.node[place]);
      if (node) change(node, place);
    }
    this.places[name] = place;
  }

  /** Stop the nodes that the trace shows to be dead without a record: real ones that were killed. */
  silence(run) {
    for (const [id, node] of this.nodes) {
      const span = node.up ? run.spanAt(id, this.t) : null;
      if (span?.role === "down") Object.assign(node, { up: false, why: span.why });
    }
  }
}

/**
 * A log appends entries (phase 0), removes its end (1), or is shortened or replaced by a snapshot up to an entry (2).
 * `qcore/analysis/course/log_shapes.py` has the same rules.
 */
export function changeLog(node, phase, first, last, term) {
  const { log } = node;
  if (phase === 2) {
    node.snap = [last, term];
    node.commit = Math.max(node.commit, last);
    node.applied = Math.max(node.applied, last);
    while (log.length && log[0][1] < first) log.shift();
    if (log.length && log[0][0] < first) log[0][0] = first;
  } else if (phase === 1 || log.at(-1)?.[1] >= first) {
    while (log.length && log.at(-1)[0] >= first) log.pop();
    if (log.length && log.at(-1)[1] >= first) log.at(-1)[1] = first - 1;
    if (first <= node.snap[0]) node.snap = [0, 0];  // a blank disk
  }
  if (phase === 0) {
    const newest = log.at(-1);
    if (newest && newest[2] === term && newest[1] === first - 1) newest[1] = last;
    else log.push([first, last, term]);
  }
  node.last = log.length ? log.at(-1)[1] : node.snap[0];
}

/** A run: its data, and the state at each moment. */
export class Run {
  constructor(payload, overview) {
    Object.assign(this, { payload, overview, head: payload.head });
    this.zero = this.head.zero_us;    // the times that the page shows count from here
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
    this.led = objects(overview.led ?? {});   // as the leaderships, but apart where the leader had no majority
    this.leaderless = objects(overview.leaderless ?? {});
    this.operations = new Operations(payload, overview, this.end);
  }

  /** The time of day of a moment, for the traces of real nodes; empty for a simulated run. */
  utc(t) {
    if (this.head.source !== "real") return "";
    const us = BigInt(this.head.origin_us) + BigInt(Math.round(t));
    const time = new Date(Number(us / 1000n));
    return Number.isNaN(time.getTime()) ? "" : `${time.toISOString().slice(11, 19)}.${String(us % 1_000_000n).padStart(6, "0")} UTC`;
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
    if (this.head.source === "real") fold.silence(this);
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
