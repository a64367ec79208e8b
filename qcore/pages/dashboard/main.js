/** The start, and what is done every second. */

import { find, setText } from "../shared/dom.js";
import { listed } from "../shared/format.js";
import { sleep } from "./elements.js";
import { addLink, anyLink, cluster, freshMembers, leader, showMembers, witnessOf } from "./members.js";
import { Charts, sampleOf } from "./charts.js";
import { noteActivity, showLines } from "./activity.js";
import { EntityTree } from "./entities.js";
import { askToLogIn, prepareLogin, showVisitor, visitor } from "./login.js";
import { actionsOf, editor } from "./actions.js";
import { NodeError } from "./link.js";

const TREE_PAUSE_MS = 2_000;
const ENTITY_STORE = "entity";

const charts = new Charts();
const tree = { now: null, link: null, canEdit: false, isBeginning: false, expanded: new Set(), picked: null };

function showState() {
  const members = [...cluster.members.values()];
  const fresh = freshMembers();
  const head = leader();
  const state = find("state");
  let text, kind = "live";
  if (!fresh.length) {
    kind = "down";
    text = `No node answers (${cluster.home.why || "waiting"}).`;
  } else if (!cluster.id) {
    kind = "wait";
    text = "This node belongs to no cluster yet. Begin one (qcore cluster init), or add the node to one (qcore member add).";
  } else {
    if (!head) kind = "wait";
    text = `${leadsText(head)}. ${fresh.length} of ${members.length} members answer.`;
  }
  state.className = visitor.isAsked ? "wait" : kind;
  setText(state, visitor.isAsked ? "Not logged in." : text);
  setText(find("title"), cluster.id ? `qcore cluster ${cluster.id.slice(0, 8)}` : "qcore cluster");
  find("title").title = cluster.id ?? "";
  find("main").hidden = visitor.isAsked || !members.length;
  find("main").classList.toggle("stale", !fresh.length);
  showVisitor();
}

/** Who leads, as the leader says, or else as another member says. */
function leadsText(head) {
  if (head) return `Node ${head.id} leads term ${head.metrics.current_term}`;
  const witness = witnessOf();
  if (!witness) return "No member knows a leader";
  return `Node ${witness.metrics.current_leader} leads term ${witness.metrics.current_term}, says node ${witness.id}. The leader does not answer here`;
}

/** Say what an older node does not report. */
function showOlder() {
  const older = freshMembers().filter(({ activity }) => activity === null);
  find("older").hidden = !older.length;
  const names = listed(older.map(({ id, metrics }) => `node ${id} (${metrics.qcore.version ?? "unknown version"})`));
  setText(find("older"), `Some members have an older version, which does not report requests, times, leaders, membership changes, log lines, memory and disk space: ${names}.`);
}

/** The state machine, and the versions of the nodes: more than one during an upgrade. */
function showAbout() {
  const metrics = freshMembers().map((member) => member.metrics);
  const machine = metrics.map(({ qcore }) => qcore.machine?.name).find(Boolean);
  const versions = [...new Set(metrics.map(({ qcore }) => qcore.version ?? "of unknown version"))].sort();
  if (versions.length) setText(find("about"), `qcore ${listed(versions)}${machine ? ` · state machine ${machine}` : ""}`);
}

function showAll() {
  showState();
  if (visitor.isAsked) return;
  showMembers(actionsOf);
  showOlder();
  showAbout();
}

function addSample() {
  const fresh = freshMembers();
  if (!fresh.length || document.hidden) return;
  const rates = fresh.map(({ rate }) => rate).filter(Boolean);
  const entries = fresh.map((member) => member.entries).filter(Boolean);
  const queues = fresh.map(({ metrics }) => metrics.qcore.queues).filter(Boolean);
  const waiting = (name) => queues.length ? queues.reduce((sum, queue) => sum + queue[name], 0) : null;
  charts.add({
    ...sampleOf(rates, leader()?.activity?.counters.followers, entries),
    events: waiting("inbox"), requests: waiting("requests"), diskWrites: waiting("writes"),
  });
}

/** Keep one tree of entities, over any connection that is open. */
async function keepTree() {
  const fresh = freshMembers();
  if (!fresh.length) return;
  const hasEntities = fresh.some(({ metrics }) => metrics.qcore.machine?.name === ENTITY_STORE);
  find("entities").hidden = false;
  find("entity-columns").hidden = !hasEntities;
  find("no-entities").hidden = hasEntities;
  setText(find("no-entities"), `The state machine of this cluster is ${fresh[0].metrics.qcore.machine?.name ?? "another one"}, which has no entities.`);
  const canEdit = editor() !== null;
  const isGood = tree.now && !tree.now.ended && tree.link.isReady && tree.socket === tree.link.socket && tree.canEdit === canEdit;
  if (isGood || tree.isBeginning || !hasEntities || visitor.isAsked) return;
  const link = anyLink();
  if (!link) return;
  tree.isBeginning = true;
  tree.picked = tree.now?.picked ?? tree.picked;
  tree.now?.end();
  Object.assign(tree, { link, socket: link.socket, canEdit, now: new EntityTree(link, tree.expanded, tree.picked, editor()) });
  try {
    await tree.now.begin();
  } catch (error) {
    if (!(error instanceof NodeError)) throw error;
    tree.now.end();
    await sleep(TREE_PAUSE_MS);
  } finally {
    tree.isBeginning = false;
  }
}

function changeTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}

function begin() {
  cluster.onActivity = noteActivity;
  cluster.onDenied = askToLogIn;
  cluster.onChange = showAll;
  prepareLogin(anyLink);
  find("theme").onclick = changeTheme;
  find("lines-search").oninput = showLines;
  find("lines-level").onchange = showLines;
  document.addEventListener("keydown", (event) => {
    const isTyping = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) || find("dialog").open;
    if (event.key === "t" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) changeTheme();
  });
  cluster.home = addLink(location.host);
  setInterval(() => {
    showAll();
    addSample();
    keepTree();
  }, 1_000);
}

begin();
