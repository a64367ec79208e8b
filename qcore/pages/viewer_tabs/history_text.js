// The path of an operation through the cluster in words, and the order in which a key's operations took effect.

import { duration, grouped, moment } from "../shared/format.js";
import { reason } from "../shared/raft_words.js";
import { clientText, operationName, outcomeText } from "./explain.js";

/** The stages of an operation: name, column, and how it reads. */
const STAGES = [
  ["forwarded", (each) => `node ${each.node} sent it on to the leader`],
  ["arrived", (each) => `leader ${each.leader} received it`],
  ["appended", (each) => `leader ${each.leader} appended it as entry ${each.index} of term ${each.term}`],
  ["durable", () => "the leader had it on disk"],
  ["quorum", () => "a majority had it on disk"],
  ["committed", () => "it was committed"],
  ["applied", () => "the leader applied it"],
  ["replied", (each) => `node ${each.node} answered`],
];

/** What is known about an operation, line by line. */
export function operationLines(run, each) {
  const begun = `${moment(each.invoke - run.zero)}: ${clientText(run, each)}, ${operationName(each)}`;
  const lines = [begun];
  const written = run.overview.sentences?.[each.number];
  if (written?.length) lines.push(...written);
  else {
    let last = each.invoke;
    for (const [column, text] of STAGES) {
      const at = each[column];
      if (at === null || at === undefined) continue;
      lines.push(`after ${duration(at - last)}: ${text(each)}`);
      last = at;
    }
    if (lines.length === 1 && each.is_forwarded && each.leader) lines.push(`node ${each.node} sent it on to leader ${each.leader}`);
  }
  const length = each.end === null ? "" : `${duration(each.end - each.invoke)} after it began: `;
  const found = each.op === "read" && each.outcome === "ok" && each.key !== "" ? `, the value was ${each.output ?? "nothing"}` : "";
  lines.push(`${length}${outcomeText(each)}${found}${reason(each.note) ? ` (${reason(each.note)})` : ""}`);
  if (each.judged === false && each.outcome === "ok" && each.op === "read" && Array.isArray(run.overview.history)) lines.push("Not judged: a stale read promises less than a linearizable one.");
  return lines;
}

const NO_ORDER = { history: null, places: new Map(), stuck: new Map(), order: [] };
const orders = new Map();

/** Of each operation of a key: its place in the order that explains the answers, and whether it is stuck. */
export function orderOf(run, key) {
  const history = Array.isArray(run.overview.history) ? run.overview.history.find((each) => each.key === key) : null;
  if (!history) return NO_ORDER;
  if (!orders.has(key)) {
    const stuck = new Map(history.stuck.map((number, place) => [number, history.why[place] ?? ""]));
    orders.set(key, { history, stuck, order: history.order, places: new Map(history.order.map((number, place) => [number, place + 1])) });
  }
  return orders.get(key);
}

/** The verdict on a key in words. */
export function verdictText(run, key, { history, order, stuck }) {
  const { overview } = run;
  if (overview.history?.absent) return `Not judged: ${overview.history.absent}.`;
  if (key === "") {
    const bad = overview.history?.filter?.((each) => each.result === "violation") ?? [];
    return bad.length ? `No order of the operations explains every answer of ${bad.map((each) => each.key).join(", ")}. Choose the key to see where.`
      : "Linearizable: an order of the operations explains every answer. Choose a key to see its order.";
  }
  if (!history) return "This key has no history.";
  if (history.result === "ok") {
    return order.length ? "Linearizable. The numbers are the order of the operations in the log." : "Linearizable: an order of the operations explains every answer.";
  }
  if (history.result === "unknown") return `Not decided: ${history.explanation.split("\n")[0]}.`;
  return `Not linearizable. ${grouped(order.length)} of ${grouped(history.count)} operations can be placed, in the order of the numbers. ${
    stuck.size === 1 ? "The red one cannot come next" : "None of the red ones can come next"}.`;
}
