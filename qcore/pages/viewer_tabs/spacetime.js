// The space-time diagram of the window: a line a node, an arrow a message, and what influenced the chosen event.

import { ticks } from "../shared/axis.js";
import { button, colours, make, NowLine, saveAs, setText, shape } from "../shared/dom.js";
import { counted, duration, grouped } from "../shared/format.js";
import { CLASSES, classOf, lossReason, ROLES, shortContents } from "../shared/raft_words.js";
import { GUTTER, windowScale } from "../viewer/overview.js";
import { eventText } from "../viewer/event_text.js";

const MOST_MESSAGES = 600, MOST_ARROW_LABELS = 60, MOST_CHUNKS = 3, MOST_FAULTS = 10, TOP = 14, DIAGRAM_AXIS = 22;
const LEAST_ROW = 38, LANE_HALF = 6, LABEL_HEIGHT = 13;
const USEFUL_MESSAGES = 50, MOST_OF_ELECTION = 250, NARROWEST_US = 1000;   // of a window that the tab chooses
const LOST_LINE = { "stroke-dasharray": "4 3" };
/** The lines of the classes of messages, which do not depend on colour. Those without one here are whole. */
const LINES = {
  vote_answer: { "stroke-dasharray": "7 2.5" }, append_answer: { "stroke-dasharray": "1 2.5", "stroke-linecap": "round" },
  snapshot: { "stroke-dasharray": "14 2" }, snapshot_answer: { "stroke-dasharray": "1 2.5", "stroke-linecap": "round" },
  forward: { "stroke-dasharray": "9 2.5 1.5 2.5" }, forward_answer: { "stroke-dasharray": "5 2.5 1.5 2.5 1.5 2.5" },
};
const FONT_FAMILY = "system-ui, 'DejaVu Sans', sans-serif";
const HIDEABLE = [["vote", "votes"], ["append", "log and heartbeats"], ["answer", "answers"], ["forward", "clients' requests"]];

/** Which switch shows a class of messages. */
function groupOf(kind) {
  if (kind.startsWith("vote")) return "vote";
  if (kind === "append" || kind === "heartbeat" || kind === "snapshot") return "append";
  if (kind.startsWith("forward")) return "forward";
  return "answer";
}

/**
 * The causal past and future of an event among events in order: of each node the last event that can have influenced it,
 * and the first that it can have influenced. A message carries influence from its sending to its receipt. One that is
 * received before it was sent, by clocks that differ, carries none. `qcore/analysis/course/causality.py` has the same rule.
 */
export function cone(events, chosen) {
  const past = new Map(), future = new Map();
  const pastMessages = new Set(), futureMessages = new Set();
  if (chosen.kind === "drop") {  // the loss follows the sending, and precedes nothing
    if (chosen.mate) {
      past.set(chosen.from, chosen.mate);
      pastMessages.add(chosen.mate);
    }
  } else if (chosen.node > 0) {
    past.set(chosen.node, chosen.number);
    future.set(chosen.node, chosen.number);
  }
  const carries = (event) => event.kind === "recv" && event.mate && event.mate < event.number;
  for (let place = events.length - 1; place >= 0; place -= 1) {
    const event = events[place];
    if (!carries(event) || event.number > (past.get(event.node) ?? -1)) continue;
    past.set(event.from, Math.max(past.get(event.from) ?? -1, event.mate));
    pastMessages.add(event.mate);
  }
  for (const event of events) {
    if (!carries(event) || event.mate < (future.get(event.from) ?? Infinity)) continue;
    future.set(event.node, Math.min(future.get(event.node) ?? Infinity, event.number));
    futureMessages.add(event.mate);
  }
  return { past, future, pastMessages, futureMessages };
}

export class SpacetimeTab {
  constructor(view, panel, announce) {
    this.view = view;
    this.hidden = new Set();
    this.showsCone = false;
    const switches = HIDEABLE.map(([name, text]) => {
      const box = make("input", { type: "checkbox", checked: true, id: `show-${name}` });
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(name);
        else this.hidden.add(name);
        this.drawn = "";
        view.draw();
      });
      return make("label", {}, box, ` ${text}`);
    });
    const coneBox = make("input", { type: "checkbox", id: "show-cone" });
    coneBox.addEventListener("change", () => {
      this.showsCone = coneBox.checked;
      this.drawn = "";
      view.draw();
    });
    this.note = make("p", { className: "faint spacetime-note", role: "status" });
    this.legend = make("p", { className: "legend-line spacetime-legend" });
    this.isOpen = false;
    view.on(() => { if (this.isOpen && view.tab !== "spacetime") this.close(); });
    this.svg = shape("svg", { class: "spacetime", role: "img", "aria-label": "Space-time diagram" });
    this.scroll = make("div", { className: "scroll" }, make("div", { className: "picture" }, this.svg));
    this.now = new NowLine(this.svg.parentNode);
    panel.append(make("div", { className: "tools" }, ...switches,
      make("label", { title: "Highlight the events that can have influenced the chosen event, and those that it can have influenced" }, coneBox, " cause and effect"),
      button("Save SVG", "Save the diagram as an SVG file", () => {
        saveAs(`${view.run.head.name || "run"}-space-time.svg`, "image/svg+xml", this.asFile());
        announce("The diagram is saved");
      }, { id: "save-svg" })), this.note, this.legend, this.scroll);
    this.svg.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => {
      this.size = { width: this.scroll.clientWidth, height: this.scroll.clientHeight };
      this.drawn = "";
      view.draw();
    }).observe(this.scroll);
  }

  asFile() {
    const copy = this.svg.cloneNode(true);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("font-family", FONT_FAMILY);
    copy.setAttribute("font-size", "11");
    const x = windowScale(this.view).x(this.view.t);
    if (!this.now.line.hidden) copy.append(shape("line", { x1: x, x2: x, y1: 2, y2: this.height - DIAGRAM_AXIS + 4, stroke: colours().accent, "stroke-width": 2 }));
    copy.prepend(shape("rect", { width: "100%", height: "100%", fill: colours().panel }));
    return new XMLSerializer().serializeToString(copy);
  }

  /** A whole run has too many messages for a diagram: begin with a window that can be read. Closing the tab undoes it. */
  open() {
    const { view } = this, { run } = view, { from, to } = view;
    this.isOpen = true;
    this.zoomed = null;
    if (view.running || this.estimate(from, to) <= MOST_MESSAGES) return;
    const election = run.electionAt(view.t);
    if (election && this.estimate(election.start, election.end) <= MOST_OF_ELECTION) {
      const margin = Math.max((election.end - election.start) * 0.1, 500);
      Object.assign(view, { from: election.start - margin, to: election.end + margin });
    } else {
      for (let width = NARROWEST_US; width < to - from; width *= 1.25) {
        const before = { from: view.from, to: view.to };
        Object.assign(view, { from: view.t - width / 2, to: view.t + width / 2 });
        view.fitWindow();
        if (width > NARROWEST_US && this.estimate(view.from, view.to) > USEFUL_MESSAGES) {
          Object.assign(view, before);
          break;
        }
      }
    }
    view.fitWindow();
    this.zoomed = { from: view.from, to: view.to, before: { from, to } };
    view.set({});
  }

  close() {
    const { view, zoomed } = this;
    this.isOpen = false;
    if (zoomed && view.from === zoomed.from && view.to === zoomed.to) view.set(zoomed.before);
  }

  draw() {
    const { view } = this;
    if (!this.size?.width) return;
    if (!this.isOpen) this.open();
    const event = view.running ? "" : view.position;
    const key = `${view.from} ${view.to} ${event} ${view.scheme} ${view.loads} ${view.width}`;
    const scale = windowScale(view);
    if (key !== this.drawn) {
      this.drawn = key;
      this.isPainted = this.drawWindow();
    }
    this.now.move(this.isPainted && scale.inside(view.t) ? scale.x(view.t) : null);
  }

  /** Returns whether the window can be drawn. */
  drawWindow() {
    const { view } = this;
    const { isTooLong, parts } = view.run.eventsBetween(view.from, view.to, MOST_CHUNKS);
    if (isTooLong) return this.tooMany(this.estimate(view.from, view.to));
    if (!parts) return false;  // it is being decoded
    const events = [];
    let sends = 0;
    const sendKind = view.run.head.kinds.indexOf("send");
    for (const { chunk, first, last } of parts) {
      for (let n = first; n <= last; n += 1) if (chunk.kinds[n - chunk.first] === sendKind) sends += 1;
    }
    if (sends > MOST_MESSAGES) return this.tooMany(sends);
    for (const { chunk, first, last } of parts) for (let n = first; n <= last; n += 1) events.push(chunk.event(n));
    this.paint(events, sends, this.size.width);
    return true;
  }

  /** About how many messages were sent from one time until another. */
  estimate(from, to) {
    const { bins } = this.view.run.overview;
    const place = (t) => Math.max(0, Math.min(bins.count, (t - (bins.start_us ?? 0)) / bins.width_us));
    const first = place(from), last = place(to);
    let sum = 0;
    for (const each of Object.values(bins.sent)) {
      for (let bin = Math.floor(first); bin < last; bin += 1) sum += each[bin] * (Math.min(bin + 1, last) - Math.max(bin, first));
    }
    return Math.round(sum);
  }

  tooMany(count) {
    const { view } = this;
    const width = Number(((view.to - view.from) * Math.min(0.5, 150 / Math.max(1, count))).toPrecision(1));
    this.svg.replaceChildren();
    this.legend.replaceChildren();
    this.note.replaceChildren(`This window has ${grouped(count)} messages, too many for a diagram. `,
      button(`Zoom to ${duration(width)}`, "Zoom in around the moment", () => view.show(view.t, width), { id: "zoom-spacetime" }));
    return false;
  }

  paint(events, sends, width) {
    const { view } = this, { run } = view, ink = colours();
    const height = this.height = Math.max(this.size.height - 4, run.nodes.length * LEAST_ROW + TOP + DIAGRAM_AXIS);
    const scale = this.scale = windowScale(view);
    const gap = (height - TOP - DIAGRAM_AXIS) / run.nodes.length;
    this.rows = new Map(run.nodes.map((node, rank) => [node, TOP + gap * (rank + 0.5)]));
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    const back = shape("g"), arrows = shape("g", { "clip-path": "url(#window-clip)" }), marks = shape("g"), labels = shape("g");
    const clip = shape("clipPath", { id: "window-clip" }, shape("rect", { x: GUTTER - 6, y: 0, width: scale.right - GUTTER + 12, height }));
    this.spots = [];
    this.boxes = [...this.rows.values()].map((y) => ({ x: 0, y: y - LANE_HALF, w: width, h: 2 * LANE_HALF }));
    this.texts = [];
    this.seen = new Set();
    this.paintBack(back, scale, height, gap);
    const chosen = events.find((each) => each.number === view.event) ?? null;
    const lit = chosen && this.showsCone ? cone(events, chosen) : null;
    this.labelRoom = sends <= MOST_ARROW_LABELS;
    for (const event of events) {
      if (event.kind === "send") this.arrow(arrows, event, scale, lit);
      else this.mark(marks, event, scale, lit);
    }
    this.paintLabels(labels);
    this.svg.replaceChildren(shape("defs", {}, clip), back, arrows, marks, labels, ...this.ringOf(chosen));
    setText(this.note, `${counted(sends, "message")} in ${duration(view.to - view.from)}. Time runs to the right.`);
    this.legend.replaceChildren(...diagramLegend(this.seen));
  }

  ringOf(chosen) {
    const spot = chosen && this.spots.find((each) => each.event === chosen.number);
    if (spot) this.seen.add("chosen");
    return spot ? [shape("circle", { cx: spot.x, cy: spot.y, r: 7, fill: "none", stroke: colours().accent, "stroke-width": 2 })] : [];
  }

  paintBack(back, scale, height, gap) {
    const { view } = this, { run } = view, ink = colours();
    for (const { t, text } of ticks(scale, run.zero)) {
      const x = scale.x(t);
      back.append(shape("line", { x1: x, x2: x, y1: 2, y2: height - DIAGRAM_AXIS, stroke: ink.line }),
        shape("text", { x: Math.min(Math.max(x, GUTTER + 12), scale.right - 14), y: height - 6, fill: ink.faint, "text-anchor": "middle" }, text));
    }
    for (const [node, y] of this.rows) {
      back.append(shape("text", { x: 0, y: y + 4, fill: ink.text, "font-weight": 600 }, `node ${node}`));
      for (const span of run.spans.get(node) ?? []) {
        const x = Math.max(GUTTER, scale.x(span.start)), end = Math.min(scale.right, scale.x(span.start + span.length));
        if (end <= GUTTER || x >= scale.right) continue;
        const isDown = span.role === "down";
        const role = ROLES[span.role] ?? ROLES.follower;
        back.append(shape("rect", { x, y: y - 5, width: Math.max(1, end - x), height: 10, fill: ink[role.colour], stroke: ink.edge, "stroke-width": isDown ? 1 : 0.5, ...(isDown ? { "stroke-dasharray": "3 2" } : {}) }));
        const text = `${role.text}, term ${span.term}`;
        if (end - x > text.length * 6.2 + 8 && gap > 30) {
          back.append(shape("text", { x: x + 3, y: y + 16, fill: ink.faint, "font-size": 10 }, text));
          this.boxes.push({ x, y: y + 7, w: text.length * 5.6, h: 11 });
        }
      }
    }
    const faults = run.overview.faults.filter((each) => each.start <= view.to && each.end >= view.from);
    const bottom = faults.length > MOST_FAULTS ? 7 : height - DIAGRAM_AXIS - 2;  // many would colour the whole diagram
    for (const fault of faults) {
      const x = Math.max(GUTTER, scale.x(fault.start)), end = Math.min(scale.right, scale.x(fault.end));
      back.prepend(shape("rect", { x, y: 2, width: Math.max(1.5, end - x), height: bottom, fill: ink.fault, opacity: faults.length > MOST_FAULTS ? 0.6 : 0.13 }));
    }
  }

  arrow(arrows, event, scale, lit) {
    const ink = colours();
    const kind = classOf(event.message, event.note);
    const y1 = this.rows.get(event.node), y2 = this.rows.get(event.to);
    if (this.hidden.has(groupOf(kind)) || y1 === undefined || y2 === undefined) return;
    const isLost = event.outcome === 1, isOpen = event.outcome === 2;
    const x1 = scale.x(event.t), isShort = isLost && event.end <= 1;
    let x2 = isOpen ? Math.min(scale.right, x1 + 40) : scale.x(event.t + event.end);
    let yEnd = isOpen ? y1 + (y2 - y1) * 0.6 : y2 > y1 ? y2 - 6 : y2 + 6;
    if (isShort) {
      x2 = x1 + 10;
      yEnd = y1 + Math.sign(y2 - y1) * 20;
    }
    const inPast = lit?.pastMessages.has(event.number), inFuture = lit?.futureMessages.has(event.number);
    const isDim = lit && !inPast && !inFuture;
    const isVote = kind.startsWith("vote");
    const colour = isLost ? ink.lost : ink[CLASSES[kind].colour];
    const yStart = y2 > y1 ? y1 + 5 : y1 - 5;
    const group = shape("g", { opacity: isDim ? 0.18 : 1 });
    group.append(shape("line", {
      x1, y1: yStart, x2, y2: yEnd, stroke: colour, "stroke-width": inPast || inFuture ? 2.4 : isVote ? 1.8 : 1,
      ...(isLost ? LOST_LINE : LINES[kind] ?? {}),
    }));
    if (isLost) group.append(shape("path", { d: `M${x2 - 4} ${yEnd - 4}l8 8m0-8l-8 8`, stroke: ink.lost, "stroke-width": 2, fill: "none" }));
    else group.append(head(x1, yStart, x2, yEnd, colour, isOpen || kind.endsWith("answer")));
    const isEarly = event.outcome === 0 && event.end < 0;  // the clocks differ
    if (isEarly) group.append(shape("circle", { cx: x2, cy: yEnd, r: 5, fill: "none", stroke: ink.lost, "stroke-width": 1.6 }));
    group.append(shape("title", {}, `${event.message} from ${event.node} to ${event.to}: ${shortContents(event.message, event.note, event.term)}${
      isLost ? `; lost` : isOpen ? "; not received when the trace ends" : `, ${isEarly ? "received before it was sent: the clocks differ" : duration(event.end)}`}`));
    arrows.append(group);
    this.spots.push({ event: event.number, x: x1, y: y1 }, { event: event.number, x: (x1 + x2) / 2, y: (yStart + yEnd) / 2 });
    this.seen.add(isLost ? "lost" : isOpen ? "open" : kind.replace("snapshot_answer", "append_answer").replace("heartbeat", "append"));
    if (isEarly) this.seen.add("early");
    const at = (share) => [x1 + (x2 - x1) * share, yStart + (yEnd - yStart) * share];
    if (this.labelRoom && !isDim) this.label(shortContents(event.message, event.note, event.term), [0.5, 0.35, 0.65, 0.22, 0.78].map(at), colour, isVote ? 0 : 2);
  }

  /** A text beside one of some places; those of a low rank get a place first. */
  label(text, places, colour, rank) { this.texts.push({ text, places, colour, rank }); }

  /** Write each text where no other one and no line of a node is, if there is such a place. */
  paintLabels(labels) {
    const halo = colours().halo;
    for (const { text, places, colour } of this.texts.sort((a, b) => a.rank - b.rank)) {
      const w = text.length * 5.9 + 4;
      const box = places.flatMap(([x, y]) => [x + 4, x - w - 4].map((left) => ({ x: left, y: y - 8, w, h: LABEL_HEIGHT }))).find((each) => this.isFree(each));
      if (!box) continue;
      this.boxes.push(box);
      labels.append(shape("text", { x: box.x, y: box.y + 11, fill: colour, "font-size": 10.5, stroke: halo, "stroke-width": 3, "paint-order": "stroke" }, text));
    }
  }

  isFree(box) {
    if (box.x < GUTTER || box.x + box.w > this.scale.right || box.y < 0) return false;
    return !this.boxes.some((each) => box.x < each.x + each.w && each.x < box.x + box.w && box.y < each.y + each.h && each.y < box.y + box.h);
  }

  mark(marks, event, scale, lit) {
    const ink = colours();
    const y = this.rows.get(event.node);
    if (y === undefined) return;
    const x = scale.x(event.t);
    this.spots.push({ event: event.number, x, y });
    const isLit = !lit || event.number <= (lit.past.get(event.node) ?? -1) || event.number >= (lit.future.get(event.node) ?? Infinity);
    const opacity = isLit ? 1 : 0.2;
    if (event.kind === "vote") {
      marks.append(shape("path", { d: `M${x - 4} ${y}l3 4l6 -8`, fill: "none", stroke: ink.text, "stroke-width": 2.2, opacity }, shape("title", {}, eventText(event))));
      this.seen.add("voted");
      if (this.labelRoom) this.label(event.candidate === event.node ? "votes for itself" : `votes for ${event.candidate}`, [[x, y - 11], [x, y + 25]], ink.text, 1);
    } else if (event.kind === "role") {
      const role = ROLES[event.role] ?? ROLES.follower;
      marks.append(shape("circle", { cx: x, cy: y, r: 5, fill: ink[role.colour], stroke: ink.edge, opacity }, shape("title", {}, eventText(event))));
      this.seen.add("role");
      if (this.labelRoom && event.role === "leader") this.label(`leads term ${event.term}`, [[x, y - 11], [x, y + 25]], ink.text, 0);
    } else if (event.kind === "commit") {
      this.seen.add("commit");
      marks.append(shape("rect", { x: x - 1, y: y - 5, width: 2, height: 10, fill: ink.ok_text, opacity }, shape("title", {}, eventText(event))));
    } else if (event.kind === "down" || event.kind === "violation") {
      marks.append(shape("path", { d: `M${x - 5} ${y - 5}l10 10m0-10l-10 10`, stroke: ink.lost, "stroke-width": 2.5, fill: "none", opacity }, shape("title", {}, eventText(event))));
    } else if (event.kind === "drop" && !event.mate) {
      this.seen.add("lost");
      marks.append(shape("path", { d: `M${x - 3} ${y - 3}l6 6m0-6l-6 6`, stroke: ink.lost, "stroke-width": 1.5, fill: "none", opacity }, shape("title", {}, `Lost: ${event.message} from ${event.from}; ${lossReason(event.note)}`)));
    }
  }

  click(event) {
    const box = this.svg.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = 18;
    for (const spot of this.spots ?? []) {
      const far = Math.hypot(spot.x - x, spot.y - y);
      if (far < least) [best, least] = [spot, far];
    }
    if (best) this.view.goTo(best.event);
    else if (this.scale && x >= GUTTER) this.view.set({ t: this.scale.t(x), running: false });
  }
}

/** The head of an arrow: hollow for an answer. */
function head(x1, y1, x2, y2, colour, isHollow) {
  const angle = Math.atan2(y2 - y1, x2 - x1), size = 6.5;
  const corner = (turn) => `${x2 - size * Math.cos(angle + turn)} ${y2 - size * Math.sin(angle + turn)}`;
  return shape("path", { d: `M${corner(0.45)}L${x2} ${y2}L${corner(-0.45)}Z`, fill: isHollow ? colours().panel : colour, stroke: colour, "stroke-width": 1.2 });
}

/** The legend of what a diagram shows. */
function diagramLegend(seen) {
  const ink = colours();
  const arrow = (colour, attributes, isHollow) => [shape("line", { x1: 1, y1: 7, x2: 22, y2: 7, stroke: colour, "stroke-width": 1.4, ...attributes }), head(1, 7, 24, 7, colour, isHollow)];
  const cross = (x) => shape("path", { d: `M${x - 4} 3l8 8m0-8l-8 8`, stroke: ink.lost, "stroke-width": 2, fill: "none" });
  const items = [
    ["vote", "request for a vote", () => arrow(ink.vote, { "stroke-width": 1.8 }, false)],
    ["vote_answer", "answer to it", () => arrow(ink.vote, { "stroke-width": 1.8, ...LINES.vote_answer }, true)],
    ["append", "log entries or heartbeat", () => arrow(ink.append, {}, false)],
    ["append_answer", "confirmation", () => arrow(ink.response, LINES.append_answer, true)],
    ["snapshot", "snapshot", () => arrow(ink.snapshot, LINES.snapshot, false)],
    ["forward", "client's request", () => arrow(ink.forward, LINES.forward, false)],
    ["forward_answer", "its result", () => arrow(ink.forward, LINES.forward_answer, true)],
    ["other", "other message", () => arrow(ink.response, {}, false)],
    ["lost", "lost", () => [shape("line", { x1: 1, y1: 7, x2: 17, y2: 7, stroke: ink.lost, ...LOST_LINE }), cross(19)]],
    ["open", "not received when the trace ends", () => arrow(ink.append, {}, true)],
    ["early", "received before it was sent: the clocks differ", () => [shape("circle", { cx: 12, cy: 7, r: 5, fill: "none", stroke: ink.lost, "stroke-width": 1.6 })]],
    ["voted", "votes", () => [shape("path", { d: "M8 7l3 4l6 -8", fill: "none", stroke: ink.text, "stroke-width": 2.2 })]],
    ["role", "new role", () => [shape("circle", { cx: 12, cy: 7, r: 5, fill: ink.follower, stroke: ink.edge })]],
    ["chosen", "the event of the moment", () => [shape("circle", { cx: 12, cy: 7, r: 5.5, fill: "none", stroke: ink.accent, "stroke-width": 2 })]],
    ["commit", "knows of a commit", () => [shape("rect", { x: 11, y: 2, width: 2, height: 10, fill: ink.ok_text })]],
  ];
  return items.filter(([name]) => seen.has(name)).map(([, text, draw]) => make("span", { className: "key-item" }, shape("svg", { width: 26, height: 14, "aria-hidden": "true" }, ...draw()), text));
}
