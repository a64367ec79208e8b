// What happened, in sentences: the summary, the elections with their rounds, and the scenario.

import { button, fadeEnd, make } from "../shared/dom.js";
import { counted, duration, grouped, listed, seconds, shortId, shown } from "../shared/format.js";
import { nodesText, reason } from "../shared/raft_words.js";

const MOST_ROWS = 60;
const FULL_ELECTIONS = 4;
const MOMENTS = /[\d.,]+ (µs|ms|s|min|h)\b/g;   // times and durations in a sentence

/** A sentence whose *emphasised* parts stand out. */
export function sentence(text) {
  return text.split(/\*([^*]+)\*/).map((part, place) => (place % 2 ? make("em", {}, part) : part));
}

export const sentences = (texts) => make("ul", { className: "sentences" }, ...texts.map((text) => make("li", {}, ...sentence(text))));

const ENDINGS = { won: "won", split: "split vote", lost: "not enough votes", superseded: "ended without a majority", open: "not decided when the trace ends" };
const ANSWERS = { granted: ["✓", "yes"], rejected: ["✗", "no"], none: ["–", "no answer"] };

/** How long an election took, as its title says. */
const electionLength = (each) => each.length ?? each.end - each.start;

/** The title of an election; the page can hold no sentences about it. */
function electionTitle(election) {
  if (election.title) return election.title;
  const end = election.outcome === "elected" ? `node ${election.winner} elected in term ${election.term}` : election.outcome === "open" ? "not decided when the trace ends" : "no winner";
  return `Election ${election.number}: ${end}, after ${duration(electionLength(election))}`;
}

const CAUSES = {
  start: "The cluster began without a leader", crash: "The leader crashed", cut: "The leader was cut off", pause: "The leader was paused",
  stopped: "The leader stopped", silence: "No heartbeat of a leader arrived in time", transfer: "Leadership was transferred",
  no_quorum: "The leader could not reach a majority", other: "The cause is not in the trace",
};

/** What is known about an election, in sentences. */
function electionSentences(each) {
  if (each.sentences?.length) return each.sentences;
  const waited = each.start - each.cause_us;
  const note = each.cause_note ? ` (*${each.cause_note}*)` : "";
  const found = [`${CAUSES[each.cause] ?? CAUSES.other}${note}.`];
  if (waited > 0 && each.rounds.length) found.push(`Node ${each.rounds[0].candidate} noticed after ${duration(waited)} and asked for votes; there were ${counted(each.rounds.length, "round")}.`);
  if (each.ready_us) found.push(`The new leader committed its first entry ${duration(each.ready_us - each.end)} after it was elected.`);
  return found;
}

export const isWrite = (operation) => operation.op !== "read";

/** An operation in a few words: `write k3 = 7`. */
export function operationName({ op, op_id, key, value, expected }) {
  if (key === "") return `${op} ${shortId(op_id)}`;
  if (op === "read") return `read ${key}`;
  if (op === "cas") return `set ${key} from ${shown(expected)} to ${shown(value)}`;
  return `${op} ${key} = ${shown(value)}`;
}

const OUTCOME_TEXTS = {
  ok: "succeeded", refused: "refused, certainly without effect", unknown: "the client does not know whether it had an effect",
  open: "no outcome when the trace ends",
};
const EFFECTS = { none: "unknown to the client; it had no effect", done: "unknown to the client; it took effect" };
export const outcomeText = ({ outcome, effect }) => (outcome === "unknown" && EFFECTS[effect]) || (OUTCOME_TEXTS[outcome] ?? outcome);

/** Whether a cell is so short that it must not wrap: a number with its unit, a name. */
const isShort = (cell) => !Array.isArray(cell) && (cell.textContent ?? cell).length <= 16;

/** A table. A row can have a text `below` it, across all columns. */
function table(heads, rows, className = "") {
  const line = (cells) => make("tr", { className: cells.below ? "has-below" : "" }, ...cells.map((cell) => make("td", { className: isShort(cell) ? "short" : "" }, ...[cell].flat())));
  const below = ({ below: text }) => (text ? [make("tr", { className: "below" }, make("td", { colSpan: heads.length }, ...text))] : []);
  return make("table", { className: `facts ${className}` },
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.flatMap((cells) => [line(cells), ...below(cells)])));
}

function card(title, value, note, className = "") {
  return make("div", { className: `card ${className}` }, make("h3", {}, title), make("p", { className: "value" }, value), make("p", { className: "faint" }, note));
}

// --- the summary ------------------------------------------------------------------------------------

export class SummaryTab {
  constructor(view, panel) {
    this.view = view;
    this.run = view.run;
    fadeEnd(panel).append(this.cards(), this.leaders(), this.elections(), this.faults(), this.failures(), this.checks());
  }

  draw() {}

  at(us) { return seconds(us - this.run.zero); }

  show(from, to, t) { return button("Show", `Show ${this.at(from)} to ${this.at(to)}`, () => this.view.showWindow(from, to, t), { className: "small" }); }

  cards() {
    const { overview, leaderships, operations: { totals } } = this.run;
    const { elections } = overview;
    const without = this.run.led.reduce((sum, each) => sum + (each.majority ? 0 : each.length), 0);
    const leaders = leaderships.map((each) => each.node).filter((node, place, all) => node !== all[place - 1]);
    const judged = this.verdict();
    const elected = elections.filter((each) => each.outcome === "elected");
    return make("div", { className: "cards" },
      card("Leader", leaders.length > 3 ? counted(new Set(leaders).size, "node") : leaders.length ? leaders.map((node) => `node ${node}`).join(", then ") : "none",
        `${leaders.length > 3 ? `${nodesText([...new Set(leaders)])}; ` : ""}${duration(without)} without a leader with a majority`),
      card("Elections", String(elections.length), elected.length ? `${elected.length} with a winner, within ${duration(Math.max(...elected.map(electionLength)))}${elections.length > elected.length ? `; ${elections.length - elected.length} without` : ""}`
        : elections.length ? "none with a winner" : "no node asked for votes"),
      card("Failed writes", grouped(totals.failed_writes), totals.writes ? `of ${counted(totals.writes, "write")}${totals.open_writes ? `; ${grouped(totals.open_writes)} more have no outcome in the trace` : ""}` : "the trace has no writes",
        totals.failed_writes ? "warn" : "good"),
      card("Checks", judged.value, judged.note, judged.className));
  }

  verdict() {
    const { violations, history, checked, expectations } = this.run.overview;
    const broken = expectations.rows.filter(([, ok]) => !ok).map(([name]) => name);
    if (checked.failures.length) return { value: "violated", note: checked.failures[0], className: "bad" };
    if (violations.length) return { value: counted(violations.length, "violation"), note: violations[0].check, className: "bad" };
    if (broken.length) return { value: "failed", note: `expectations: ${listed(broken)}`, className: "bad" };
    if (!Array.isArray(history) && this.run.head.source === "real") return { value: "passed, in part", note: "terms, votes and applied entries; the answers cannot be checked", className: "" };
    if (!Array.isArray(history)) return { value: "–", note: history?.absent ?? "no history of operations", className: "" };
    const bad = history.filter((each) => each.result === "violation");
    if (bad.length) return { value: "violated", note: `not linearizable: ${listed(bad.map((each) => each.key))}`, className: "bad" };
    if (history.some((each) => each.result === "unknown")) return { value: "undecided", note: "the checker reached its limit", className: "warn" };
    return { value: "passed", note: "every answer is linearizable", className: "good" };
  }

  leaders() {
    const rows = this.run.led;
    const cells = rows.slice(0, MOST_ROWS).map((each) => {
      const last = each.start + each.length;
      const length = `${each.censored ? "> " : ""}${duration(each.length)}`;
      return [make(each.majority ? "b" : "span", { className: each.majority ? "" : "bad-text" }, each.who), each.node ? String(each.term) : "", this.at(each.start), each.censored ? "end of the trace" : this.at(last), length, this.show(each.start, last, each.start)];
    });
    return make("section", {}, make("h3", {}, "Who led"), table(["", "term", "from", "until", "for", ""], cells), more(rows.length),
      make("p", { className: "faint", hidden: rows.every((each) => each.majority || !each.node) }, "A leader without a majority believed that it led, but could reach too few voters to commit anything."));
  }

  elections() {
    const { elections } = this.run.overview;
    const items = elections.slice(0, MOST_ROWS).map((each) => {
      const parts = [make("h4", {}, electionTitle(each), " ", this.show(each.start, each.end, each.start))];
      if (elections.length <= FULL_ELECTIONS) parts.push(sentences(electionSentences(each)));
      return make("div", { className: "election" }, ...parts);
    });
    return make("section", {}, make("h3", {}, "Elections"), ...(items.length ? items : [make("p", { className: "faint" }, "None.")]), more(elections.length));
  }

  faults() {
    const { faults } = this.run.overview;
    const rows = faults.slice(0, MOST_ROWS).map((each) => [
      make("b", {}, each.label || each.name), this.at(each.start), each.end >= this.run.end ? "end of the trace" : this.at(each.end), this.show(each.start, each.end, each.start)]);
    if (!rows.length) return make("section", {}, make("h3", {}, "Faults"), make("p", { className: "faint" }, "The trace names none."));
    return make("section", {}, make("h3", {}, "Faults"), table(["", "from", "until", ""], rows), more(faults.length));
  }

  failures() {
    const { run } = this;
    const title = make("h3", {}, "Failed operations");
    const { totals } = run.operations;
    const failed = [...run.operations.failed].sort((a, b) => Number(isWrite(b)) - Number(isWrite(a)) || a.invoke - b.invoke);
    if (!failed.length) return make("section", {}, title, make("p", {}, run.operations.count ? "None: every operation succeeded." : "The trace has no operations."));
    const open = totals.open_writes + totals.open_reads, all = totals.failed_writes + totals.failed_reads + open;
    const groups = new Map();
    for (const each of failed.slice(0, MOST_ROWS)) {
      const why = run.overview.sentences?.[each.number] ?? [];
      const cells = [
        make("b", {}, operationName(each)), clientText(run, each), this.at(each.invoke), each.end === null ? "–" : duration(each.end - each.invoke),
        make("span", { className: `outcome-${each.outcome}` }, outcomeText(each)),
        button("Show", `Show the operation ${operationName(each)}`, () => {
          this.view.set({ operation: each.number, tab: "operations", key: run.overview.history?.length ? each.key : "" });
          this.view.showWindow(each.invoke, each.end ?? run.end, each.invoke);
        }, { className: "small" })];
      const text = why.length ? [...new Set([why[1], why.at(-1)])].join(" ") : reason(each.note);
      const likeness = `${each.outcome} ${text.replace(MOMENTS, "")}`;
      groups.set(likeness, [...(groups.get(likeness) ?? []), { cells, text }]);
    }
    const rows = [...groups.values()].flatMap((group) => group.map(({ cells, text }, place) => {
      const alike = group.length > 1 ? ` The next ${group.length > 2 ? `${grouped(group.length - 1)} operations` : "operation"} failed in the same way.` : "";
      return Object.assign(cells, { below: !place && text ? sentence(text + alike) : null });
    }));
    return make("section", {}, title,
      make("p", {}, `${counted(totals.failed_writes, "write")} and ${counted(totals.failed_reads, "read")} failed.${open ? ` ${counted(open, "operation")} had no outcome when the trace ended.` : ""}`),
      ...(run.overview.failure_notes ?? []).map((note) => make("p", {}, note)),
      table(["operation", run.head.source === "real" ? "taken by" : "client", "began", "ended after", "outcome", ""], rows), more(all));
  }

  checks() {
    const { violations, history, level, checked, expectations } = this.run.overview;
    const parts = violations.slice(0, MOST_ROWS).map((each) => make("p", { className: "bad-text" }, `${this.at(each.t)}: ${each.check}. ${each.note} `, this.show(each.t - 5000, each.t + 5000, each.t)));
    if (Array.isArray(history)) {
      const bad = history.filter((each) => each.result !== "ok");
      const operations = history.reduce((sum, each) => sum + each.count, 0);
      parts.push(make("p", {}, bad.length
        ? `Of ${counted(history.length, "key")}, ${bad.map((each) => `${each.key}: ${each.result}`).join("; ")}. The tab Operations shows where.`
        : `An order of all ${counted(operations, "operation")} on ${counted(history.length, "key")} explains every answer: the history is ${level ?? "linearizable"}.`));
    } else if (history?.absent) {
      parts.push(make("p", { className: "faint" }, `Linearizability is not judged: ${history.absent}.`));
    }
    parts.push(...checked.failures.map((text) => make("p", { className: "bad-text" }, text)), ...[...checked.done, ...checked.missing].map((text) => make("p", {}, text)));
    if (expectations.note) parts.push(make("p", {}, expectations.note));
    if (expectations.rows.length) parts.push(table(["expectation", "", "expected", "seen"], expectations.rows.map(([name, ok, expected, seen]) => [
      make("b", {}, name), make("span", { className: ok ? "" : "bad-text" }, ok ? "held" : "did not hold"), expected, seen])));
    return make("section", {}, make("h3", {}, "Checks"), ...parts);
  }
}

export function clientText(run, operation) {
  return run.head.source === "real" ? `node ${operation.node}` : `client ${operation.client}, node ${operation.node}`;
}

const more = (count) => make("p", { className: "faint", hidden: count <= MOST_ROWS }, `and ${grouped(count - MOST_ROWS)} more`);

/** How many requests for votes there were, with those that were lost, and how many answers. */
function requestsText({ rounds }) {
  const asks = rounds.flatMap((round) => round.asked);
  return `${counted(asks.length, "request")}, ${counted(asks.filter((ask) => ask.answer !== "none").length, "answer")}`;
}

// --- elections -----------------------------------------------------------------------------------------

export class ElectionsTab {
  constructor(view, panel) {
    this.view = view;
    this.elections = view.run.overview.elections;
    this.list = make("div", { className: "choices", role: "listbox", "aria-label": "Elections", tabIndex: 0 });
    this.body = fadeEnd(make("div", { className: "election-body", tabIndex: 0, role: "region", "aria-label": "The election" }));
    panel.append(this.list, this.body);
    this.items = this.elections.map((each, place) => {
      const item = make("div", { className: "choice", role: "option", id: `election-${place}` },
        make("b", {}, `${each.number}`), make("span", {}, each.outcome === "elected" ? `node ${each.winner}, term ${each.term}` : each.outcome === "open" ? "not decided" : "no winner"),
        make("span", { className: "number faint" }, `${each.censored ? "> " : ""}${duration(electionLength(each))}`));
      item.addEventListener("click", () => this.choose(place));
      return item;
    });
    this.list.append(...this.items.slice(0, 2000));
    this.list.addEventListener("keydown", (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!by) return;
      event.preventDefault();
      this.choose(Math.max(0, Math.min(this.elections.length - 1, this.chosen + by)));
    });
    this.chosen = -1;
    if (!this.elections.length) this.body.append(make("p", { className: "faint" }, "No node asked for votes in this run."));
  }

  /** The election of the moment, or the last before. */
  draw() {
    const passed = this.elections.findLastIndex((each) => each.start <= this.view.t);
    const place = Math.max(0, passed);
    if (place === this.chosen || !this.elections.length) return;
    if (this.chosen >= 0) {
      this.items[this.chosen].setAttribute("aria-selected", "false");
    }
    this.chosen = place;
    this.items[place].setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", `election-${place}`);
    const top = this.items[place].offsetTop - this.list.offsetTop, { clientHeight, scrollTop } = this.list;
    if (top < scrollTop || top > scrollTop + clientHeight - 30) this.list.scrollTop = top - clientHeight / 2;
    this.body.replaceChildren(...this.content(this.elections[place]));
    this.body.scrollTop = 0;
  }

  choose(place) {
    const each = this.elections[place];
    this.view.showWindow(each.start, Math.max(each.end, each.start + 500), each.start);
  }

  content(election) {
    const { view } = this;
    const { zero } = view.run;
    const own = election.rounds.map((round, number) => ({ ...round, number })).filter((round) => round.like === round.number);
    const show = button("Show this", "Show the window of this election", () => view.showWindow(election.start, election.end, election.start));
    const diagram = button("Space-time diagram", "Show its messages in the space-time diagram", () => {
      view.showWindow(election.start, Math.min(election.end, election.start + 100_000), election.start);
      view.set({ tab: "spacetime" });
    });
    return [
      make("h3", {}, electionTitle(election)),
      make("p", { className: "faint" }, `Nodes asked for votes from ${seconds(election.start - zero)} to ${election.censored ? "the end of the trace" : seconds(election.end - zero)} · ${requestsText(election)}`),
      sentences(electionSentences(election)), make("p", { className: "buttons" }, show, diagram),
      ...own.slice(0, MOST_ROWS).map((round) => this.round(round, election.rounds.filter((each) => each.like === round.number))), more(own.length),
    ];
  }

  /** A round, and how many others went in the same way. */
  round(round, alike) {
    const { zero } = this.view.run;
    const kind = round.kind === "pre_vote" ? "asks for pre-votes for" : "asks for votes in";
    const rows = round.asked.map((ask) => {
      const [mark, text] = ANSWERS[ask.answer];
      return [
        `node ${ask.voter}`, make("span", { className: `answer-${ask.answer}` }, make("b", {}, mark), ` ${text}`),
        ask.answered_us === null || ask.answered_us === undefined ? "–" : duration(ask.answered_us - round.start_us), ask.why || "",
      ];
    });
    const term = round.kind === "pre_vote" ? round.term + 1 : round.term;  // a pre-vote is about the next term
    return make("section", { className: "round" },
      make("h4", {}, `${seconds(round.start_us - zero)}: node ${round.candidate} ${kind} term ${term}: `, make("span", { className: `result-${round.result}` }, `${ENDINGS[round.result] ?? round.result}${round.why ? `: ${round.why}` : ""}`), " ",
        button("Show", "Show this round", () => this.view.showWindow(round.start_us, round.end_us, round.start_us), { className: "small" })),
      table(["voter", "answer", "after the round began", "why"], rows, "asks"),
      ...(alike.length > 1 ? [make("p", { className: "faint" }, `${counted(alike.length - 1, "more round")} of node ${round.candidate} went in the same way, the last one until ${seconds(alike.at(-1).end_us - zero)}.`)] : []));
  }
}

// --- the scenario ------------------------------------------------------------------------------------------

export class ScenarioTab {
  constructor(view, panel) {
    const { head } = view.run;
    const facts = [
      ["nodes", head.nodes.join(", ")], ["voters", head.voters.join(", ")], ["clients", head.clients.length ? head.clients.join(", ") : "not in the trace"],
      ["source", head.source === "real" ? "traces of real nodes" : `simulator, seed ${head.seed}`],
      ["logs", head.inferred ? "inferred: the trace does not hold them" : "in the trace"],
      ["cluster began", head.source === "real" ? utc(BigInt(head.origin_us) + BigInt(head.zero_us)) : "0 s"], ["made by", head.version],
    ];
    fadeEnd(panel).append(
      make("dl", { className: "about" }, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
      make("p", { className: "faint", hidden: view.run.first >= view.run.zero }, "Times count from the moment at which the cluster began. Records before it have negative times."),
      head.scenario ? make("pre", { tabIndex: 0, "aria-label": "The scenario" }, head.scenario) : make("p", { className: "faint" }, "The trace does not hold a scenario."));
  }

  draw() {}
}

function utc(us) {
  const time = new Date(Number(us) / 1000);
  return Number.isNaN(time.getTime()) ? String(us) : time.toISOString().replace("T", " ").replace("Z", " UTC");
}
