// What the clients saw: every operation as a bar on the axis of time, and the order that explains the answers.

import { ticks } from "../shared/axis.js";
import { button, colours, fadeEnd, fitted, hatch, make, NowLine, pen, setText } from "../shared/dom.js";
import { counted, grouped } from "../shared/format.js";
import { FONT, GUTTER, windowScale } from "../viewer/overview.js";
import { isWrite, operationName, sentence } from "./explain.js";
import { operationLines, orderOf, verdictText } from "./history_text.js";

const MARK_DIGIT = 6.6;   // pixels
const BAR = 15, BAR_ROW = 19, MOST_BARS = 4000, MOST_ROWS_OF_CLIENT = 12, BARS_AXIS = 18, MOST_LISTED = 400, MOST_SKIPPED = 20_000;

export class OperationsTab {
  constructor(view, panel) {
    this.view = view;
    this.bars = [];
    this.keys = make("select", { id: "key", title: "Key" });
    this.keys.setAttribute("aria-label", "Key");
    this.keys.append(make("option", { value: "" }, "all keys"));
    const history = Array.isArray(view.run.overview.history) ? view.run.overview.history : [];
    const known = history.length ? history : view.run.operations.keys.map((key) => ({ key, result: "" }));
    for (const { key, result } of known) this.keys.append(make("option", { value: key }, result === "violation" ? `${key} (violated)` : key));
    this.keys.addEventListener("change", () => view.set({ key: this.keys.value, operation: -1 }));
    const bad = history.find((each) => each.result === "violation");
    if (bad && !view.key) {
      view.key = bad.key;
      this.wanted = bad;
    }
    this.keys.hidden = !known.length;
    this.verdict = make("p", { className: "verdict", role: "status" });
    this.canvas = make("canvas", { className: "operations" });
    this.scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Operations of the clients" }, make("div", { className: "picture" }, this.canvas));
    this.now = new NowLine(this.canvas.parentNode);
    this.details = fadeEnd(make("div", { className: "details", role: "status" }));
    const legend = make("span", { className: "legend-line" }, ...legendOf(view.run, history)
      .map(([name, text]) => make("span", { className: `key-item ${name}` }, make("i", {}), text)));
    panel.append(
      make("div", { className: "tools" }, this.keys,
        button("‹", "Previous operation", () => this.choose(-1), { id: "previous-operation" }),
        button("›", "Next operation", () => this.choose(1), { id: "next-operation" }), legend),
      this.verdict, this.scroll, this.details);
    this.canvas.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => {
      this.size = { width: this.scroll.clientWidth, height: this.scroll.clientHeight };
      this.drawn = "";
      view.draw();
    }).observe(this.scroll);
    if (this.wanted) this.showStuck(this.wanted);
  }

  /** Show where the order of a failing key ends. */
  async showStuck(history) {
    const first = await this.view.run.operations.fetch(history.stuck[0] ?? history.order.at(-1));
    if (!first) return;
    this.view.set({ operation: first.number });
    this.view.showWindow(first.invoke - 100_000, (first.end ?? first.invoke) + 40_000, first.invoke);
  }

  draw() {
    const { view } = this, { run } = view;
    if (!this.size) return;
    const scale = windowScale(view), x = scale.x(view.t);
    this.now.move(x >= GUTTER - 1 && x <= scale.right ? x : null);
    const key = `${view.from} ${view.to} ${view.key} ${view.operation} ${view.scheme} ${view.loads} ${view.width}`;
    if (key === this.drawn) return;
    this.drawn = key;
    this.keys.value = view.key;
    const order = this.order = orderOf(run, view.key);
    const { found, isWhole } = run.operations.between(view.from, view.to);
    const shown = view.key ? found.filter((each) => each.key === view.key) : found;
    const note = isWhole ? "" : " The window is too long for single operations: zoom in.";
    const failing = order.history && order.history.result !== "ok";
    this.lay(shown.slice(0, MOST_BARS));
    this.paint(shown.length > MOST_BARS);
    const placed = this.operations.filter((each) => order.places.has(each.number)).length;
    const hint = this.numbers < placed ? ` Zoom in to see ${this.numbers ? "all numbers" : "the numbers"}.` : "";
    setText(this.verdict, `${verdictText(run, view.key, order)}${note || hint}`);
    this.verdict.className = `verdict ${failing ? "bad" : ""}`;
    this.drawDetails(order);
    if (view.operation !== this.revealed) this.reveal();
  }

  /** Scroll so that the chosen operation is on the screen. */
  reveal() {
    const bar = this.bars.find((each) => each.each.number === this.view.operation);
    this.revealed = bar || this.view.operation < 0 ? this.view.operation : null;  // its chunk may still be decoded
    if (!bar) return;
    const top = this.scroll.scrollTop, { height } = this.size;
    if (bar.y - 4 < top || bar.y + BAR + 4 > top + height) this.scroll.scrollTop = bar.y - height / 2;
  }

  /** Give each operation a row of its client: operations of one client may overlap. */
  lay(operations) {
    const { run } = this.view;
    const isReal = run.head.source === "real";
    this.lanes = new Map();
    const order = isReal || !run.head.clients.length ? [...new Set(operations.map((each) => each.client))].sort((a, b) => a - b) : run.head.clients;
    for (const client of order) this.lanes.set(client, { ends: [], lasts: [], rows: 1, y: 0 });
    for (const each of operations) {
      const lane = this.lanes.get(each.client);
      if (!lane) continue;
      let row = lane.ends.findIndex((end) => end <= each.invoke);
      if (row < 0) row = lane.ends.length < MOST_ROWS_OF_CLIENT ? lane.ends.length : MOST_ROWS_OF_CLIENT - 1;
      lane.ends[row] = each.outcome === "ok" || each.outcome === "refused" ? each.end : Math.max(each.end ?? run.end, each.invoke);
      lane.rows = Math.max(lane.rows, row + 1);
      each.row = row;
      each.next = Infinity;
      if (lane.lasts[row]) lane.lasts[row].next = each.invoke;
      lane.lasts[row] = each;
    }
    let y = BARS_AXIS;
    for (const lane of this.lanes.values()) {
      lane.y = y;
      y += lane.rows * BAR_ROW + 5;
    }
    this.height = Math.max(y + 2, this.size.height - 2);
    this.canvas.style.height = `${this.height}px`;
    this.operations = operations;
    this.bottom = y;
  }

  paint(isCut) {
    const { view } = this, ink = colours();
    const { context } = pen(this.canvas, this.size.width, this.height);
    const scale = windowScale(view);
    context.font = FONT;
    context.textBaseline = "middle";
    context.strokeStyle = ink.line;
    for (const { t, text } of ticks(scale, view.run.zero)) {
      const x = Math.round(scale.x(t)) + 0.5;
      context.beginPath();
      context.moveTo(x, BARS_AXIS - 2);
      context.lineTo(x, this.bottom);
      context.stroke();
      context.textAlign = "center";
      context.fillStyle = ink.faint;
      context.fillText(text, Math.min(Math.max(x, GUTTER + 12), scale.right - 14), 7);
    }
    context.textAlign = "left";
    const isReal = view.run.head.source === "real";
    for (const [client, lane] of this.lanes) {
      context.fillStyle = ink.text;
      context.fillText(isReal ? `at node ${client}` : `client ${client}`, 0, lane.y + BAR_ROW / 2);
      context.fillStyle = ink.line;
      context.fillRect(GUTTER, lane.y + lane.rows * BAR_ROW + 2, scale.right - GUTTER, 1);
    }
    this.hatched = hatch(context, ink.refused, 6);
    this.numbers = 0;
    this.bars = this.operations.map((each) => this.bar(context, scale, each));
    if (isCut) {
      context.fillStyle = ink.text;
      context.fillText(`Only the first ${grouped(MOST_BARS)} are drawn: zoom in.`, GUTTER + 6, this.bottom - 6);
    }
  }

  bar(context, scale, each) {
    const { view } = this, ink = colours();
    const y = this.lanes.get(each.client).y + each.row * BAR_ROW + 2;
    const isOpen = each.outcome !== "ok" && each.outcome !== "refused";
    const start = Math.max(GUTTER, scale.x(each.invoke));
    const known = Math.min(scale.right, scale.x(each.end ?? view.run.end));
    const width = Math.max(2, known - start);
    const isStuck = this.order.stuck.has(each.number);
    const edge = isStuck ? ink.lost : each.outcome === "ok" ? ink.ok : each.outcome === "refused" ? ink.refused : ink.unknown;
    context.fillStyle = each.outcome === "refused" ? this.hatched : edge;
    context.globalAlpha = each.outcome === "ok" && !isStuck ? (isWrite(each) ? 0.34 : 0.16) : each.outcome === "refused" ? 1 : 0.3;
    context.fillRect(start, y, width, BAR);
    context.globalAlpha = 1;
    context.strokeStyle = edge;
    context.lineWidth = isStuck ? 2.5 : 1.2;
    if (each.outcome === "open") context.setLineDash([4, 3]);
    context.beginPath();
    context.moveTo(start + width, y + 0.5);
    context.lineTo(start, y + 0.5);
    context.lineTo(start, y + BAR - 0.5);
    context.lineTo(start + width, y + BAR - 0.5);
    if (!isOpen) context.closePath();
    context.stroke();
    context.setLineDash([]);
    if (isOpen && scale.inside(each.end ?? view.run.end)) this.tail(context, start + width, y, scale.right);
    if (each.number === view.operation) {
      context.strokeStyle = ink.accent;
      context.lineWidth = 2;
      context.strokeRect(start - 2, y - 2, width + 4, BAR + 4);
    }
    const place = this.order.places.get(each.number);
    const mark = place ? `${place} ` : isStuck ? "✗ " : each.outcome === "unknown" ? "? " : each.outcome === "refused" ? "⊘ " : "";
    const markWidth = MARK_DIGIT * (mark.length - 1);
    const text = fitted(context, `${mark}${barText(each, view.key)}`, width - 6) || (mark && width > 5 + markWidth ? mark : "");
    const room = isOpen ? 0 : Math.min(scale.right, scale.x(each.next)) - start - width;
    context.fillStyle = ink.text;
    if (text) context.fillText(text, start + Math.min(4, (width - markWidth) / 2), y + BAR / 2 + 0.5);
    else if (place && room > markWidth + 6) context.fillText(mark, start + width + 3, y + BAR / 2 + 0.5);  // beside a narrow bar
    if (place && (text.startsWith(mark) || (!text && room > markWidth + 6))) this.numbers += 1;
    return { each, x: start, y, width: Math.max(width, 5) };
  }

  /** An unknown operation may take effect at any later time: it is open to the right. */
  tail(context, x, y, right) {
    context.strokeStyle = colours().unknown;
    context.setLineDash([2, 4]);
    context.beginPath();
    context.moveTo(x, y + BAR / 2);
    context.lineTo(Math.min(right, x + 70), y + BAR / 2);
    context.stroke();
    context.setLineDash([]);
  }

  click(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const hit = this.bars.findLast((bar) => x >= bar.x - 3 && x <= bar.x + bar.width + 3 && y >= bar.y - 2 && y <= bar.y + BAR + 2);
    if (hit) this.pick(hit.each);
  }

  pick(operation) {
    this.view.set({ operation: operation.number });
    if (operation.place >= 0) this.view.goTo(operation.place);
  }

  /** The next operation of the window, or of the key. */
  async choose(by) {
    const { view } = this, { operations } = view.run;
    if (operations.isChunked) return this.chooseFar(by);
    const all = operations.all.filter((each) => !view.key || each.key === view.key);
    const at = all.findIndex((each) => each.number === view.operation);
    const now = by > 0 ? all.findIndex((each) => each.invoke >= view.t) : all.findLastIndex((each) => each.invoke <= view.t);
    const next = at < 0 ? all[now] : all[at + by];
    if (next) this.pick(next);
    return next;
  }

  /** The next operation of a long run: its chunk may not be decoded yet. */
  async chooseFar(by) {
    const { view } = this, { operations } = view.run;
    let number = view.operation + by;
    if (view.operation < 0) {
      const near = this.operations.filter((each) => (each.invoke - view.t) * by >= 0);
      number = (by > 0 ? near[0] : near.at(-1))?.number ?? -1;
    }
    let next = await operations.fetch(number);
    for (let tried = 1; next && view.key && next.key !== view.key && tried < MOST_SKIPPED; tried += 1) {
      next = await operations.fetch(next.number + by);
    }
    if (next && (!view.key || next.key === view.key)) this.pick(next);
    return next;
  }

  drawDetails({ stuck, history, order }) {
    const { view } = this;
    const chosen = this.operations.find((each) => each.number === view.operation) ?? view.run.operations.get(view.operation);
    const key = `${chosen?.number} ${view.key}`;
    if (key === this.detailed) return;
    this.detailed = key;
    const parts = [];
    if (chosen) {
      const [first, ...rest] = operationLines(view.run, chosen);
      parts.push(make("p", {}, make("b", {}, first)), make("ul", { className: "sentences" }, ...rest.map((line) => make("li", {}, ...sentence(line)))));
      if (stuck.get(chosen.number)) parts.push(make("p", { className: "bad-text" }, `It cannot come next: ${stuck.get(chosen.number)}.`));
    } else parts.push(make("p", { className: "faint" }, "Choose an operation: click on it, or step with the buttons ‹ and ›."));
    if (history?.explanation) parts.push(make("pre", { className: "explanation" }, history.explanation));
    if (order.length) parts.push(this.orderList(order));
    this.details.replaceChildren(...parts);
  }

  orderList(order) {
    const { run } = this.view;
    const first = Math.max(0, order.length - MOST_LISTED);
    const items = order.slice(first).map((number, place) => {
      const each = run.operations.known(number);
      const name = each ? `${operationName(each)}${each.note === "did not match" ? ": another value was there" : ""}` : `operation ${grouped(number + 1)}`;
      const show = async () => this.pick(await run.operations.fetch(number));
      return make("li", { value: first + place + 1 }, button(name, `Show ${name}`, show, { className: "plain" }));
    });
    const part = first ? `, of which these are the last ${MOST_LISTED}` : "";
    return make("details", {}, make("summary", {}, `The order: ${counted(order.length, "operation")}${part}`), make("ol", { className: "order" }, ...items));
  }
}

/** The marks that the run needs, with their texts. */
function legendOf(run, history) {
  const { totals } = run.operations, { bins } = run.overview;
  const has = (name) => bins[name].some(Boolean);
  return [
    ["ok", "write succeeded", totals.writes], ["ok read", "read succeeded", run.operations.count > totals.writes],
    ["refused", "refused, no effect", has("refused")],
    ["unknown", "outcome unknown to the client", has("unknown")],
    ["open", "no outcome in the trace", totals.open_writes + totals.open_reads],
    ["stuck", "cannot be placed", history.some((each) => each.result === "violation")],
  ].filter(([, , isNeeded]) => isNeeded);
}

function barText(each, key) {
  const of = key === "" ? ` ${each.key}` : "";
  if (each.op === "cas" && key !== "") return `set ${each.expected ?? "nothing"} → ${each.value}${each.note === "did not match" ? ": no match" : ""}`;
  if (each.op === "cas") return `set ${each.key} = ${each.value}`;
  if (each.op === "read") return `read${of}${each.outcome === "ok" ? `: ${each.output ?? "nothing"}` : ""}`;
  return each.key === "" ? each.op : `${each.op}${of} = ${each.value}`;
}
