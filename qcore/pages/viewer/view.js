// What the page shows: the moment, the window, the chosen things. It runs forwards and backwards, and has a link.

const RATES = [-3, 2];            // powers of ten: 1 s of watching is 0.001 s to 100 s of the run
const STEP_MS = 350;              // with little motion: one event in this time
const LINK_MS = 250;

/** The state of the page. Parts listen to it, and change it by `set`. */
export class View {
  constructor(run) {
    Object.assign(this, {
      run, t: run.begin, event: null, from: run.begin, to: run.end, node: 0, tab: "summary", query: "", topics: [],
      key: "", operation: -1, rate: run.end - run.begin > 120e6 ? 1 : 0.05, direction: 1, running: false, theme: "system",
      flight: null, lastFrame: 0, frame: 0, linkTimer: 0,
    });
    this.listeners = [];
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
  }

  on(listener) { this.listeners.push(listener); }

  /** Change something, and draw soon. */
  set(changes) {
    if ("t" in changes && !("event" in changes)) changes.event = null;
    Object.assign(this, changes);
    if ("t" in changes) this.t = Math.max(this.run.first, Math.min(this.run.end, this.t));
    if ("from" in changes) this.fitWindow();
    if (changes.running) this.lastFrame = 0;
    this.draw();
    this.writeLink();
  }

  draw() {
    if (!this.frame) this.frame = requestAnimationFrame((now) => this.onFrame(now));
  }

  onFrame(now) {
    this.frame = 0;
    if (this.running) this.advance(now);
    for (const listener of this.listeners) listener(this);
    if (this.running) this.draw();
  }

  /** The last event that has happened; nothing while its chunk is not decoded. */
  get position() {
    this.event ??= this.run.lastEvent(this.t);
    return this.event;
  }

  /** The state at the moment; nothing while it is not decoded. */
  get state() {
    const event = this.position;
    return event === null ? null : this.run.moment(event, this.t);
  }

  advance(now) {
    const passed = this.lastFrame ? Math.min(now - this.lastFrame, 100) : 0;
    if (this.calm.matches) {
      if (this.lastFrame && now - this.lastFrame < STEP_MS) return;
      this.lastFrame = now;
      this.step(this.direction);
      return;
    }
    this.lastFrame = now;
    if (this.position === null) return;  // wait for the data
    this.t += passed * 1000 * this.rate * this.direction;
    this.event = null;
    if (this.t >= this.run.end || this.t <= this.run.first) {
      this.t = Math.max(this.run.first, Math.min(this.run.end, this.t));
      this.running = false;
    }
    this.follow();
    this.writeLink();
  }

  /** Move the window so that the moment is inside. */
  follow() {
    const width = this.to - this.from;
    if (this.t >= this.from && this.t <= this.to) return;
    this.from = this.t - width * (this.direction > 0 ? 0.1 : 0.9);
    this.to = this.from + width;
    this.fitWindow();
  }

  fitWindow() {
    const { first, end } = this.run;
    const width = Math.max(20, Math.min(end - first, this.to - this.from));
    this.from = Math.max(first, Math.min(this.from, end - width));
    this.to = this.from + width;
  }

  /** One event forwards or backwards. */
  step(by) {
    const event = this.position;
    if (event === null) return;
    this.goTo(Math.max(0, Math.min(this.run.head.events - 1, event + by)), { keepRunning: true });
  }

  /** Go to an event. */
  async goTo(event, { keepRunning = false } = {}) {
    const chunk = await this.run.payload.chunk(this.run.payload.chunkOf(event));
    this.event = event;
    this.t = chunk.times[event - chunk.first];
    if (!keepRunning) this.running = false;
    this.follow();
    this.draw();
    this.writeLink();
  }

  /** Go to a time, and show a window around it if it is not inside. */
  show(t, width = 0) {
    if (width) {
      this.from = t - width / 2;
      this.to = t + width / 2;
      this.fitWindow();
    }
    this.t = t;
    this.event = null;
    this.running = false;
    this.follow();
    this.draw();
    this.writeLink();
  }

  /** Show a window, and the moment at its start or another one. */
  showWindow(from, to, t = from) {
    const margin = Math.max((to - from) * 0.2, 500);
    Object.assign(this, { from: from - margin, to: to + margin, t, event: null, running: false });
    this.fitWindow();
    this.draw();
    this.writeLink();
  }

  /** Zoom in (factor below 1) or out, around a time. */
  zoom(factor, around = this.t) {
    const width = Math.max(200, Math.min(this.run.end - this.run.first, (this.to - this.from) * factor));
    const share = (around - this.from) / (this.to - this.from);
    const place = share >= 0 && share <= 1 ? share : 0.5;
    this.from = around - width * place;
    this.to = this.from + width;
    this.fitWindow();
    this.draw();
    this.writeLink();
  }

  pan(by) {
    const width = this.to - this.from;
    this.from += by;
    this.to = this.from + width;
    this.fitWindow();
    this.draw();
    this.writeLink();
  }

  /** The next or the previous of marks [event, time], seen from the moment. */
  jump(marks, by) {
    const now = this.position ?? -1;
    const place = by > 0 ? marks.findIndex(([event]) => event > now) : marks.findLastIndex(([event]) => event < now);
    if (place >= 0) this.goTo(marks[place][0]);
    return place;
  }

  // --- the link to a moment -----------------------------------------------------------------------

  writeLink() {
    if (!this.linkTimer) this.linkTimer = setTimeout(() => { this.linkTimer = 0; this.writeLinkNow(); }, LINK_MS);
  }

  link() {
    const { begin, end, zero } = this.run;
    const parts = new URLSearchParams({ t: ((this.t - zero) / 1e6).toFixed(6) });
    if (this.from !== begin || this.to !== end) {
      parts.set("w", ((this.to - this.from) / 1e6).toFixed(6));
      parts.set("from", ((this.from - zero) / 1e6).toFixed(6));
    }
    if (this.event !== null) parts.set("e", this.event);
    if (this.node) parts.set("n", this.node);
    if (this.tab !== "summary") parts.set("tab", this.tab);
    if (this.query) parts.set("q", this.query);
    if (this.key) parts.set("key", this.key);
    if (this.theme !== "system") parts.set("theme", this.theme);
    return `#${parts}`;
  }

  writeLinkNow() {
    const link = this.link();
    if (link === location.hash) return;
    try {
      history.replaceState(null, "", link);
    } catch {
      // a frame without an address has no link
    }
  }

  /** Take the moment, the window and the choices of a link. */
  readLink(hash) {
    const parts = new URLSearchParams(hash.replace(/^#/, ""));
    const time = (name) => (parts.has(name) && Number.isFinite(Number(parts.get(name))) ? Number(parts.get(name)) * 1e6 : null);
    const { first, end, zero } = this.run;
    const t = time("t"), width = time("w"), from = time("from");
    if (t !== null) this.t = Math.max(first, Math.min(end, zero + t));
    if (width) {
      this.from = from === null ? this.t - width / 2 : zero + from;
      this.to = this.from + width;
      this.fitWindow();
    }
    this.event = null;
    const event = Number(parts.get("e") ?? NaN);
    if (Number.isInteger(event) && event >= 0 && event < this.run.head.events) this.goTo(event);
    this.node = this.run.nodes.includes(Number(parts.get("n"))) ? Number(parts.get("n")) : 0;
    this.tab = parts.get("tab") ?? "summary";
    this.query = parts.get("q") ?? "";
    this.key = parts.get("key") ?? "";
    this.theme = ["dark", "light"].includes(parts.get("theme")) ? parts.get("theme") : "system";
    this.running = false;
    this.draw();
  }

  // --- speed ----------------------------------------------------------------------------------------

  /** The place of the speed on its slider, 0 to 100. */
  get ratePlace() { return (Math.log10(this.rate) - RATES[0]) / (RATES[1] - RATES[0]) * 100; }

  set ratePlace(place) {
    const rate = 10 ** (RATES[0] + place / 100 * (RATES[1] - RATES[0]));
    this.rate = Number(rate.toPrecision(1));
  }
}
