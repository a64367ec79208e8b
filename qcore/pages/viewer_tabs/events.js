// Everything that happened, as a list that can be searched.

import { button, make, setText } from "../shared/dom.js";
import { capital, grouped } from "../shared/format.js";
import { LongList } from "../shared/list.js";
import { eventText, hasTopic, kindMark, TOPICS } from "../viewer/event_text.js";

const EVENT_ROW = 22, SLICE_MS = 12, TYPING_MS = 250;

export class EventsTab {
  constructor(view, panel) {
    this.view = view;
    this.found = null;       // numbers of the events that match; null: all
    this.topics = new Set();
    this.search = make("input", { id: "search", type: "search", placeholder: "Search: vote, node 3, k5, lost …", spellcheck: false });
    this.search.setAttribute("aria-label", "Search the events");
    this.search.addEventListener("input", () => this.later());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "ArrowDown") {
        event.preventDefault();
        this.list.element.focus();
      }
    });
    this.node = make("select", { id: "event-node" }, make("option", { value: "0" }, "all nodes"), ...view.run.nodes.map((node) => make("option", { value: String(node) }, `node ${node}`)));
    this.node.setAttribute("aria-label", "Node");
    this.node.addEventListener("change", () => view.set({ node: Number(this.node.value) }));
    const chips = Object.entries(TOPICS).map(([name, { text }]) => {
      const chip = button(text, `Only ${text}, or these too`, () => {
        if (!this.topics.delete(name)) this.topics.add(name);
        chip.setAttribute("aria-pressed", String(this.topics.has(name)));
        this.start();
      }, { className: "chip", id: `topic-${name}` });
      chip.setAttribute("aria-pressed", "false");
      return chip;
    });
    this.cancel = button("Stop", "Stop the search", () => this.stop(), { id: "stop-search", hidden: true });
    this.count = make("span", { className: "faint number", role: "status", id: "event-count" });
    this.list = new LongList({ label: "Events", height: EVENT_ROW, fill: (row, place) => this.fill(row, place), choose: (place) => view.goTo(this.eventAt(place)) });
    this.list.element.id = "events";
    panel.append(make("div", { className: "tools" }, this.search, this.node, ...chips), make("p", { className: "search-state" }, this.count, this.cancel), this.list.element);
    this.run = 0;
    this.search.value = view.query;
    this.seenQuery = view.query;
    this.seenNode = view.node;
    this.node.value = String(view.node);
    this.start();
  }

  focusSearch() {
    this.search.focus();
    this.search.select();
  }

  eventAt(place) { return this.found ? this.found[place] : place; }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.seenQuery = this.search.value.trim();
      this.view.set({ query: this.seenQuery });
      this.start();
    }, TYPING_MS);
  }

  stop() {
    this.run += 1;
    this.cancel.hidden = true;
    this.showCount();
  }

  showCount() {
    const all = this.view.run.head.events;
    setText(this.count, this.found ? `${grouped(this.found.length)} of ${grouped(all)} events` : `${grouped(all)} events`);
  }

  /** Look through all events again, a slice at a time, so that the page stays usable. */
  async start() {
    const run = this.run += 1;
    const { view } = this, { payload, head } = view.run;
    const words = this.seenQuery.toLowerCase().split(/\s+/).filter(Boolean);
    const topics = [...this.topics], node = view.node;
    if (!words.length && !topics.length && !node) {
      this.found = null;
      this.cancel.hidden = true;
      this.showCount();
      this.list.show(head.events);
      this.sync(true);
      return;
    }
    const wanted = head.kinds.map((kind) => !topics.length || topics.some((name) => TOPICS[name].kinds.includes(kind) || TOPICS[name].messages));
    const found = this.found = [];
    this.list.show(0);
    this.cancel.hidden = false;
    let started = performance.now();
    for (let number = 0; number < head.chunks.length; number += 1) {
      const counts = head.chunks[number][4];
      if (counts && !counts.some((count, kind) => count && wanted[kind])) continue;
      const chunk = await payload.chunk(number);
      if (run !== this.run) return;
      for (let n = chunk.first; n < chunk.first + chunk.count; n += 1) {
        if (wanted[chunk.kinds[n - chunk.first]] && this.matches(chunk, n, words, topics, node)) found.push(n);
        if ((n & 127) === 0 && performance.now() - started > SLICE_MS) {
          setText(this.count, `${grouped(found.length)} found, searched ${Math.round(n / head.events * 100)} %`);
          this.list.show(found.length);
          await new Promise((done) => setTimeout(done));
          if (run !== this.run) return;
          started = performance.now();
        }
      }
    }
    this.cancel.hidden = true;
    this.showCount();
    this.list.show(found.length);
    this.sync(true);
  }

  matches(chunk, n, words, topics, node) {
    const event = chunk.event(n);
    if (node && event.node !== node && event.from !== node && event.to !== node) return false;
    if (topics.length && !hasTopic(event, topics)) return false;
    if (!words.length) return true;
    const text = `${event.kind} ${eventText(event)} ${event.note ?? ""} ${event.fault ?? ""} ${chunk.id(n)} ${event.op_id ?? ""} term ${event.term ?? ""}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  fill(row, place) {
    const { view } = this;
    const number = this.eventAt(place);
    const event = view.run.event(number);
    if (!row.firstChild) {
      row.append(make("span", { className: "event-time number" }), make("span", { className: "event-mark" }), make("span", { className: "event-text" }));
    }
    const [time, mark, text] = row.children;
    row.classList.toggle("later", number > (view.event ?? Infinity));
    if (!event) {
      setText(time, "…");
      setText(mark, "");
      setText(text, "");
      return;
    }
    setText(time, ((event.t - view.run.zero) / 1e6).toFixed(6));
    setText(mark, kindMark(event));
    mark.className = `event-mark ${event.kind}`;
    setText(text, capital(eventText(event, (n) => (n ? view.run.event(n) : null))));
    row.title = [text.textContent, view.run.utc(event.t)].filter(Boolean).join("\n");
  }

  /** Mark the event of the moment. */
  sync(always = false) {
    const at = this.view.position;
    const key = `${at} ${this.view.loads}`;
    if (at === null || (!always && key === this.synced)) return;
    this.synced = key;
    if (!this.found) {
      this.list.select(at);
      return;
    }
    let low = 0, high = this.found.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.found[middle] <= at) low = middle + 1;
      else high = middle;
    }
    this.list.select(low - 1);
  }

  draw() {
    const { view } = this;
    if (view.query !== this.seenQuery && document.activeElement !== this.search) {
      this.search.value = this.seenQuery = view.query;
      this.start();
    }
    if (view.node !== this.seenNode) {
      this.seenNode = view.node;
      this.node.value = String(view.node);
      this.start();
    }
    this.sync();
  }
}
