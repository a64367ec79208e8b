/** Who the visitor is. The password is sent once, and the token stays in the memory of this page. */

import { find } from "../shared/dom.js";
import { capital } from "../shared/format.js";
import { cluster } from "./members.js";
import { forgetLines } from "./activity.js";
import { NodeError } from "./link.js";

export const visitor = { user: null, isAsked: false };

/** A node wants to know who this is. */
export function askToLogIn(error) {
  if (visitor.isAsked) return;
  visitor.isAsked = true;
  const isKnown = cluster.token !== null;
  find("login-why").textContent = isKnown ? `The node answers: ${error.message}.` : "This cluster has users.";
  find("login-plain").hidden = location.protocol === "https:" || isLoopback(location.hostname);
  find("login").hidden = false;
  find("main").hidden = true;
  find("login-user").focus();
}

const isLoopback = (host) => host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);

async function logIn(link) {
  const [name, password, given] = ["user", "password", "token"].map((field) => find(`login-${field}`).value);
  find("login-password").value = find("login-token").value = "";
  if (!given && !(name && password)) throw new NodeError("give a user and its password, or a token", {});
  const proof = given ? { token: given.trim() } : { user: name, password };
  const { user, token } = (await link.ask("Authenticate", proof)).response.Ok;
  cluster.token = token;
  visitor.user = user;
  await useToken();
  find("login").hidden = true;
  find("login-error").textContent = "";
  visitor.isAsked = false;
}

/** Authenticate the open connections. The links do it themselves for those that follow. */
async function useToken() {
  await Promise.allSettled([...cluster.links.values()].filter((link) => link.isReady).map((link) => link.ask("Authenticate", { token: cluster.token })));
  for (const link of cluster.links.values()) link.after = 0; // it may see more events than before
  forgetLines();
}

/** Forget the token, and every connection that has used it. */
function logOut() {
  location.reload();
}

export function prepareLogin(anyLink) {
  find("logout").onclick = logOut;
  find("login").onsubmit = async (event) => {
    event.preventDefault();
    const link = anyLink();
    try {
      if (!link) throw new NodeError("no node answers", {});
      await logIn(link);
    } catch (error) {
      if (!(error instanceof NodeError)) throw error;
      find("login-error").textContent = capital(error.message);
    }
  };
}

export function showVisitor() {
  find("user").textContent = visitor.user === null ? "" : `User ${visitor.user}`;
  find("logout").hidden = visitor.user === null;
}
