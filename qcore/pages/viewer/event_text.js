// Events as sentences, for the list, the line under the controls, and screen readers.

import { duration, grouped, shortId, shown } from "../shared/format.js";
import { contents, downReason, faultName, faultNotes, lossReason, nodesText, reason, ROLES } from "../shared/raft_words.js";

/** What an event is about, for the filter of the list. */
export const TOPICS = {
  elections: { text: "elections", kinds: ["role", "vote"], messages: /Vote|TimeoutNow/ },
  messages: { text: "messages", kinds: ["send", "recv", "drop"] },
  logs: { text: "logs", kinds: ["commit", "apply", "log", "config"] },
  clients: { text: "clients", kinds: ["op", "request", "watch"] },
  faults: { text: "faults", kinds: ["fault", "down", "up", "clock", "bad", "violation", "run"] },
};

/** Whether an event belongs to the topics that are shown. */
export function hasTopic(event, topics) {
  return topics.some((name) => {
    const topic = TOPICS[name];
    return topic.kinds.includes(event.kind) || Boolean(topic.messages && event.message && topic.messages.test(event.message));
  });
}

/** The mark of a kind in the list: a letter that does not depend on colour. */
export function kindMark(event) {
  const marks = {
    send: "→", recv: "←", drop: "✕", role: "◎", vote: "✓", commit: "▪", apply: "▫", op: "◆", fault: "!", down: "✕",
    up: "↑", violation: "▼", config: "≡", log: "+", request: "◇", clock: "◷", watch: "◈", bad: "?", run: "·",
  };
  return marks[event.kind] ?? "·";
}

const PHASES = {
  ok: "succeeds", refused: "is refused: it certainly had no effect", unknown: "ends, and the client does not know whether it had an effect",
};

/** A real node does not record which client sent a request, nor its key and value. */
const isOfNode = (event) => event.key === "" && event.client === event.node;

function operationText(event) {
  if (isOfNode(event)) return nodeOperationText(event);
  const who = `Client ${event.client}`;
  const of = event.key === "" ? "" : ` of ${event.key}`;
  const note = reason(event.note) ? ` (${reason(event.note)})` : "";
  if (event.phase === "invoke") {
    const what = event.op === "read" ? `reads ${event.key || "a value"}` : event.op === "cas"
      ? `asks to set ${event.key} to ${shown(event.value)} if it is ${event.note.replace(/^expects (None$)?/, (_, none) => (none ? "nothing" : ""))}`
      : event.op === "write" && event.key !== "" ? `writes ${event.key} = ${shown(event.value)}` : `sends a ${event.op}${of}`;
    return `${who} ${what}, at node ${event.node} (operation ${event.op_id})`;
  }
  const value = event.phase === "ok" && event.op === "read" && event.key !== "" ? ` and finds ${shown(event.value)}` : "";
  const name = event.key === "" ? `${event.op} ${event.op_id}` : `${event.op === "cas" ? "set" : event.op} ${event.key} (operation ${event.op_id})`;
  if (event.op === "cas" && event.note === "did not match") return `${who}: ${name} ends without a change: ${event.key} has another value than expected`;
  return `${who}: ${name} ${PHASES[event.phase] ?? event.phase}${value}${note}`;
}

function nodeOperationText(event) {
  const note = reason(event.note) ? ` (${reason(event.note)})` : "";
  const name = `${event.op} ${shortId(event.op_id)}`;
  return event.phase === "invoke" ? `A client sends node ${event.node} the ${name}` : `The ${name} at node ${event.node} ${PHASES[event.phase] ?? event.phase}${note}`;
}

function faultText(event) {
  const name = faultName(event.fault), words = faultNotes.get(event.note);
  const what = words ? `${name}: ${words}` : event.note && !name.includes(event.note) ? `${name} ${event.note}` : name;
  if (event.fault === "trace") return event.note;
  const where = (!event.note || words) && event.nodes?.length && event.phase === "begin" ? `, ${nodesText(event.nodes)}` : "";
  return { begin: `Fault begins: ${what}${where}`, end: `Fault ends: ${what}`, act: `Fault acts: ${what}` }[event.phase] ?? what;
}

function roleText(event) {
  const role = ROLES[event.role]?.text ?? event.role;
  if (event.role === "leader") return `Node ${event.node} becomes the leader of term ${event.term}`;
  if (event.role === "candidate") return `Node ${event.node} becomes a candidate in term ${event.term}: it asks for votes`;
  if (event.role === "pre_candidate") return `Node ${event.node} becomes a pre-candidate: it asks for pre-votes for term ${event.term + 1}`;
  const of = event.leader ? ` of ${event.leader}` : "; it knows no leader";
  return `Node ${event.node} is a ${role}${of} in term ${event.term}`;
}

function logText(event) {
  const last = event.index + event.count - 1;
  const what = event.count > 1 ? `entries ${event.index} to ${last}` : `entry ${event.index}`;
  return {
    append: `Node ${event.node} appends ${what} of term ${event.term} to its log`,
    cut: `Node ${event.node} removes entry ${event.index} and all after it from its log`,
    snapshot: `Node ${event.node} stores a snapshot through entry ${event.index}`,
    durable: `Node ${event.node} has its log on disk through entry ${event.index}`,
  }[event.phase] ?? `Node ${event.node}: log ${event.phase}`;
}

function requestText(event) {
  const whose = !event.client ? `request ${event.request}` : event.client === event.node && event.op_id > 1e9
    ? `the request ${shortId(event.op_id)} of a client` : `operation ${event.op_id} of client ${event.client}`;
  return {
    take: `Node ${event.node} takes ${whose}`,
    end: `Node ${event.node} answers ${whose}${event.index ? `: entry ${event.index}` : ""}`,
    forward: `Node ${event.node} forwards ${whose} to the leader`,
    stale: `Client ${event.client} accepts a stale result of operation ${event.op_id}`,
    answer: `Node ${event.node}, as leader, answers the forwarded request ${event.request}${event.index ? `: entry ${event.index}` : ""}`,
  }[event.phase] ?? `Node ${event.node}: request ${event.phase}`;
}

function clockSentence({ node, offset_us: offset, drift_ppm: drift }) {
  const where = offset ? `${duration(Math.abs(offset))} ${offset < 0 ? "behind" : "ahead"}` : "right";
  const speed = drift ? `, and runs ${grouped(Math.abs(drift))} ppm ${drift < 0 ? "slow" : "fast"}` : "";
  return `The clock of node ${node} is ${where}${speed}`;
}

/** An event as a sentence, without its time. `of` finds the event of the other end of a message, for its contents. */
export function eventText(event, of = () => null) {
  const { kind, node } = event;
  switch (kind) {
    case "run": return `The run begins: ${event.name}, seed ${event.seed}`;
    case "up": return `Node ${node} starts: term ${event.term}, log through entry ${event.last_index}, ${event.commit} of them committed`;
    case "down": return `Node ${node} is down: ${downReason(event.why)}`;
    case "role": return roleText(event);
    case "vote": return event.candidate === node
      ? `Node ${node} votes for itself in term ${event.term}` : `Node ${node} votes for node ${event.candidate} in term ${event.term}`;
    case "config": return `Node ${node} uses the voters ${event.voters.join(", ")}${event.voters_outgoing.length
      ? `, together with ${event.voters_outgoing.join(", ")}` : ""}${event.learners.length ? `; learners ${event.learners.join(", ")}` : ""}`;
    case "commit": return `Node ${node} knows that entry ${event.index} is committed`;
    case "apply": return `Node ${node} applies entry ${event.index} of term ${event.term}`;
    case "send": return `Node ${node} sends ${event.message} to ${event.to}: ${contents(event.message, event.note, event.term)}`;
    case "recv": {
      const sent = of(event.mate);
      const what = sent ? `: ${contents(sent.message, sent.note, sent.term)}` : "";
      return `Node ${node} receives ${event.message} from ${event.from}${what}`;
    }
    case "drop": return `Lost: ${event.message} from ${event.from} to ${node}; ${lossReason(event.note)}`;
    case "fault": return faultText(event);
    case "op": return operationText(event);
    case "watch": return `Watcher ${event.client}: ${event.phase} ${event.topic}${event.note ? ` (${event.note})` : ""}`;
    case "bad": return `Node ${node} ignores a malformed ${event.message} from ${event.from}: ${event.note}`;
    case "violation": return `Check ${event.check} fails: ${event.note}`;
    case "log": return logText(event);
    case "request": return requestText(event);
    case "clock": return clockSentence(event);
    default: return `${kind} at node ${node}`;
  }
}
