// The cluster at the moment: nodes at fixed places, links, messages on their way, and the clients below.

import { find, make, setAll, setText, shape } from "../shared/dom.js";
import { counted, duration, shown } from "../shared/format.js";
import { CLASSES, contents, downReason, lossReason, reason, ROLES } from "../shared/raft_words.js";
import { drawFlights, drawLoss, drawMark, flightsOf } from "./flights.js";
import { lastWhere } from "./payload.js";

const LABEL_WIDTH = 104;   // pixels
const MOST_CLIENTS = 8;
const LOOK_BACK = 40;

/** Places for nodes on an ellipse, by the rank of their ids. They never move. */
function placesOf(nodes, width, height, radius) {
  const places = new Map();
  const rx = Math.max(60, Math.min(width / 2 - radius - LABEL_WIDTH, height * 0.75));
  const ry = Math.min(height / 2 - radius - 9, Math.max(rx * 1.6, 100));
  nodes.forEach((node, rank) => {
    const angle = -Math.PI / 2 + rank * 2 * Math.PI / Math.max(nodes.length, 1);
    const x = width / 2 + rx * Math.cos(angle), y = height / 2 + ry * Math.sin(angle);
    places.set(node, { x, y, isLeft: Math.cos(angle) < -0.1 });
  });
  return places;
}

class NodeMark {
  constructor(node, choose) {
    this.ring = shape("circle", { class: "ring" });
    this.circle = shape("circle", { class: "body" });
    this.cross = shape("path", { class: "down-cross" });
    this.id = shape("text", { class: "node-id", "text-anchor": "middle", "dominant-baseline": "central" }, String(node));
    this.badge = shape("circle", { class: "badge", r: 8 });
    this.title = shape("title");
    this.letter = shape("text", { class: "badge-text", "text-anchor": "middle", "dominant-baseline": "central" });
    this.lines = Array.from({ length: 5 }, () => shape("text", { class: "node-line" }));
    this.group = shape("g", { class: "node", tabindex: 0, role: "button" },
      this.title, this.ring, this.circle, this.cross, this.id, this.badge, this.letter, ...this.lines);
    this.group.addEventListener("click", choose);
    this.group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
  }

  place({ x, y, isLeft }, radius) {
    this.x = x;
    this.y = y;
    this.isLeft = isLeft;
    this.radius = radius;
    for (const [element, r] of [[this.ring, radius + 4.5], [this.circle, radius]]) setAll(element, { cx: x, cy: y, r });
    setAll(this.cross, { d: `M${x - radius * 0.7} ${y - radius * 0.7}L${x + radius * 0.7} ${y + radius * 0.7}M${x + radius * 0.7} ${y - radius * 0.7}L${x - radius * 0.7} ${y + radius * 0.7}` });
    setAll(this.id, { x, y: y + 0.5 });
    const bx = x + (isLeft ? -1 : 1) * radius * 0.8, by = y - radius * 0.8;
    setAll(this.badge, { cx: bx, cy: by });
    setAll(this.letter, { x: bx, y: by + 0.5 });
  }

  draw(node, state, span, isChosen, isReplaced) {
    const isDown = span?.role === "down" || !state.up;
    const role = isDown ? "down" : state.role;
    const { text, letter } = ROLES[role] ?? ROLES.follower;
    const why = isDown ? downReason(state.why || span?.why || "") : "";
    setAll(this.group, {
      class: `node ${role}${isChosen ? " chosen" : ""}${isReplaced ? " replaced" : ""}`,
      "aria-label": `Node ${node}: ${text}${why ? ` (${why})` : ""}, term ${state.term}, committed ${state.commit}, log through ${state.last}`,
      "aria-pressed": String(isChosen),
    });
    setText(this.letter, isDown ? "" : letter);
    setAll(this.badge, { visibility: letter && !isDown ? "visible" : "hidden" });
    const lines = [isDown ? (/paused/.test(why) ? "paused" : text) : isReplaced ? "old leader" : text, `term ${state.term}`];
    if (state.voted !== null && state.voted !== undefined) lines.push(state.voted === node ? "voted for itself" : `voted for ${state.voted}`);
    setText(this.title, why);
    const unsynced = state.durable === null || state.durable === undefined ? 0 : state.last - state.durable;
    if (unsynced > 0 && !isDown) lines.push(`${unsynced} not on disk`);
    if (state.clock) lines.push(`clock ${state.clock > 0 ? "+" : "−"}${duration(Math.abs(state.clock))}`);
    const top = Math.max(11, this.y - (lines.length - 1) * 6.5);
    this.lines.forEach((line, place) => {
      setText(line, lines[place] ?? "");
      setAll(line, {
        x: this.x + (this.isLeft ? -1 : 1) * (this.radius + 11), y: top + place * 13.5 + 4,
        "text-anchor": this.isLeft ? "end" : "start", class: place ? "node-line" : "node-line first",
      });
    });
  }
}

export class Stage {
  constructor(view) {
    this.view = view;
    this.svg = shape("svg", { class: "cluster", role: "group", "aria-label": "Nodes and links" });
    this.links = shape("g", { class: "links" });
    this.canvas = make("canvas", { className: "flights", "aria-hidden": "true" });
    this.tip = make("div", { className: "tip", hidden: true });
    this.marks = new Map(view.run.nodes.map((node) => [node, new NodeMark(node, () => view.set({ node: view.node === node ? 0 : node }))]));
    this.svg.append(this.links, ...[...this.marks.values()].map((mark) => mark.group));
    this.element = find("stage");
    this.element.append(this.canvas, this.svg, this.tip);
    this.flightList = make("details", { id: "flight-list" }, make("summary"), make("ul"));
    this.element.after(this.flightList);
    this.linkLines = new Map();
    this.spots = { spots: [], losses: [] };
    this.element.addEventListener("pointermove", (event) => this.point(event));
    this.element.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    new ResizeObserver(() => { this.layout(); view.draw(); }).observe(this.element);
    this.flightList.addEventListener("toggle", () => view.draw());
    this.layout();
    drawLegend(view.run.overview.faults);
  }

  layout() {
    const width = this.width = this.element.clientWidth, height = this.height = this.element.clientHeight;
    const { nodes } = this.view.run;
    this.radius = nodes.length <= 5 ? 25 : nodes.length <= 7 ? 21 : 16;
    setAll(this.svg, { width, height });
    this.places = placesOf(nodes, width, height, this.radius);
    this.taken = [];
    for (const [node, mark] of this.marks) {
      const place = this.places.get(node);
      mark.place(place, this.radius);
      const r = this.radius + 6;
      this.taken.push({ x: place.x - r, y: place.y - r, w: 2 * r, h: 2 * r });
      const x = place.isLeft ? place.x - r - 90 : place.x + r;
      this.taken.push({ x, y: place.y - 30, w: 90, h: 62 });
    }
    this.links.replaceChildren();
    this.linkLines.clear();
    for (const a of nodes) for (const b of nodes) if (a < b) this.addLink(a, b);
  }

  addLink(a, b) {
    const from = this.places.get(a), to = this.places.get(b);
    const line = shape("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y, class: "link" });
    const x = (from.x + to.x) / 2, y = (from.y + to.y) / 2;
    const cross = shape("path", { class: "cut-cross" });
    const note = shape("title");
    line.append(note);
    this.links.append(line, cross);
    this.linkLines.set(`${a}>${b}`, { line, cross, note, x, y, from, to, a, b });
  }

  drawLinks(t) {
    const { run } = this.view;
    const cut = run.cutAt(t), impaired = run.impairedAt(t);
    for (const { line, cross, note, x, y, from, to, a, b } of this.linkLines.values()) {
      const there = cut.has(`${a}>${b}`), back = cut.has(`${b}>${a}`);
      const slow = impaired.get(`${a}>${b}`) ?? impaired.get(`${b}>${a}`);
      const state = there && back ? "cut" : there || back ? "cut one-way" : slow ? "impaired" : "";
      setAll(line, { class: `link ${state}` });
      setText(note, there && back ? `The link between ${a} and ${b} is cut` : there ? `${a} cannot reach ${b}` : back ? `${b} cannot reach ${a}` : slow ?? "");
      const share = there && !back ? 0.72 : back && !there ? 0.28 : 0.5;  // the cross is near the node that receives nothing
      const cx = from.x + (to.x - from.x) * share, cy = from.y + (to.y - from.y) * share;
      setAll(cross, { d: there || back ? `M${cx - 4} ${cy - 4}l8 8m0-8l-8 8` : "", "data-x": x, "data-y": y });
    }
  }

  draw() {
    const { view } = this;
    const { state } = view;
    if (!state) return;
    this.drawLinks(view.t);
    const newest = Math.max(0, ...[...state.nodes.values()].filter((each) => each.up && each.role === "leader").map((each) => each.term));
    for (const [node, mark] of this.marks) {
      const found = state.nodes.get(node);
      const isReplaced = found?.role === "leader" && found.term < newest;  // it does not know yet that another node leads
      if (found) mark.draw(node, found, view.run.spanAt(node, view.t), view.node === node, isReplaced);
    }
    this.spots = drawFlights(this.canvas, this, state, view.running ? view.rate : 0);
    this.drawFlightList(state);
    this.drawClients();
  }

  drawFlightList(state) {
    const flights = flightsOf(state);
    const [summary, list] = this.flightList.children;
    setText(summary, flights.length ? `${counted(flights.length, "message")} on the way` : "No message is on the way");
    if (!this.flightList.open) return;
    list.replaceChildren(...flights.slice(-40).reverse().map((flight) => make("li", {}, `${flight.source} → ${flight.target}: ${flight.name}, ${contents(flight.name, flight.note, flight.term)}`)));
  }

  /** Show what the pointer is over: a message or a loss. */
  point(event) {
    const box = this.element.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const near = (spot) => Math.hypot(spot.x - x, spot.y - y);
    const all = [...this.spots.spots, ...this.spots.losses].sort((a, b) => near(a) - near(b));
    const found = all[0] && near(all[0]) < 11 ? all[0] : null;
    this.tip.hidden = !found;
    if (!found) return;
    const { flight, loss } = found;
    setText(this.tip, loss
      ? `${loss.source} → ${loss.target}: ${loss.name} was lost; ${this.lossText(loss)}`
      : `${flight.source} → ${flight.target}: ${flight.name}\n${contents(flight.name, flight.note, flight.term)}\n`
        + (flight.outcome === 1 ? "will be lost" : flight.outcome === 2 ? "has not arrived when the trace ends" : `takes ${duration(flight.end - flight.sent)}`));
    this.tip.style.left = `${Math.min(found.x + 10, this.element.clientWidth - 220)}px`;
    this.tip.style.top = `${found.y + 12}px`;
  }

  lossText({ why, target }) {
    if (why) return lossReason(why);
    return this.view.run.spanAt(target, this.view.t)?.role === "down" ? `node ${target} is down` : "the receiver has no record of it";
  }

  // --- clients ------------------------------------------------------------------------------------

  drawClients() {
    const { run, t } = this.view;
    const byId = run.operations.byClient(t);
    const items = [];
    const clients = run.head.clients.length ? run.head.clients : [...byId.keys()].sort((a, b) => a - b);
    for (const client of clients.slice(0, MOST_CLIENTS)) items.push(this.clientItem(client, byId.get(client) ?? [], t));
    if (clients.length > MOST_CLIENTS) items.push(make("span", { className: "faint" }, `and ${clients.length - MOST_CLIENTS} more clients`));
    const key = items.map((item) => item.textContent).join("|");
    if (key === this.clientsKey) return;
    this.clientsKey = key;
    find("clients").replaceChildren(...items);
  }

  clientItem(client, operations, t) {
    const who = this.view.run.head.source === "real" ? `node ${client}` : String(client);
    const last = operations.length && operations[0].invoke <= t ? lastWhere(operations, (each) => each.invoke <= t) : -1;
    let open = null, done = null, waiting = 0;
    for (let place = last; place >= Math.max(0, last - LOOK_BACK); place -= 1) {
      const each = operations[place];
      if (each.end === null || each.end > t) {
        open = each;
        waiting += 1;
      } else if (!done || each.end > done.end) done = each;
    }
    // The chosen one, one that ends now, the one that waits longest, or the last one.
    const picked = this.view.run.operations.known(this.view.operation);
    const chosen = picked?.client === client && picked.invoke <= t && (picked.end === null || picked.end >= t) ? picked : null;
    const shownOne = chosen ?? (done?.end === t ? done : open ?? done);
    const isOpen = shownOne && (shownOne.end === null || shownOne.end > t), others = waiting - (isOpen ? 1 : 0);
    if (!shownOne) return make("span", { className: "client idle" }, make("b", {}, who), make("span", {}, "–"));
    const name = `${shownOne.op} ${shownOne.key}`;
    const outcome = isOpen ? "waiting" : shownOne.outcome;
    const waited = Math.floor((t - shownOne.invoke) / 1000) * 1000;
    const text = isOpen ? (waited ? `waits ${duration(waited)}` : "begins") : shownOne.outcome === "ok"
      ? duration(shownOne.end - shownOne.invoke) : shownOne.outcome;
    const mark = { waiting: "…", ok: "✓", refused: "⊘", unknown: "?" }[outcome] ?? "…";
    const more = others > 0 ? `; ${counted(others, "other operation")} waiting` : "";
    return make("span", { className: `client ${outcome}`, title: `${name}${shownOne.op === "read" ? "" : ` = ${shown(shownOne.value)}`}${reason(shownOne.note) ? ` (${reason(shownOne.note)})` : ""}${more}` },
      make("b", {}, who), make("span", { className: "outcome" }, mark), make("span", { className: "what" }, name, others > 0 ? make("span", { className: "faint" }, ` +${others}`) : ""), make("span", { className: "number faint" }, text));
  }
}

/** The legend under the cluster: the marks of messages, and of links with a fault. */
export function drawLegend(faults) {
  const legend = find("legend");
  const kinds = ["vote", "append", "heartbeat", "append_answer", "forward", "snapshot"];
  const texts = { vote: "vote", append: "log entries", append_answer: "answer (hollow)", forward: "client's request" };
  const items = [...kinds.map((kind) => [texts[kind] ?? CLASSES[kind].text, (context) => drawMark(context, kind, 8, 8, 4.6)]),
    ["lost", (context) => drawLoss(context, 8, 8, 4)]];
  const links = [["cut link", "cut", faults.some((each) => each.cuts)], ["disturbed link", "impaired", faults.some((each) => each.links.length && !each.cuts)]];
  legend.replaceChildren(...items.map(([text, draw]) => {
    const canvas = make("canvas", { width: 32, height: 32, className: "legend-mark", "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    context.scale(2, 2);
    draw(context);
    return make("span", { className: "legend-item" }, canvas, text);
  }), ...links.filter(([, , isNeeded]) => isNeeded).map(([text, state]) =>
    make("span", { className: "legend-item" }, make("i", { className: `link-key ${state}` }), text)));
}
