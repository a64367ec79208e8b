/** What has happened: leaders, membership changes, log lines, from the events of all members. */

import { find, make, setText } from "../shared/dom.js";
import { place, timeOf } from "./elements.js";

const KEPT_LINES = 1000, SHOWN_LINES = 200, SHOWN_TERMS = 50, SHOWN_CHANGES = 50;
const LEVELS = ["info", "warning", "error"];

const terms = new Map(); // term -> {leader, sinceUs, seen: set of nodes}
const losses = new Map(); // node -> [µs] when it no longer knew the leader that it had known
const lastLeader = new Map(); // node -> the newest leader that it named, or null
const changes = new Map(); // index -> event of a configuration
const lines = []; // newest last
const seen = new Map(); // node -> [its start, the number of its newest event]
let linesHidden = false;

/** Begin again: the visitor may see other lines than before. */
export function forgetLines() {
  seen.clear();
  losses.clear();
  lastLeader.clear();
  lines.length = 0;
}

/** Take the new events of a node. */
export function noteActivity(node, { started_us, events, lines_hidden }) {
  const [started, newest] = seen.get(node) ?? [0, 0];
  const isSame = started === started_us;
  if (!isSame) lastLeader.delete(node);
  linesHidden = lines_hidden;
  let fresh = false;
  for (const event of events) {
    if (isSame && event.sequence <= newest) continue;
    fresh = true;
    if (event.kind === "leader") noteLeader(node, event);
    else if (event.kind === "members") noteMembers(node, event);
    else if (event.kind === "line") lines.push({ node, ...event });
  }
  seen.set(node, [started_us, events.at(-1)?.sequence ?? (isSame ? newest : 0)]);
  if (!fresh && lines.length) return;
  lines.sort((a, b) => a.t_us - b.t_us);
  if (lines.length > KEPT_LINES) lines.splice(0, lines.length - KEPT_LINES);
  showLeaders();
  showChanges();
  showLines();
}

function noteLeader(node, { term, leader, t_us }) {
  if (leader === null) {
    if (lastLeader.get(node)) losses.set(node, [...(losses.get(node) ?? []), t_us].slice(-SHOWN_TERMS));
    lastLeader.set(node, null);
    return;
  }
  lastLeader.set(node, leader);
  const known = terms.get(term);
  if (!known) terms.set(term, { term, leader, sinceUs: t_us, nodes: new Set([node]) });
  else {
    known.sinceUs = Math.min(known.sinceUs, t_us);
    known.nodes.add(node);
  }
}

function noteMembers(node, event) {
  const known = changes.get(event.index);
  if (!known || event.t_us < known.t_us) changes.set(event.index, event);
}

/** The time from when the new leader stopped following the old one until its election, ms; null if it does not say. */
function gapOf(entry, before) {
  const from = before?.sinceUs ?? -Infinity;
  const lost = (losses.get(entry.leader) ?? []).filter((t_us) => t_us > from && t_us < entry.sinceUs);
  return lost.length ? Math.round((entry.sinceUs - Math.min(...lost)) / 1000) : null;
}

function showLeaders() {
  const entries = [...terms.values()].sort((a, b) => b.term - a.term);
  const items = entries.slice(0, SHOWN_TERMS).map((entry, index) => {
    const gap = gapOf(entry, entries[index + 1]);
    const text = `Node ${entry.leader} leads term ${entry.term}`;
    const after = gap === null ? "" : `elected ${gap} ms after it stopped following the old leader`;
    return make("li", {}, timeOf(entry.sinceUs), make("span", {}, text, make("span", { className: "faint", textContent: after ? ` · ${after}` : "" })));
  });
  showList("leaders", items, "No election since the nodes were started.");
}

function showChanges() {
  const entries = [...changes.values()].sort((a, b) => b.index - a.index);
  const items = entries.slice(0, SHOWN_CHANGES).map(({ t_us, index, voters, voters_outgoing, learners }) => {
    const parts = [`voters ${voters.join(", ")}`];
    if (voters_outgoing) parts.push(`with the old voters ${voters_outgoing.join(", ")}`);
    if (learners.length) parts.push(`learners ${learners.join(", ")}`);
    return make("li", {}, timeOf(t_us), make("span", {}, parts.join("; "), make("span", { className: "faint", textContent: ` · index ${index}` })));
  });
  showList("changes", items, "No change since the nodes were started.");
}

/** The term and role of the node when it wrote the line; empty from an older version. */
const whereOf = ({ term, role }) => term === undefined ? "" : `term ${term} ${role}`;

function lineText({ text, fields, more }) {
  const shown = Object.entries(fields).map(([key, value]) => `${key}=${Number.isInteger(value) || typeof value !== "number" ? value : value.toFixed(3)}`);
  if (more) shown.push(`(${more} more like this)`);
  return [text, ...shown].join(" ");
}

export function showLines() {
  const least = Number(find("lines-level").value);
  const search = find("lines-search").value.trim().toLowerCase();
  const found = [];
  for (let index = lines.length - 1; index >= 0 && found.length < SHOWN_LINES; index--) {
    const line = lines[index];
    line.shown ??= lineText(line);
    if (LEVELS.indexOf(line.level) < least && LEVELS.includes(line.level)) continue;
    if (search && !`node ${line.node} ${whereOf(line)} ${line.shown}`.toLowerCase().includes(search)) continue;
    line.item ??= make("li", { className: `level-${LEVELS.includes(line.level) ? line.level : "error"}` },
      timeOf(line.t_us), make("span", { className: "node", textContent: [`node ${line.node}`, whereOf(line)].filter(Boolean).join(" · ") }),
      make("span", { className: "level", textContent: line.level }), make("span", { textContent: line.shown }));
    found.push(line.item);
  }
  showList("lines", found, linesHidden ? "Only a user whose roles allow manage sees the log lines." : "No line.");
}

function showList(id, items, otherwise) {
  const list = find(id);
  if (items.length) return place(list, items);
  if (list.children.length !== 1 || !list.firstChild.classList.contains("faint")) place(list, [make("li", { className: "faint" })]);
  setText(list.firstChild, otherwise);
}
