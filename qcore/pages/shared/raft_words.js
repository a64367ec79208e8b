// Raft in words: roles, messages and their notes as a person reads them.

import { listed } from "./format.js";

export const ROLES = {
  leader: { text: "leader", letter: "L", colour: "leader" },
  candidate: { text: "candidate", letter: "C", colour: "candidate" },
  pre_candidate: { text: "pre-candidate", letter: "p", colour: "pre_candidate" },
  follower: { text: "follower", letter: "", colour: "follower" },
  learner: { text: "learner", letter: "l", colour: "learner" },
  down: { text: "down", letter: "✕", colour: "down" },
};

/** The classes of messages: the mark that a message has in pictures, and its colour. */
export const CLASSES = {
  vote: { text: "request for a vote", mark: "triangle", colour: "vote", hollow: false },
  vote_answer: { text: "vote", mark: "triangle", colour: "vote", hollow: true },
  append: { text: "log entries", mark: "circle", colour: "append", hollow: false },
  heartbeat: { text: "heartbeat", mark: "dot", colour: "append", hollow: false },
  append_answer: { text: "confirmation", mark: "circle", colour: "response", hollow: true },
  snapshot: { text: "snapshot", mark: "square", colour: "snapshot", hollow: false },
  snapshot_answer: { text: "snapshot received", mark: "square", colour: "snapshot", hollow: true },
  forward: { text: "forwarded request", mark: "diamond", colour: "forward", hollow: false },
  forward_answer: { text: "result", mark: "diamond", colour: "forward", hollow: true },
  other: { text: "other message", mark: "dot", colour: "response", hollow: true },
};

const CLASS_OF = {
  PreVote: "vote", RequestVote: "vote", TimeoutNow: "vote",
  PreVoteResponse: "vote_answer", RequestVoteResponse: "vote_answer", TimeoutNowResponse: "vote_answer",
  AppendEntriesResponse: "append_answer", InstallSnapshot: "snapshot", InstallSnapshotResponse: "snapshot_answer",
  Forward: "forward", ReadIndex: "forward", ForwardResponse: "forward_answer", ReadIndexResponse: "forward_answer",
};

/** The class of a message. */
export function classOf(name, note) {
  if (name === "AppendEntries") return / entries 0 /.test(note) ? "heartbeat" : "append";
  return CLASS_OF[name] ?? "other";
}

/** `1 to 5`, or `7` for a single entry. */
const range = (first, last) => (first === last ? `${first}` : `${first} to ${last}`);
const entries = (first, last) => `${first === last ? "entry" : "entries"} ${range(first, last)}`;

/** What a message holds, in words. An unknown note stays as it is. */
export function contents(name, note, term) {
  let found;
  switch (name) {
    case "AppendEntries":
      found = /^prev (\d+)\.(\d+) entries (\d+) commit (\d+)/.exec(note);
      if (!found) return note;
      return found[3] === "0"
        ? `heartbeat of term ${term}; entry ${found[4]} is committed`
        : `${entries(Number(found[1]) + 1, Number(found[1]) + Number(found[3]))}; entry ${found[4]} is committed`;
    case "AppendEntriesResponse":
      found = /^match (\d+)/.exec(note);
      if (found) return `has the log through entry ${found[1]}`;
      found = /^rejects (\d+) hint (\d+)/.exec(note);
      return found ? `lacks entry ${found[1]}; send from about ${Number(found[2]) + 1}` : note;
    case "PreVote":
    case "RequestVote":
      found = /^last (\d+)\.(\d+)/.exec(note);
      return found ? `${name === "PreVote" ? `would you vote for me in term ${term + 1}` : `vote for me in term ${term}`}? My log ends at entry ${found[1]} of term ${found[2]}` : note;
    case "PreVoteResponse":
    case "RequestVoteResponse":
    case "TimeoutNowResponse":
      return note === "refused" ? "no" : note === "granted" || note === "accepted" ? "yes" : note;
    case "TimeoutNow":
      return "start an election now, to become the leader";
    case "InstallSnapshot":
      found = /^through (\d+)\.(\d+) at (\d+) of (\d+)/.exec(note);
      return found ? `snapshot through entry ${found[1]}, from byte ${found[3]} of ${found[4]}` : note;
    case "InstallSnapshotResponse":
      found = /^match (\d+) next (\d+)/.exec(note);
      return found ? `received up to byte ${found[2]}` : note;
    case "Forward":
      return `a client's ${note || "request"}`;
    case "ForwardResponse":
      return note === "ok" ? "done" : note;
    case "ReadIndex":
      return "which entry must a read wait for?";
    case "ReadIndexResponse":
      found = /^index (\d+)/.exec(note);
      return found ? `entry ${found[1]}` : note;
    case "StateDigests":
      found = /^through (\d+)/.exec(note);
      return found ? `digests of its state through entry ${found[1]}, so that the nodes can compare their states` : note;
    default:
      return note;
  }
}

/** A few letters for a message beside its mark. */
export function shortContents(name, note, term) {
  let found;
  switch (name) {
    case "AppendEntries":
      found = /^prev (\d+)\.(\d+) entries (\d+)/.exec(note);
      if (!found || found[3] === "0") return "heartbeat";
      return entries(Number(found[1]) + 1, Number(found[1]) + Number(found[3]));
    case "AppendEntriesResponse":
      found = /^match (\d+)/.exec(note);
      return found ? `has ${found[1]}` : "lacks entries";
    case "PreVote": return `pre-vote, term ${term + 1}?`;
    case "RequestVote": return `vote, term ${term}?`;
    case "PreVoteResponse": return note === "granted" ? "pre-vote: yes" : "pre-vote: no";
    case "RequestVoteResponse": return note === "granted" ? "vote: yes" : "vote: no";
    case "TimeoutNow": return "lead now";
    case "Forward": return note || "request";
    case "ForwardResponse": return note === "ok" ? "done" : note;
    case "InstallSnapshot": return "snapshot";
    case "StateDigests": return "compares states";
    default: return name;
  }
}

const LOSSES = {
  cut: "the link is cut", "node is down": "the node is down", paused: "the node is paused",
  "no such node": "there is no such node",
};

/** Why a message was lost, in words. */
export const lossReason = (why) => LOSSES[why] ?? (why || "for a reason that the trace does not hold");

/** Why a node is down, in words. */
export const downReason = (why) => ({ crash: "crashed", pause: "paused", stopped: "stopped", silent: "killed or failed" })[why] ?? why;

/** The name of a fault, without its place in the scenario: `timeline[0] disk_stall` is a `disk stall`. */
export const faultName = (name) => (name.replace(/^.*\]\s+/, "") || name).replaceAll("_", " ");

/** The notes of faults that hold settings -> these in words. The page fills it. */
export const faultNotes = new Map();

/** `node 3`, `nodes 1, 2 and 5`. */
export const nodesText = (nodes) => `${nodes.length === 1 ? "node" : "nodes"} ${listed(nodes)}`;

/** The reason of an outcome, in words: `NoQuorum` is "no quorum". What the outcome says already is left out. */
export function reason(note) {
  if (!note || note === "OutcomeUnknown") return "";
  return /^[A-Z][A-Za-z]+$/.test(note) ? note.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase() : note;
}
