// Opens the page: reads the data, makes the parts, and connects them with keys, link and theme.

import { button, find, forgetColours, make, setText } from "../shared/dom.js";
import { capital, counted, duration, grouped, moment, seconds } from "../shared/format.js";
import { faultNotes, nodesText } from "../shared/raft_words.js";
import { bindKeys, keysDialog } from "../shared/keys.js";
import { initControls } from "./controls.js";
import { eventText } from "./event_text.js";
import { Logs } from "./logs.js";
import { Timeline } from "./overview.js";
import { canRead, decoding, Payload } from "./payload.js";
import { Stage } from "./stage.js";
import { Run } from "./state.js";
import { View } from "./view.js";
import { EventsTab } from "../viewer_tabs/events.js";
import { ElectionsTab, ScenarioTab, SummaryTab } from "../viewer_tabs/explain.js";
import { OperationsTab } from "../viewer_tabs/operations.js";
import { cone, SpacetimeTab } from "../viewer_tabs/spacetime.js";

const TABS = [
  ["summary", "Summary", SummaryTab], ["elections", "Elections", ElectionsTab], ["operations", "Operations", OperationsTab],
  ["spacetime", "Space-time", SpacetimeTab], ["events", "Events", EventsTab], ["scenario", "Scenario", ScenarioTab],
];
const MOST_GAPS = 4;
const THEMES = ["system", "dark", "light"];

function announce(text) {
  setText(find("announcer"), text);
  setText(find("notice"), text);
  find("notice").hidden = false;
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => { find("notice").hidden = true; }, 2500);
}

function initTabs(view) {
  const body = find("tab-body");
  const tabs = TABS.map(([name, title, Tab], place) => {
    const panel = make("div", { id: `panel-${name}`, className: `panel ${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}` });
    const tab = button(title, `${title} (${place + 1})`, () => view.set({ tab: name }), { id: `tab-${name}`, role: "tab", "aria-controls": panel.id });
    find("tabs").append(tab);
    body.append(panel);
    let part = null;
    return { name, tab, panel, part: () => (part ??= new Tab(view, panel, announce)) };
  });
  find("tabs").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || event.shiftKey) return;
    event.preventDefault();
    const place = (tabs.findIndex(({ name }) => name === view.tab) + by + tabs.length) % tabs.length;
    view.set({ tab: tabs[place].name });
    tabs[place].tab.focus();
  });
  const show = () => {
    if (!tabs.some(({ name }) => name === view.tab)) view.tab = TABS[0][0];
    for (const { name, tab, panel, part } of tabs) {
      const isOpen = name === view.tab;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      panel.hidden = !isOpen;
      if (isOpen) part().draw();
    }
  };
  view.on(show);
  return [
    ...TABS.map(([name, title], place) => ({
      key: String(place + 1), shown: String(place + 1), text: `the tab ${title}`, act: () => view.set({ tab: name }),
    })),
    { key: "/", shown: "/", text: "search the events", act: () => {
      view.set({ tab: "events" });
      show();
      tabs.find(({ name }) => name === "events").part().focusSearch();
    } },
  ];
}

function initNow(view) {
  let shownEvent = null;
  view.on(() => {
    setText(find("now-time"), moment(view.t - view.run.zero));
    setText(find("now-utc"), view.run.utc(view.t));
    const event = view.position;
    const found = event === null ? null : view.run.event(event);
    if (event === shownEvent) return;
    if (event === -1) setText(find("now-event"), "before the first event");
    if (!found) return;
    shownEvent = event;
    const text = eventText(found, (n) => (n ? view.run.event(n) : null));
    setText(find("now-event"), `${text}.`);
    find("now-event").title = `${text}. Event ${grouped(event)} of ${grouped(view.run.head.events)}`;
    if (!view.running) setText(find("announcer"), `${moment(view.t - view.run.zero)}: ${text}`);
  });
}

function initTheme(view) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const change = () => {
    view.scheme = `${view.theme} ${dark.matches}`;
    forgetColours();
    view.draw();
  };
  dark.addEventListener("change", change);
  let applied = null;
  view.on(() => {
    if (view.theme === applied) return;
    applied = view.theme;
    if (applied === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = applied;
    change();
  });
  return () => {
    const theme = THEMES[(THEMES.indexOf(view.theme) + 1) % THEMES.length];
    view.set({ theme });
    announce(`Colours: ${theme}`);
  };
}

async function copyLink(view) {
  view.writeLinkNow();
  try {
    await navigator.clipboard.writeText(location.href);
    announce("The link to this moment is copied");
  } catch {
    announce("The address of the page is the link to this moment");
  }
}

function showHead({ head, begin, end }) {
  const name = head.source === "real" ? capital(nodesText(head.nodes)) : head.name || "A run";
  document.title = `${name} – qcore`;
  setText(find("name"), name);
  const parts = [
    ...(head.source === "real" ? ["traces of real nodes"] : [`simulated, seed ${head.seed}`]),
    counted(head.nodes.length, "node"), duration(end - begin), counted(head.events, "event"),
  ];
  setText(find("about"), parts.join(" · "));
  if (head.source === "real") setText(find("clients-title"), "Requests at each node");
}

/** How far the clocks of real nodes differ, as the messages between them show. Simulated nodes have one true time. */
function clockText({ head, overview: { offsets } }) {
  if (head.source !== "real" || !offsets.length) return "";
  const limit = "Times of different nodes are only as exact as this.";
  if (offsets.every(({ offset, error }) => Math.abs(offset) <= error)) {
    return `The clocks of the nodes agree within ${duration(Math.max(...offsets.map(({ error }) => error)))}, as far as the traces show. ${limit}`;
  }
  const notes = offsets.filter(({ offset, error }) => Math.abs(offset) > error).map(({ a, b, offset, error }) =>
    `node ${b} is ${duration(Math.abs(offset))} ${offset > 0 ? "ahead of" : "behind"} node ${a} (± ${duration(error)})`);
  return `Clocks: ${notes.join("; ")}. ${limit}`;
}

function showBanner(run) {
  const { gaps } = run.overview;
  const notes = gaps.slice(0, MOST_GAPS).map(({ nodes, start, note }) => {
    const who = nodes.length ? `of ${nodesText(nodes)} ` : "", when = seconds(start - run.zero);
    return note.includes("missing") ? `The trace ${who}after ${when}: ${note}.` : `Records ${who}after ${when} are missing: ${note}.`;
  });
  const texts = [clockText(run), ...notes, gaps.length > MOST_GAPS ? `Records are missing at ${counted(gaps.length - MOST_GAPS, "more moment")}.` : ""];
  setText(find("banner"), texts.filter(Boolean).join(" "));
  find("banner").hidden = !find("banner").textContent;
}

function fail(text) {
  setText(find("now"), text);
  find("now").classList.add("failed");
}

async function open() {
  if (!canRead()) {
    fail("This browser is too old for the page: it needs Chrome 103, Firefox 113, Safari 16.4, or a later one.");
    return;
  }
  const payload = new Payload();
  const run = new Run(payload, await payload.overview());
  for (const [note, words] of Object.entries(run.overview.notes)) faultNotes.set(note, words);
  await payload.chunk(0);
  const view = new View(run);
  view.loads = 0;
  payload.listeners.push(() => {
    view.loads += 1;
    view.draw();
  });
  showHead(run);
  showBanner(run);
  document.body.append(make("div", { id: "notice", hidden: true }));
  const nextTheme = initTheme(view);
  const parts = [new Stage(view), new Logs(view), new Timeline(view)];
  const bindings = initControls(view, { announce });
  bindings.push(...initTabs(view),
    { key: "t", shown: "t", text: "colours: of the system, dark, light", act: nextTheme },
    { key: "s", shown: "s", text: "copy the link to this moment", act: () => copyLink(view) },
    { key: "?", shown: "?", text: "this list", act: () => dialog.showModal() },
    { key: "Escape", act: () => view.set({ node: 0, operation: -1 }) });
  const dialog = keysDialog(bindings);
  bindKeys(bindings);
  find("page-buttons").append(
    button("Copy link", "Copy the link to this moment (s)", () => copyLink(view), { id: "copy-link" }),
    button("Colours", "Colours: of the system, dark, light (t)", nextTheme, { id: "theme" }),
    button("Keys", "List of keys (?)", () => dialog.showModal(), { id: "keys" }));
  initNow(view);
  view.on(() => {
    document.body.classList.toggle("loading", !view.state);
    parts.forEach((part) => part.draw());
  });
  addEventListener("hashchange", (event) => view.readLink(new URL(event.newURL).hash));
  if (location.hash) view.readLink(location.hash);
  else if (run.overview.elections.length) view.show(Math.min(run.end, run.overview.elections[0].end));
  view.draw();
  window.qcore = { view, cone, get decoded() { return decoding.decoded; } };
  document.documentElement.dataset.ready = "yes";
}

open().catch((error) => {
  fail(`The page could not read its data: ${error.message}`);
  throw error;
});
