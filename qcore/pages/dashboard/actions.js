/** What a visitor may change: only after a login, only with the right for it, and each only after a question. */

import { find, make } from "../shared/dom.js";
import { NodeError } from "./link.js";
import { anyLink, cluster, freshMembers, isFresh } from "./members.js";
import { typedValue } from "./entities.js";
import { visitor } from "./login.js";

/** Whether a node says that this user may do it. In a cluster without users, no visitor may do anything here. */
export function may(right) {
  if (visitor.user === null) return false;
  return freshMembers().some(({ activity }) => activity?.rights.users_exist && activity.rights.user === visitor.user && activity.rights[right]);
}

/** Ask the visitor. Resolves to the text (empty without a field), or to null if the answer is no. */
function askVisitor(question, yes, value) {
  const dialog = find("dialog");
  find("dialog-text").textContent = question;
  find("dialog-yes").textContent = yes;
  find("dialog-field").hidden = value === undefined;
  const input = find("dialog-input");
  input.value = value ?? "";
  input.rows = Math.min(8, input.value.split("\n").length);
  input.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    find("dialog-yes").click();
  };
  find("dialog-no").onclick = () => dialog.close("no");
  showError("");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.onclose = () => answer(dialog.returnValue === "yes" ? input.value : null);
  });
}

/** The buttons in the row of a member. */
export function actionsOf(member, head) {
  const isVoter = head?.metrics.membership_config.membership.configs.at(-1)?.includes(member.id);
  if (!head || member === head || !isVoter || !isFresh(member) || !may("manage")) return [];
  member.transfer ??= make("button", { textContent: "Make leader", onclick: () => transfer(member.id).catch(reportProblem) });
  return [member.transfer];
}

async function transfer(id) {
  if (await askVisitor(`Transfer the leadership to node ${id}? Requests wait until it leads.`, "Transfer") === null) return;
  const link = [...cluster.members.values()].find(({ metrics, link }) => link?.isReady && metrics?.state === "Leader")?.link ?? anyLink();
  if (!link) throw new NodeError("no node answers", {});
  await link.ask("TransferLeader", { to: id });
}

/** What an entity tree calls to change a value; null if the visitor may not write. */
export function editor() {
  return may("write") ? (node, field, kind, text) => setValue(node, field, kind, text).catch(reportProblem) : null;
}

async function setValue(node, field, kind, text) {
  const typed = await askVisitor(`Set ${field} of ${node.key} (${kind})`, "Set", text);
  if (typed === null) return;
  const link = anyLink();
  if (!link) throw new NodeError("no node answers", {});
  const write = { entity_id: node.id, field_type: field, value: typedValue(kind, typed), push_condition: "Always", adjust_behavior: "Set", write_time: null, writer_id: null };
  await link.ask("StorePerform", { requests: [{ Write: write }] });
}

export function showError(text) {
  find("error").textContent = text;
  find("error").hidden = !text;
}

function reportProblem(error) {
  if (error instanceof NodeError) showError(`The node answers: ${error.message}`);
  else if (error instanceof RangeError) showError(error.message);
  else throw error; // a bug: the browser's console shows it
}
