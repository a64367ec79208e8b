/** The members: a link to each, what it says of itself, and what the leader says of it. */

import { find, make, setText } from "../shared/dom.js";
import { counted } from "../shared/format.js";
import { bytesText, durationText, place, sleep } from "./elements.js";
import { NodeError, NodeLink, socketUrl } from "./link.js";
import { differences } from "./charts.js";

const POLL_MS = 1_000, HIDDEN_POLL_MS = 5_000;
/** An older answer of a node says nothing about now; in a hidden tab, and just after, the page asks less often. */
const FRESH_MS = 5_500, HIDDEN_FRESH_MS = 8_000;
/** A member that has not answered for so long may be in trouble. */
const LATE_MS = 2_500;
/** A member that is silent for longer than this, by the leader's clock, is down. */
const SILENT_MS = 1_500;

/** All that the page knows. */
export const cluster = {
  id: null,
  token: null, // of the user; in memory only
  home: null, // the link to the node that served the page
  links: new Map(), // address -> link
  members: new Map(), // id -> member
  onActivity: () => {},
  onDenied: () => {},
  onChange: () => {},
};

function newMember(id) {
  const cells = Array.from({ length: 12 }, (_, column) => make("td", { className: column > 2 ? "number" : "" }));
  const names = find("members").tHead.rows[0].cells;
  cells.forEach((cell, column) => cell.setAttribute("data-name", names[column].textContent));
  const heading = make("th", { scope: "row" }, make("span"), make("a", { className: "faint", target: "_blank", rel: "noreferrer" }));
  cells[0] = heading;
  cells[1].append(make("span", { className: "role" }));
  cells[2].append(make("span"), make("span", { className: "faint" }), make("span", { className: "actions" }));
  return { id, address: "", link: null, metrics: null, activity: null, at: -Infinity, rate: null, entries: null, row: make("tr", {}, ...cells), cells };
}

let hiddenAt = -Infinity;

/** Whether a member has answered just now. */
export function isFresh(member) {
  const now = performance.now();
  if (document.hidden) hiddenAt = now;
  const most = wasHidden(now) ? HIDDEN_FRESH_MS : FRESH_MS;
  return Boolean(member.link?.isReady && now - member.at < most);
}

const wasHidden = (now) => now - hiddenAt < HIDDEN_FRESH_MS;

export const freshMembers = () => [...cluster.members.values()].filter(isFresh);

/** The member that leads, as it says itself; the one of the highest term, if an old leader does not know of its end. */
export function leader() {
  return freshMembers().filter(({ metrics }) => metrics.state === "Leader")
    .sort((a, b) => b.metrics.current_term - a.metrics.current_term)[0] ?? null;
}

/** The member that knows the newest leader, while this leader itself does not answer; null if none knows one. */
export function witnessOf() {
  return freshMembers().filter(({ metrics }) => metrics.current_leader !== null)
    .sort((a, b) => b.metrics.current_term - a.metrics.current_term)[0] ?? null;
}

/** A member whose link is ready: the served one, if it is. */
export function anyLink() {
  if (cluster.home.isReady) return cluster.home;
  return [...cluster.links.values()].find((link) => link.isReady) ?? null;
}

export function addLink(address) {
  const link = new NodeLink(address, authenticate);
  cluster.links.set(address, link);
  pollForever(link);
  return link;
}

async function authenticate(link) {
  if (cluster.token) await link.ask("Authenticate", { token: cluster.token });
}

async function pollForever(link) {
  while (!link.ended) {
    if (link.isReady) await poll(link).catch((error) => failed(link, error));
    await sleep(document.hidden ? HIDDEN_POLL_MS : POLL_MS);
  }
}

async function poll(link) {
  const [metrics, activity] = await Promise.all([link.ask("GetMetrics"), askActivity(link)]);
  if (!link.ended) answered(link, metrics.response, activity);
}

/** The newest events and counters; null from a node of an older version. */
async function askActivity(link) {
  try {
    const body = (await link.ask("GetActivity", { after: link.after ?? 0, lines: 200 })).response;
    if (link.startedUs !== undefined && link.startedUs !== body.started_us && link.after) {
      link.after = 0; // the node was started again: its numbers begin again
      link.startedUs = body.started_us;
      return askActivity(link);
    }
    link.startedUs = body.started_us;
    link.after = body.sequence;
    return body;
  } catch (error) {
    if (!/unknown message type/.test(error.message)) throw error;
    return null;
  }
}

function failed(link, error) {
  if (!(error instanceof NodeError)) throw error; // a bug: the browser's console shows it
  if (error.code === "Overdue") link.drop("it does not answer");
  else if (["Unauthenticated", "PermissionDenied"].includes(error.code)) cluster.onDenied(error);
  else if (error.code !== "ConnectionLost") link.why = error.message;
  cluster.onChange();
}

function answered(link, metrics, activity) {
  const id = metrics.qcore.cluster_id;
  if (link === cluster.home && id) cluster.id = id;
  if (id !== cluster.id) {
    if (link !== cluster.home) link.why = "a node of another cluster answers there";
    else cluster.id = id;
  }
  if (id === cluster.id) {
    const member = cluster.members.get(metrics.id) ?? newMember(metrics.id);
    cluster.members.set(metrics.id, member);
    if (link === cluster.home && member.link !== link) takeOver(member, link);
    if (member.link === null) member.link = link;
    if (member.link === link) {
      if (activity && member.activity) member.rate = differences(member.activity, activity);
      const at = performance.now();
      member.entries = member.metrics && entryRates(member.metrics.qcore, metrics.qcore, (at - member.at) / 1000);
      Object.assign(member, { metrics, activity, at });
      if (link === cluster.home && !member.address) member.address = link.address;
    }
    if (activity) cluster.onActivity(metrics.id, activity);
    useMembership();
  }
  cluster.onChange();
}

/** The entries that a node committed and applied in a second; null if it was started between the two answers. */
function entryRates(before, now, seconds) {
  if (now.uptime_seconds < before.uptime_seconds || !(seconds > 0)) return null;
  return { committed: (now.commit_index - before.commit_index) / seconds, applied: (now.applied_index - before.applied_index) / seconds };
}

/** The page has this node's link already: another one to its address in the configuration is of no use. */
function takeOver(member, link) {
  if (member.link) endLink(member.link);
  member.link = link;
}

function endLink(link) {
  link.end();
  cluster.links.delete(link.address);
}

/** Keep a link to each member of the newest configuration that a node knows. */
function useMembership() {
  const best = freshMembers().sort((a, b) => b.metrics.qcore.membership_index - a.metrics.qcore.membership_index)[0];
  const addresses = Object.entries(best?.metrics.membership_config.membership.nodes ?? {});
  if (!addresses.length) return;
  const ids = new Set(addresses.map(([id]) => Number(id)));
  for (const [text, { addr }] of addresses) {
    const id = Number(text);
    const member = cluster.members.get(id) ?? newMember(id);
    cluster.members.set(id, member);
    const isMoved = member.address !== addr && member.link !== cluster.home;
    member.address = addr;
    if (member.link && isMoved && member.link.address !== addr) takeOver(member, null);
    member.link ??= cluster.links.get(addr) ?? addLink(addr);
  }
  for (const [id, member] of cluster.members) {
    if (ids.has(id) || member.link === cluster.home) continue;
    if (member.link) endLink(member.link);
    cluster.members.delete(id);
  }
}

// --- the table ----------------------------------------------------------------------------------

const ROLES = { leader: "leader", follower: "follower", pre_candidate: "asks for pre-votes", candidate: "candidate", learner: "learner" };

function ownTexts(member, follower, head) {
  const { metrics, activity } = member;
  const { qcore } = metrics;
  const measured = activity?.counters.process ?? {};
  return {
    role: qcore.role, roleText: qcore.cluster_id ? ROLES[qcore.role] ?? qcore.role : "–",
    numbers: [
      metrics.current_term, qcore.commit_index, qcore.applied_index, lagText(follower, qcore.role),
      queuesText(qcore.queues), diskText(measured),
      bytesText(measured.resident_bytes), qcore.connections?.clients ?? "–", durationText(qcore.uptime_seconds),
    ],
    ...stateOf(member, head),
  };
}

const QUEUES = { inbox: "events", requests: "requests", writes: "writes" };

function queuesText(queues) {
  const found = Object.entries(QUEUES).filter(([name]) => queues?.[name]).map(([name, word]) => counted(queues[name], word.slice(0, -1)));
  return found.length ? found.join("\n") : queues ? "0" : "–";
}

function diskText({ disk_free_bytes: free, data_dir_bytes: used }) {
  return used === undefined ? bytesText(free) : `${bytesText(free)}\n${bytesText(used)} used`;
}

function stateOf({ at, metrics: { id, current_term, running_state, state, current_leader, qcore } }, head) {
  const problems = [];
  if (running_state.Err !== undefined) problems.push(`failed: ${running_state.Err}`);
  if (state === "Shutdown") problems.push("is stopping");
  if (qcore.removed) problems.push(qcore.removed);
  if (qcore.diverged_at !== null && qcore.diverged_at !== undefined) problems.push(`its state differs from that of a majority (index ${qcore.diverged_at})`);
  if (qcore.disk_full) problems.push("its disk is full");
  for (const [name, quota] of Object.entries(qcore.quotas ?? {})) if (quota.reached) problems.push(`the quota ${name} is used up`);
  if (!qcore.cluster_id) problems.push("belongs to no cluster yet");
  else if (current_leader === null) problems.push("knows no leader");
  else if (current_leader === id && head && head.metrics.current_term > current_term) problems.push(`does not know of term ${head.metrics.current_term} yet`);
  const receiving = qcore.snapshot_transfers?.receiving;
  const now = performance.now();
  const late = now - at > LATE_MS && !wasHidden(now) ? `no answer for ${durationText((now - at) / 1000)}` : "";
  const note = receiving ? `receives a snapshot: ${Math.floor(100 * receiving.offset / Math.max(1, receiving.total))} %` : late;
  return problems.length ? { stateText: problems.join("; "), stateClass: "bad", note } : { stateText: "up", stateClass: "good", note };
}

/** The row of a member that this browser cannot ask, as the leader sees it. */
function otherTexts(member, follower, head) {
  const witness = head ?? witnessOf();
  const role = witness?.metrics.current_leader === member.id ? "leader" : witness?.metrics.qcore.learners?.includes(member.id) ? "learner" : "unknown";
  const nothing = ["–", follower?.match ?? "–", "–", lagText(follower, ""), "–", "–", "–", "–", "–"];
  const why = member.link?.why || "it does not answer";
  const refusal = head?.metrics.qcore.peer_refusals?.[member.id];
  let stateText = "not reachable", stateClass = "bad", note = why;
  if (head && follower?.silent_ms > SILENT_MS) {
    stateText = "down";
    note = `node ${head.id} hears nothing from it for ${durationText(follower.silent_ms / 1000)}`;
  } else if (head && follower) {
    stateText = "not reachable from here";
    stateClass = "";
    note = `${why}; as node ${head.id} sees it, it follows`;
  } else if (refusal) note = refusal;
  else if (role === "leader") note = `${why}; node ${witness.id} follows it`;
  return { role, roleText: role, numbers: nothing, stateText, stateClass, note };
}

/** The address of a member, as a link to its own dashboard. */
function showAddress(anchor, address) {
  setText(anchor, address);
  const url = socketUrl(address)?.replace(/^ws/, "http");
  if (url && anchor.getAttribute("href") !== url) anchor.href = url;
  else if (!url) anchor.removeAttribute("href");
}

function lagText(follower, role) {
  if (role === "leader" || (follower?.lag_entries ?? null) === null) return "–";
  if (!follower.lag_entries) return "0";
  const age = follower.lag_ms === null || follower.lag_ms === undefined ? "" : ` (${follower.lag_ms < 10_000 ? `${follower.lag_ms} ms` : durationText(follower.lag_ms / 1000)})`;
  return `${follower.lag_entries}${age}`;
}

/** What the leader knows of a member; from its metrics if it is of an older version. */
function followerOf(id, head) {
  if (!head || head.id === id) return null;
  const found = head.activity?.counters.followers?.[id];
  if (found) return found;
  const replicated = head.metrics.replication;
  if (!replicated || !(id in replicated)) return null;
  const match = replicated[id]?.index ?? 0;
  return { match, lag_entries: (head.metrics.last_log_index ?? 0) - match };
}

export function showMembers(actionsOf) {
  const head = leader();
  const members = [...cluster.members.values()].sort((a, b) => a.id - b.id);
  for (const member of members) {
    const follower = followerOf(member.id, head);
    const texts = isFresh(member) ? ownTexts(member, follower, head) : otherTexts(member, follower, head);
    const [heading, role, state] = member.cells;
    setText(heading.children[0], `Node ${member.id}`);
    showAddress(heading.children[1], member.address);
    role.firstChild.className = `role ${texts.role}`;
    setText(role.firstChild, texts.roleText);
    texts.numbers.forEach((text, column) => setText(member.cells[column + 3], String(text)));
    state.children[0].className = texts.stateClass;
    setText(state.children[0], texts.stateText);
    setText(state.children[1], texts.note);
    place(state.children[2], actionsOf(member, head));
    member.row.classList.toggle("is-down", !isFresh(member));
  }
  place(find("members").tBodies[0], members.map(({ row }) => row));
}
