// Keys: a table of what each does, and the dialog that lists them.

import { make } from "./dom.js";

/**
 * Act on keys.
 *
 * @param bindings a list of `{key, shift, shown, text, act}`: `key` as in KeyboardEvent; `shown` and `text` for the list.
 */
export function bindKeys(bindings) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (target.matches?.("input:not([type=checkbox], [type=range]), textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (target.matches?.("[type=range]") && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    if (event.key === " " && target.matches?.("[type=checkbox]")) return;
    if ((event.key === " " || event.key === "Enter") && target.matches?.("button, a, summary, [role=option], [role=button]")) return;
    const found = bindings.find((each) => each.key === event.key && (each.shift ?? event.shiftKey) === event.shiftKey);
    if (!found) return;
    event.preventDefault();
    found.act(event);
  });
}

/** The dialog that lists the keys. */
export function keysDialog(bindings) {
  const rows = [];
  for (const { shown, text } of bindings) {
    if (!text) continue;
    const keys = shown.split(" / ").flatMap((each, place) => (place ? [" / ", make("kbd", {}, each)] : [make("kbd", {}, each)]));
    rows.push(make("tr", {}, make("td", {}, ...keys), make("td", {}, text)));
  }
  const close = make("button", { type: "button", textContent: "Close" });
  const dialog = make("dialog", { "aria-label": "Keys" },
    make("h2", { textContent: "Keys" }), make("table", {}, make("tbody", {}, ...rows)), close);
  close.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  return dialog;
}
