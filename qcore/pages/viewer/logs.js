// The logs of all nodes around the newest entries: the term of each entry, and what is committed, applied and on disk.

import { find, make, setAll, setText } from "../shared/dom.js";

const TERM_COLOURS = 7;
const CELL = 17;
const LEFT = 60;

/** The term of an entry of a node's log; null if the log does not hold it. */
export function termAt(state, index) {
  for (let place = state.log.length - 1; place >= 0; place -= 1) {
    const [first, last, term] = state.log[place];
    if (index > last) return null;
    if (index >= first) return term;
  }
  return index <= state.snap[0] ? "s" : null;
}

export class Logs {
  constructor(view) {
    this.view = view;
    this.head = make("div", { className: "log-row log-head", "aria-hidden": "true" });
    this.rows = new Map();
    for (const node of view.run.nodes) {
      const name = make("button", { type: "button", className: "log-name" }, `node ${node}`);
      name.addEventListener("click", () => view.set({ node: view.node === node ? 0 : node }));
      const cells = make("div", { className: "log-cells" });
      this.rows.set(node, { row: make("div", { className: "log-row", role: "group" }, name, cells), cells, name });
    }
    this.note = make("p", { className: "faint log-note legend-line" });
    find("logs").append(this.head, ...[...this.rows.values()].map(({ row }) => row), this.note);
    this.width = 0;
    new ResizeObserver(() => {
      this.width = find("logs").clientWidth;
      this.key = "";
      view.draw();
    }).observe(find("logs"));
    this.note.append(...logLegend(view.run.head.inferred));
  }

  draw() {
    const { state, node: chosen, run } = this.view;
    if (!state) return;
    const room = Math.max(8, Math.min(40, Math.floor((this.width - LEFT - 4) / CELL)));
    const newest = Math.max(1, ...run.nodes.map((node) => state.nodes.get(node)?.last ?? 0));
    const first = Math.max(1, newest - room + 2);
    const key = `${first} ${room} ${chosen} ${run.nodes.map((node) => {
      const s = state.nodes.get(node);
      return s ? [s.last, s.commit, s.applied, s.durable, s.up, s.snap[0], s.log.at(-1)?.[2], s.log.length] : "";
    }).join(";")}`;
    if (key === this.key) return;
    this.key = key;
    this.drawHead(first, room);
    find("snapshot-key").hidden = !run.nodes.some((node) => (state.nodes.get(node)?.snap[0] ?? 0) >= first);
    for (const [node, parts] of this.rows) {
      const found = state.nodes.get(node);
      if (found) this.drawRow(node, found, parts, first, room, chosen === node);
    }
  }

  drawHead(first, room) {
    const texts = [];
    for (let index = first; index < first + room; index += 1) if (index % 5 === 0 || index === first) texts.push(index);
    this.head.replaceChildren(...texts.map((index) => {
      const label = make("span", { className: "number" }, String(index));
      label.style.left = `${LEFT + (index - first) * CELL}px`;
      return label;
    }).filter((label, place) => place === 0 || texts[place] - texts[0] >= 3 || place > 1));
  }

  drawRow(node, state, { row, cells, name }, first, room, isChosen) {
    const made = [];
    for (let index = first; index < first + room; index += 1) {
      const term = termAt(state, index);
      if (term === null) break;
      const isSnapshot = term === "s";
      const classes = ["cell", isSnapshot ? "in-snapshot" : `term-${term % TERM_COLOURS}`];
      if (index > state.commit) classes.push("uncommitted");
      if (index <= state.applied) classes.push("applied");
      if (state.durable !== null && state.durable !== undefined && index > state.durable && !isSnapshot) classes.push("unsynced");
      if (index === state.commit) classes.push("commit-end");
      made.push(make("span", { className: classes.join(" ") }, isSnapshot ? "" : String(term)));
    }
    const missing = first > state.last ? [make("span", { className: "faint log-behind" }, state.last ? `ends at entry ${state.last}` : "empty")] : [];
    cells.replaceChildren(...made, ...missing);
    row.classList.toggle("chosen", isChosen);
    row.classList.toggle("is-down", !state.up);
    setText(name, `node ${node}`);
    setAll(row, { "aria-label": `Log of node ${node}: through entry ${state.last}, committed ${state.commit}, applied ${state.applied}` });
  }
}

/** The legend: what the looks of an entry mean. */
function logLegend(isInferred) {
  const cell = (classes, text) => make("i", { className: `cell ${classes}` }, text);
  const items = [
    [[cell("term-1", "1"), cell("term-2", "2")], "entry, with its term"],
    [[cell("uncommitted", "2")], "not committed"],
    [[cell("term-2 commit-end", "2")], "last committed"],
    [[cell("term-2 applied", "2")], "applied"],
    ...(isInferred ? [] : [[[cell("term-2 unsynced", "2")], "not on disk"]]),
  ];
  return [
    ...items.map(([cells, text]) => make("span", { className: "key-item" }, ...cells, text)),
    make("span", { className: "key-item", id: "snapshot-key", hidden: true }, cell("in-snapshot", ""), "in a snapshot"),
    ...(isInferred ? [make("span", {}, "The trace does not hold the logs: they are inferred from messages and applied entries.")] : []),
  ];
}
