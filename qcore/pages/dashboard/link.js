/** One node over one WebSocket at a time. */

import { sleep } from "./elements.js";

const RESPONSE_MS = 4_000, CONNECT_MS = 4_000;
const NO_CONNECTION = location.protocol === "https:"
  ? "no connection from this browser; open its address to see whether the browser accepts its certificate"
  : "no connection from this browser";
const FIRST_PAUSE_MS = 400, LONGEST_PAUSE_MS = 5_000;

/** An error that a node, or the lack of a node, gave as the answer to a request. */
export class NodeError extends Error {
  constructor(text, detail) {
    super(text);
    this.code = detail?.code ?? "";
    this.retryable = detail?.retryable ?? false;
  }
}

/** The WebSocket of a `host:port`; null for what is none. The page never dials anything else. */
export function socketUrl(address) {
  if (!/^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?$/i.test(address)) return null;
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${address}/`;
  return URL.canParse(url) ? url : null;
}

/**
 * It connects again after the connection ends, with a pause that grows. Watches end with their connection:
 * who has some has to begin them again.
 */
export class NodeLink {
  /** `prove(link)` authenticates a new connection, before any other request. */
  constructor(address, prove) {
    Object.assign(this, { address, prove, url: socketUrl(address) });
    this.pending = new Map(); // id of a request -> what waits for its response
    this.tokens = new Map(); // token of a watch -> its handler
    this.lastId = 0;
    this.pauseMs = FIRST_PAUSE_MS;
    this.ended = false;
    this.hasOpened = false;
    this.isReady = false;
    this.why = "connecting";
    if (this.url) this.open();
    else this.why = "its address cannot be dialled";
  }

  /**
   * Open the connection. Over TLS, the first one comes after a request for a page: a browser opens no WebSocket
   * connection to a node that asks for a certificate of clients (--tls-ca) before a request has settled which one it is.
   */
  async open() {
    if (location.protocol === "https:" && !this.hasOpened) await askForPage(this.address);
    if (!this.ended) this.openSocket();
  }

  openSocket() {
    const socket = this.socket = new WebSocket(this.url);
    const overdue = setTimeout(() => socket.close(), CONNECT_MS);
    let opened = false;
    socket.onopen = () => {
      clearTimeout(overdue);
      opened = this.hasOpened = true;
      this.begin(socket);
    };
    socket.onmessage = (event) => { if (socket === this.socket) this.receive(event.data); };
    socket.onclose = (event) => {
      clearTimeout(overdue);
      const why = opened ? `the connection ended (${[event.code, event.reason].filter(Boolean).join(", ")})` : NO_CONNECTION;
      if (socket === this.socket && !this.ended) this.closed(why);
    };
  }

  async begin(socket) {
    try {
      await this.prove(this);
    } catch (error) {
      if (!(error instanceof NodeError)) throw error; // the requests that follow show what is wrong
    }
    if (socket !== this.socket || socket.readyState !== WebSocket.OPEN) return;
    this.pauseMs = FIRST_PAUSE_MS;
    this.isReady = true;
    this.why = "";
  }

  end() {
    this.ended = true;
    this.isReady = false;
    this.socket?.close();
    this.failPending("the page closed the connection");
  }

  /** Stop using this connection: the browser may need minutes to notice that the other end is gone. */
  drop(why) {
    const socket = this.socket;
    socket.onclose = null;
    socket.close();
    this.closed(why);
  }

  async closed(why) {
    this.isReady = false;
    this.why = why;
    this.tokens.clear();
    this.failPending(why);
    const pauseMs = Math.round(this.pauseMs * (0.5 + Math.random() / 2));
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    await sleep(pauseMs);
    if (!this.ended) this.open();
  }

  failPending(text) {
    const waiting = [...this.pending.values()];
    this.pending.clear();
    for (const { reject, overdue } of waiting) {
      clearTimeout(overdue);
      reject(new NodeError(text, { code: "ConnectionLost" }));
    }
  }

  /** Send a request. Resolves to the fields of its response, and rejects with a NodeError. */
  ask(kind, fields = {}) {
    return new Promise((resolve, reject) => {
      if (this.socket?.readyState !== WebSocket.OPEN) return reject(new NodeError("there is no connection", { code: "ConnectionLost" }));
      const id = String(++this.lastId);
      const overdue = setTimeout(() => {
        this.pending.delete(id);
        reject(new NodeError(`no answer to ${kind} within ${RESPONSE_MS / 1000} s`, { code: "Overdue" }));
      }, RESPONSE_MS);
      this.pending.set(id, { resolve, reject, overdue });
      this.socket.send(JSON.stringify({ [kind]: { id, ...fields } }));
    });
  }

  receive(text) {
    for (const envelope of [parsed(text)].flat()) {
      const [[kind, body]] = Object.entries(envelope);
      if (kind === "StoreNotification") {
        this.tokens.get(body.notification.token)?.onNotice(body.notification);
        continue;
      }
      const request = this.pending.get(body.id);
      if (request) {
        this.pending.delete(body.id);
        clearTimeout(request.overdue);
        const problem = kind === "Error" ? body.error : body.response?.Err;
        if (problem === undefined) request.resolve(body);
        else request.reject(new NodeError(problem, body.detail));
      } else if (kind === "Error" && this.tokens.has(body.id)) {
        const { onGap } = this.tokens.get(body.id);
        this.tokens.delete(body.id);
        onGap();
      }
    }
  }

  /** Watch from now on; resolves to the token. `onGap` is called if the node ends the watch: read the state again. */
  async watch(config, onNotice, onGap) {
    const body = await this.ask("StoreRegisterNotification", { config, after: null });
    this.tokens.set(body.response.Ok, { onNotice, onGap });
    return body.response.Ok;
  }

  unwatch(token) {
    if (this.tokens.delete(token)) this.ask("StoreUnregisterNotification", { token }).catch(() => {});
  }
}

/** What it answers does not matter, nor whether it does. */
async function askForPage(address) {
  const options = { mode: "no-cors", cache: "no-store", credentials: "include", signal: AbortSignal.timeout(CONNECT_MS) };
  await fetch(`https://${address}/livez`, options).catch(() => {});
}

/** JSON with all digits: integers that a JavaScript number cannot hold become BigInt. */
function parsed(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source) ? BigInt(context.source) : value);
}
