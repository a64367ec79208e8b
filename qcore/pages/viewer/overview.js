// The timeline: the whole run as a strip, and the window below it with roles, faults, outcomes and violations.

import { placeTexts, ticks, timeScale } from "../shared/axis.js";
import { colours, find, fitted, hatch, make, NowLine, pen, setAll, setText } from "../shared/dom.js";
import { counted, duration, moment, seconds } from "../shared/format.js";
import { ROLES } from "../shared/raft_words.js";
import { lastWhere } from "./payload.js";

export const GUTTER = 68;
export const RIGHT = 18;   // a scroll bar of a picture below may stand here
export const FONT = "11px system-ui, 'DejaVu Sans', sans-serif";
const STRIP = 24, LEADS = 19, LANE = 17, OUTCOMES = 26, AXIS = 18, LINE = 14, FAULTS = 10;
const MOST_EXACT = 600;
const MOST_SHADED = 10;   // more faults would make one coloured area of the lanes
const GAP = "records are missing";
const FAILURE_GAP = 14;

/** The scale of the window; all pictures of the window share it, so that a moment has one place on the screen. */
export const windowScale = (view) => timeScale(view.from, view.to, GUTTER, view.width - RIGHT);

/** The texts for the span of a role, from long to short. */
function spanTexts({ role, term }) {
  const { text, letter } = ROLES[role] ?? { text: role, letter: "" };
  if (role === "follower") return [];
  return role === "down" ? [text, letter] : [`${text}, term ${term}`, text, letter];
}

export class Timeline {
  constructor(view) {
    this.view = view;
    this.strip = make("canvas", { className: "strip" });
    this.canvas = make("canvas", { className: "lanes" });
    this.tip = make("div", { className: "tip", hidden: true });
    this.element = find("timeline");
    this.slider = make("div", { className: "time-slider", tabIndex: 0, role: "slider", "aria-label": "Moment" }, this.canvas);
    const whole = make("div", { className: "picture" }, this.strip);
    this.legend = make("p", { className: "legend-line timeline-legend" }, ...timelineLegend(view.run));
    this.element.append(whole, this.slider, this.legend, this.tip);
    this.wholeNow = new NowLine(whole);
    this.now = new NowLine(this.slider, "with-handle");
    const { overview, nodes } = view.run;
    this.faultLines = Math.min(3, new Set(overview.faults.map((each) => each.label)).size + (overview.gaps.length ? 1 : 0));
    this.top = this.faultLines ? this.faultLines * LINE + FAULTS : 0;
    this.height = this.top + LEADS + nodes.length * LANE + OUTCOMES + AXIS + 4;
    this.now.line.style.top = `${Math.max(0, this.top - 2)}px`;
    this.now.line.style.bottom = `${AXIS}px`;
    this.strip.style.height = `${STRIP}px`;
    this.canvas.style.height = `${this.height}px`;
    this.drag(this.canvas, (x) => view.set({ t: this.scale.t(x), running: false }));
    this.drag(this.strip, (x) => {
      const width = view.to - view.from, t = this.whole.t(x);
      Object.assign(view, { from: t - width / 2, to: t + width / 2 });
      view.fitWindow();
      view.set({ t, running: false });
    });
    for (const canvas of [this.canvas, this.strip]) canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.view.width = this.element.clientWidth;
    new ResizeObserver(() => {
      view.width = this.element.clientWidth;
      view.draw();
    }).observe(this.element);
  }

  drag(canvas, go) {
    const at = (event) => go(event.clientX - canvas.getBoundingClientRect().left);
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      at(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) at(event); });
  }

  wheel(event) {
    const page = document.scrollingElement;
    if (!event.ctrlKey && page.scrollHeight > page.clientHeight + 4) return;  // the wheel scrolls a long page
    event.preventDefault();
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
      this.view.pan((event.deltaX || event.deltaY) / this.scale.factor);
    } else {
      this.view.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 200), this.scale.t(x));
    }
  }

  draw() {
    const { view } = this;
    if (!view.width) return;
    const key = `${view.from} ${view.to} ${view.node} ${view.width} ${document.documentElement.dataset.theme} ${view.scheme} ${view.loads}`;
    if (key !== this.key) {
      this.key = key;
      this.drawStrip();
      this.drawWindow();
    }
    const x = this.scale.x(view.t);
    this.wholeNow.move(this.whole.x(view.t));
    this.now.move(x >= GUTTER - 1 && x <= this.scale.right + 1 ? x : null);
    setAll(this.slider, {
      "aria-valuemin": ((view.run.first - view.run.zero) / 1e6).toFixed(3), "aria-valuemax": ((view.run.end - view.run.zero) / 1e6).toFixed(3),
      "aria-valuenow": ((view.t - view.run.zero) / 1e6).toFixed(6), "aria-valuetext": moment(view.t - view.run.zero),
    });
  }

  // --- the strip of the whole run ----------------------------------------------------------------

  drawStrip() {
    const { view } = this, { run } = view, ink = colours();
    const { context, width } = pen(this.strip, view.width, STRIP);
    const scale = this.whole = timeScale(run.first, run.end, GUTTER, width - RIGHT);
    context.font = FONT;
    context.textBaseline = "middle";
    context.fillStyle = ink.faint;
    context.fillText("whole run", 0, STRIP / 2);
    context.fillStyle = ink.follower;
    context.fillRect(GUTTER, 5, scale.right - GUTTER, STRIP - 12);
    for (const lead of run.led.filter((each) => each.majority)) {
      const x = scale.x(Math.max(lead.start, run.begin)), end = scale.x(lead.start + lead.length);
      context.fillStyle = ink.leader;
      context.fillRect(x, 5, Math.max(1, end - x - 0.5), STRIP - 12);
    }
    this.drawFaultBars(context, scale, STRIP - 6, 4);
    for (const [event, t] of run.overview.marks.violations ?? []) if (event >= 0) this.violation(context, scale.x(t), 4);
    context.strokeStyle = context.fillStyle = ink.accent;
    const from = scale.x(view.from), to = scale.x(view.to);
    context.globalAlpha = 0.14;
    context.fillRect(from, 1, Math.max(3, to - from), STRIP - 2);
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.strokeRect(from, 1.5, Math.max(3, to - from), STRIP - 3);
  }

  violation(context, x, y) {
    context.fillStyle = colours().lost;
    context.beginPath();
    context.moveTo(x - 5, y - 4);
    context.lineTo(x + 5, y - 4);
    context.lineTo(x, y + 5);
    context.closePath();
    context.fill();
  }

  /** The faults and the gaps of the trace that overlap a scale, with their places on it. */
  faultsOn(scale) {
    const { faults, gaps } = this.view.run.overview, ink = colours();
    const found = [];
    for (const { list, colour } of [{ list: faults, colour: ink.fault }, { list: gaps, colour: ink.edge }]) {
      for (const each of list) {
        const end = each.end ?? each.start + each.length;
        if (end < scale.from || each.start > scale.to) continue;
        const x = Math.max(scale.left, scale.x(each.start));
        found.push({ x, is_end: each.is_end, width: Math.max(2, Math.min(scale.right, scale.x(end)) - x), colour, begins: each.start >= scale.from, ends: end <= scale.to });
      }
    }
    return found;
  }

  drawFaultBars(context, scale, y, height) {
    for (const { x, width, colour } of this.faultsOn(scale)) {
      context.fillStyle = colour;
      context.globalAlpha = 0.75;
      context.fillRect(x, y, width, height);
      context.globalAlpha = 1;
    }
  }

  shadeFaults(context, scale, top, bottom) {
    const found = this.faultsOn(scale).filter((each) => !each.is_end);  // the lane of a node shows that it is down
    if (found.length > MOST_SHADED) return;
    for (const { x, width, colour, begins, ends } of found) {
      context.globalAlpha = 0.22;
      context.fillStyle = hatch(context, colour, 8);
      context.fillRect(x, top, width, bottom - top);
      context.globalAlpha = 1;
      context.fillStyle = colour;
      if (begins) context.fillRect(x, top, 1.2, bottom - top);
      if (ends) context.fillRect(x + width - 1.2, top, 1.2, bottom - top);
    }
  }

  // --- the window ----------------------------------------------------------------------------------

  drawWindow() {
    const { view } = this, { run } = view, ink = colours();
    const { context } = pen(this.canvas, view.width, this.height);
    const scale = this.scale = windowScale(view);
    context.font = FONT;
    context.textBaseline = "middle";
    const leads = this.top, lanes = leads + LEADS, outcomes = lanes + run.nodes.length * LANE, axis = outcomes + OUTCOMES;
    context.strokeStyle = ink.line;
    context.fillStyle = ink.faint;
    context.lineWidth = 1;
    for (const { t, text } of ticks(scale, run.zero)) {
      const x = Math.round(scale.x(t)) + 0.5;
      context.beginPath();
      context.moveTo(x, leads);
      context.lineTo(x, axis + 4);
      context.stroke();
      context.textAlign = "center";
      context.fillText(text, Math.min(Math.max(x, GUTTER + 12), scale.right - 14), axis + 11);
    }
    context.textAlign = "left";
    this.drawLeads(context, scale, leads);
    run.nodes.forEach((node, rank) => this.drawLane(context, scale, node, lanes + rank * LANE));
    this.shadeFaults(context, scale, leads, outcomes);
    if (this.faultLines) this.drawFaultBars(context, scale, leads - FAULTS, FAULTS - 4);
    this.drawFaultNames(context, scale);
    this.drawOutcomes(context, scale, outcomes);
    for (const [, t] of run.overview.marks.violations ?? []) {
      if (!scale.inside(t)) continue;
      context.fillStyle = ink.lost;
      context.fillRect(scale.x(t) - 0.75, leads, 1.5, axis - leads);
      this.violation(context, scale.x(t), leads + 2);
    }
  }

  drawLeads(context, scale, y) {
    const { run } = this.view, ink = colours();
    context.fillStyle = ink.text;
    context.fillText("leader", 0, y + LEADS / 2 - 1);
    context.fillStyle = hatch(context, ink.lost, 5);
    for (const gap of run.leaderless) {
      const x = Math.max(GUTTER, scale.x(Math.max(gap.start, run.begin))), end = Math.min(scale.right, scale.x(gap.start + gap.length));
      if (end > GUTTER && x < scale.right) context.fillRect(x, y + 1, Math.max(1, end - x), LEADS - 6);
    }
    const visible = run.led.filter((each) => each.node && each.start <= scale.to && each.start + each.length >= scale.from);
    for (const lead of visible) {
      const last = lead.start + lead.length;
      const newer = !lead.majority ? lead.start : visible.filter((other) => other.term > lead.term && other.start < last).reduce((first, other) => Math.min(first, other.start), last);
      const x = Math.max(GUTTER, scale.x(lead.start)), end = Math.min(scale.right, scale.x(newer));
      context.fillStyle = ink.leader;
      if (newer < last && scale.x(last) > GUTTER) {  // it has no majority, or does not know yet that another node leads
        const from = Math.max(GUTTER, scale.x(newer));
        context.fillRect(from, y + LEADS - 4, Math.max(1, Math.min(scale.right, scale.x(last)) - from), 2);
      }
      if (end < GUTTER || newer === lead.start) continue;
      context.fillRect(x, y + 1, Math.max(1, end - x - 1), LEADS - 6);
      context.fillStyle = ink.on_leader;
      const text = end - x > 100 ? `node ${lead.node}, term ${lead.term}` : end - x > 14 ? String(lead.node) : "";
      if (text) context.fillText(fitted(context, text, end - x - 8), x + 5, y + LEADS / 2 - 1.5);
    }
  }

  drawLane(context, scale, node, y) {
    const { run, node: chosen } = this.view, ink = colours();
    context.fillStyle = ink.text;
    if (node === chosen) context.font = `bold ${FONT}`;
    context.fillText(`node ${node}`, 0, y + LANE / 2);
    context.font = FONT;
    const spans = run.spans.get(node) ?? [];
    let drawnTo = -1;
    for (let place = lastWhere(spans, (each) => each.start <= scale.from); place < spans.length; place += 1) {
      const span = spans[place];
      if (span.start > scale.to) break;
      const x = Math.max(GUTTER, scale.x(span.start)), end = Math.min(scale.right, scale.x(span.start + span.length));
      if (end < GUTTER || (end - drawnTo < 0.4 && span.role === "follower")) continue;
      drawnTo = end;
      const w = Math.max(span.role === "follower" ? 0.5 : 1.5, end - x);
      const role = ROLES[span.role] ?? ROLES.follower;
      context.fillStyle = ink[role.colour];
      context.fillRect(x, y + 2, w, LANE - 4);
      if (span.role === "pre_candidate" || span.role === "candidate") {  // grey alone would not show them
        context.fillStyle = ink.text;
        context.fillRect(x, y + LANE - 4, w, 2);
      }
      if (span.role === "down") {
        context.strokeStyle = ink.edge;
        context.setLineDash([3, 2]);
        context.strokeRect(x + 0.5, y + 2.5, Math.max(1, w - 1), LANE - 5);
        context.setLineDash([]);
      }
      const text = w < 11 ? null : spanTexts(span).find((each) => context.measureText(each).width <= w - 5);
      context.fillStyle = ink[`on_${role.colour}`];
      if (text) context.fillText(text, x + Math.min(5, w / 2 - 3), y + LANE / 2 + 0.5);
    }
  }

  drawFaultNames(context, scale) {
    if (!this.faultLines) return;
    const ink = colours(), { faults, gaps } = this.view.run.overview;
    const texts = [];
    const seen = new Map();
    for (const each of [...gaps.map((gap) => ({ ...gap, label: GAP })), ...faults]) {
      if (each.end < scale.from || each.start > scale.to) continue;
      const label = each.label || each.name;
      if (seen.has(label)) seen.get(label).times += 1;
      else seen.set(label, { label, times: 1, x: Math.max(GUTTER, scale.x(each.start)) });
    }
    for (const each of seen.values()) {
      each.text = fitted(context, each.times > 1 ? `${each.label} (${each.times} times)` : each.label, (scale.right - GUTTER) * 0.6);
      each.width = context.measureText(each.text).width;
      texts.push(each);
    }
    placeTexts(texts, this.faultLines, GUTTER, scale.right);
    const unplaced = texts.filter((each) => each.line < 0).length;
    context.fillStyle = ink.fault_text;
    for (const each of texts) if (each.line >= 0) context.fillText(each.text, each.x, 7 + each.line * LINE);
    if (texts.length) context.fillText(unplaced ? `+ ${unplaced} more` : texts.every(({ label }) => label === GAP) ? "trace" : "fault", 0, 7);
  }

  // --- what the clients saw ---------------------------------------------------------------------------

  drawOutcomes(context, scale, y) {
    const ink = colours(), { bins } = this.view.run.overview;
    context.fillStyle = ink.text;
    context.fillText("clients", 0, y + OUTCOMES / 2 + 1);
    const base = y + OUTCOMES - 3;
    context.fillStyle = ink.line;
    context.fillRect(GUTTER, base, scale.right - GUTTER, 1);
    const exact = bins.width_us * scale.factor > 4 ? this.view.run.operations.between(scale.from, scale.to) : null;
    if (exact?.isWhole && exact.found.length <= MOST_EXACT) {
      const places = { refused: -99, unknown: -99 };
      for (const each of exact.found.filter((one) => one.end !== null && scale.inside(one.end)).sort((a, b) => a.end - b.end)) {
        const x = scale.x(each.end);
        if (each.outcome === "ok") {
          context.fillStyle = ink.ok;
          context.fillRect(x - 1, base - 9, 2, 9);
        } else if (x - places[each.outcome] >= FAILURE_GAP) {
          places[each.outcome] = x;
          this.failure(context, each.outcome, x, y + 8);
        }
      }
      return;
    }
    const columns = Math.max(1, Math.floor((scale.right - GUTTER) / 3));
    const sums = Array.from({ length: columns }, () => [0, 0, 0]);
    for (let bin = 0; bin < bins.count; bin += 1) {
      const x = scale.x((bins.start_us ?? 0) + (bin + 0.5) * bins.width_us);
      const column = Math.floor((x - GUTTER) / 3);
      if (column < 0 || column >= columns) continue;
      sums[column][0] += bins.ok[bin];
      sums[column][1] += bins.refused[bin];
      sums[column][2] += bins.unknown[bin];
    }
    const most = Math.max(1, ...sums.map((each) => each[0]));
    const lastDrawn = { refused: -99, unknown: -99 };
    sums.forEach(([ok, refused, unknown], column) => {
      const x = GUTTER + column * 3;
      context.fillStyle = ink.ok;
      if (ok) context.fillRect(x, base - Math.max(2, 11 * ok / most), 2.4, Math.max(2, 11 * ok / most));
      for (const [count, outcome] of [[refused, "refused"], [unknown, "unknown"]]) {
        if (!count || x - lastDrawn[outcome] < FAILURE_GAP) continue;
        lastDrawn[outcome] = x;
        this.failure(context, outcome, x + 1, y + 7);
      }
    });
  }

  failure(context, outcome, x, y) { drawFailure(context, outcome, x, y); }

  // --- the pointer --------------------------------------------------------------------------------------

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const text = x < GUTTER || !this.scale ? "" : this.textAt(this.scale.t(x), y);
    this.tip.hidden = !text;
    setText(this.tip, text);
    this.tip.style.left = `${Math.max(0, Math.min(x - 60, box.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${STRIP + this.height + 4}px`;  // below the lanes, so that it hides none
  }

  textAt(t, y) {
    const { run } = this.view;
    const utc = run.utc(t), at = `${seconds(t - run.zero)}${utc ? ` (${utc})` : ""}`;
    const rank = Math.floor((y - this.top - LEADS) / LANE);
    const faults = run.faultsAt(t).map((each) => each.label).join("; ");
    const about = faults ? `\n${faults}` : "";
    if (y < this.top + LEADS) {
      const leaders = run.leadersAt(t).map((each) => `node ${each.node} in term ${each.term}`);
      return `${at}: ${leaders.length ? `leader ${leaders.join(", and ")}` : "no leader"}${about}`;
    }
    if (rank < run.nodes.length) {
      const node = run.nodes[rank], span = run.spanAt(node, t);
      if (!span) return `${at}: node ${node}`;
      const leader = span.role === "follower" && span.leader ? ` of ${span.leader}` : "";
      const why = span.role === "down" && span.why ? ` (${span.why})` : `, term ${span.term}`;
      return `${at}: node ${node} is ${ROLES[span.role]?.text ?? span.role}${leader}${why}\nfor ${duration(span.length)}, from ${seconds(span.start - run.zero)}${about}`;
    }
    const { bins } = run.overview;
    const reach = Math.max(1, Math.ceil(4 / this.scale.factor / bins.width_us)), middle = Math.floor((t - (bins.start_us ?? 0)) / bins.width_us);
    const sum = (name) => bins[name].slice(Math.max(0, middle - reach), middle + reach + 1).reduce((a, b) => a + b, 0);
    return `${at}: ${counted(sum("ok"), "operation")} succeeded, ${sum("refused")} refused, ${sum("unknown")} unknown, within ${duration((2 * reach + 1) * bins.width_us)}`;
  }
}

/** Refused: a hollow grey circle with a stroke. Unknown: a full orange circle with a question mark. */
function drawFailure(context, outcome, x, y) {
  const ink = colours();
  context.lineWidth = 1.6;
  context.beginPath();
  if (outcome === "refused") {
    context.strokeStyle = ink.refused;
    context.arc(x, y, 4, 0, Math.PI * 2);
    context.moveTo(x - 3, y + 3);
    context.lineTo(x + 3, y - 3);
    context.stroke();
    return;
  }
  context.fillStyle = ink.unknown;
  context.arc(x, y, 6, 0, Math.PI * 2);
  context.fill();
  context.fillStyle = ink.panel;
  context.font = "bold 10px system-ui, 'DejaVu Sans', sans-serif";
  context.textAlign = "center";
  context.fillText("?", x, y + 0.5);
  context.textAlign = "left";
  context.font = FONT;
}

/** Whether a node led without a majority, or did not know yet that another one led: the row of the leader has a line then. */
const isShadowed = (led) => led.some((each) => each.node && (!each.majority || led.some((other) =>
  other.node && other.term > each.term && other.start < each.start + each.length)));

/** What the marks of the timeline mean: only those that the run has. */
function timelineLegend(run) {
  const { bins, marks, faults } = run.overview;
  const roles = new Set([...run.spans.values()].flatMap((spans) => spans.map(({ role }) => role)));
  const has = (name) => bins[name].some(Boolean);
  const letter = (role) => [ROLES[role].text, make("i", { className: `role-key ${role}` }, ROLES[role].letter)];
  const items = [
    ...["leader", "candidate", "pre_candidate", "follower", "learner", "down"].filter((role) => roles.has(role)).map(letter),
    ...(run.leaderless.length ? [["no leader with a majority", make("i", { className: "leaderless-key" })]] : []),
    ...(isShadowed(run.led) ? [["believes it leads", make("i", { className: "shadowed-key" })]] : []),
    ...(faults.some((each) => !each.is_end) ? [["fault", make("i", { className: "fault-key" })]] : []),
    ...(has("ok") ? [["succeeded", make("i", { className: "succeeded-key" })]] : []),
    ...(has("refused") ? [["refused", make("i", { className: "failure-key refused" }, "⊘")]] : []),
    ...(has("unknown") ? [["outcome unknown", make("i", { className: "failure-key unknown" }, "?")]] : []),
    ...(marks.violations?.length ? [["violation", make("i", { className: "failure-key violation" }, "▼")]] : []),
  ];
  return items.map(([text, mark]) => make("span", { className: "key-item" }, mark, text));
}
