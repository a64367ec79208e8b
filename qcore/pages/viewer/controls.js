// The bar of controls: run and pause, steps, the moment, the speed, the window, the jumps.

import { button, find, make, setText, shape } from "../shared/dom.js";
import { counted } from "../shared/format.js";
import { lastWhere } from "./payload.js";

const ICONS = {
  start: "M3 3h2v10H3zM13 3v10L6 8z", end: "M11 3h2v10h-2zM3 3v10l7-5z", run: "M4 2.5v11l9-5.5z", pause: "M4 3h3v10H4zM9 3h3v10H9z",
  forward: "M4 3v10l6-5zM11 3h1.6v10H11z", back: "M12 3v10L6 8zM3.4 3H5v10H3.4z", previous: "M10.5 2.5L5 8l5.5 5.5 1.2-1.2L7.4 8l4.3-4.3z",
  next: "M5.5 2.5L11 8l-5.5 5.5-1.2-1.2L8.6 8 4.3 3.7z", reverse: "M12 2.5v11L3 8z",
};

/** The jumps: name, mark, keys. */
const JUMPS = [
  ["elections", "election", "e", "E"], ["faults", "fault", "f", "F"], ["failed", "failed operation", "o", "O"],
  ["violations", "violation", "v", "V"],
];

function icon(name) {
  return shape("svg", { viewBox: "0 0 16 16", width: 15, height: 15, "aria-hidden": "true" }, shape("path", { d: ICONS[name] }));
}

function iconButton(name, label, act, properties = {}) {
  const made = button("", label, act, { className: "icon", ...properties });
  made.append(icon(name));
  return made;
}

/** Fill the bar. Returns the bindings of keys. */
export function initControls(view, actions) {
  const { run } = view;
  const toggle = () => view.set({ running: !view.running });
  const runButton = iconButton("run", "Run (Space)", toggle, { id: "run", className: "icon main" });
  const reverse = iconButton("reverse", "Run backwards (r)", () => view.set({ direction: -view.direction }), { id: "reverse" });
  // Real nodes record before the cluster begins: the beginning is that of the cluster.
  const toStart = () => (run.first < run.begin ? view.show(run.begin) : view.goTo(0));
  const toEnd = () => view.goTo(run.head.events - 1);
  const time = make("input", { id: "time", className: "number", spellcheck: false, autocomplete: "off", "aria-label": "Moment, in seconds", title: "Moment, in seconds since the beginning. Type one and press Enter." });
  time.addEventListener("change", () => {
    const typed = Number(time.value.replace(/\s|s$/g, "").replace("−", "-"));
    if (Number.isFinite(typed)) view.show(run.zero + typed * 1e6);
    time.blur();
  });
  time.addEventListener("keydown", (event) => { if (event.key === "Enter") time.blur(); });
  const speed = make("input", { id: "speed", type: "range", min: 0, max: 100, step: 1, title: "Speed" });
  speed.setAttribute("aria-label", "Speed");
  const speedText = make("output", { id: "speed-text", className: "number faint" });
  speed.addEventListener("input", () => {
    view.ratePlace = Number(speed.value);
    view.draw();
  });
  find("controls").append(
    make("div", { className: "group" },
      iconButton("start", "To the beginning (Home)", toStart, { id: "to-start" }),
      iconButton("back", "Back one event (←)", () => view.step(-1), { id: "step-back" }),
      runButton,
      iconButton("forward", "On by one event (→)", () => view.step(1), { id: "step" }),
      iconButton("end", "To the end (End)", toEnd, { id: "to-end" }),
      reverse),
    make("div", { className: "group" }, time),
    make("div", { className: "group speed" }, speed, speedText),
    make("div", { className: "jumps" }, ...JUMPS.map((each) => jumpGroup(view, actions, each))),
  );
  find("zoom").append(
    button("−", "Zoom out (-)", () => view.zoom(2), { id: "zoom-out" }),
    button("+", "Zoom in (+)", () => view.zoom(0.5), { id: "zoom-in" }),
    button("Whole run", "Show the whole run (0)", () => view.set({ from: run.begin, to: run.end }), { id: "zoom-all" }));
  view.on(() => {
    const { running, direction } = view;
    const pressed = running ? "pause" : direction > 0 ? "run" : "reverse";
    if (runButton.dataset.icon !== pressed) {
      runButton.dataset.icon = pressed;
      runButton.replaceChildren(icon(pressed));
      runButton.setAttribute("aria-label", running ? "Pause (Space)" : "Run (Space)");
      runButton.title = running ? "Pause (Space)" : "Run (Space)";
    }
    reverse.setAttribute("aria-pressed", String(direction < 0));
    if (document.activeElement !== time) time.value = `${((view.t - run.zero) / 1e6).toFixed(6)} s`;
    speed.value = view.ratePlace;
    const text = speedName(view.rate);
    speed.setAttribute("aria-valuetext", text);
    setText(speedText, text);
  });
  return [
    { key: " ", shift: false, shown: "Space", text: "run or pause", act: toggle },
    { key: "r", shown: "r", text: "run backwards or forwards", act: () => view.set({ direction: -view.direction }) },
    { key: "ArrowRight", shift: false, shown: "← / →", text: "one event back or on", act: () => view.step(1) },
    { key: "ArrowLeft", shift: false, act: () => view.step(-1) },
    { key: "ArrowRight", shift: true, shown: "Shift ← / Shift →", text: "1 % of the window back or on", act: () => view.show(view.t + (view.to - view.from) / 100) },
    { key: "ArrowLeft", shift: true, act: () => view.show(view.t - (view.to - view.from) / 100) },
    { key: "Home", shift: false, shown: "Home / End", text: "to the beginning or the end", act: toStart },
    { key: "End", shift: false, act: toEnd },
    { key: "+", shown: "+ / -", text: "zoom in or out", act: () => view.zoom(0.5) },
    { key: "=", shift: false, act: () => view.zoom(0.5) },
    { key: "-", shift: false, act: () => view.zoom(2) },
    { key: "0", shift: false, shown: "0", text: "the whole run", act: () => view.set({ from: run.begin, to: run.end }) },
    { key: "<", shown: "< / >", text: "slower or faster", act: () => changeSpeed(view, -5) },
    { key: ">", act: () => changeSpeed(view, 5) },
    ...JUMPS.flatMap(([marks, text, next, previous]) => [
      { key: next, shown: `${next} / ${previous}`, text: `next or previous ${text}`, act: () => jump(view, marks, 1, actions) },
      { key: previous, act: () => jump(view, marks, -1, actions) },
    ]),
  ];
}

/** How fast time passes here: `20 times slower`. */
function speedName(rate) {
  const times = (factor) => `${Number(factor.toPrecision(factor < 100 ? 2 : 1))} times`;
  return rate === 1 ? "in real time" : rate < 1 ? `${times(1 / rate)} slower` : `${times(rate)} faster`;
}

function changeSpeed(view, by) {
  view.ratePlace = Math.max(0, Math.min(100, view.ratePlace + by));
  view.draw();
}

function jump(view, name, by, actions) {
  const marks = view.run.overview.marks[name] ?? [];
  const place = view.jump(marks, by);
  const [, text] = JUMPS.find(([each]) => each === name);
  if (place < 0) actions.announce(marks.length ? `No ${by > 0 ? "later" : "earlier"} ${text}` : `This run has no ${text}`);
  else if (name === "elections") zoomTo(view, view.run.overview.elections[place]);
  else if (name === "failed") chooseOperation(view, view.run.operations.failed.find((each) => each.end_event === marks[place][0]));
}

/** Choose the operation that failed, so that the tab of the operations and the list of the clients show it. */
function chooseOperation(view, operation) {
  if (operation) view.set({ operation: operation.number, key: view.key === "" ? "" : operation.key });
}

/** An election takes milliseconds: the window must become small enough to see it. */
function zoomTo(view, election) {
  if (!election) return;
  const length = Math.max(election.end - election.start, 2000);
  if (view.to - view.from <= length * 20) return;
  view.from = election.start - length;
  view.to = Math.min(election.end, election.start + length * 3) + length * 2;
  view.fitWindow();
}

function jumpGroup(view, actions, [name, text, next, previous]) {
  const marks = view.run.overview.marks[name] ?? [];
  const label = make("span", { className: "jump-text" });
  const back = iconButton("previous", `Previous ${text} (${previous})`, () => jump(view, name, -1, actions), { id: `previous-${name}` });
  const on = iconButton("next", `Next ${text} (${next})`, () => jump(view, name, 1, actions), { id: `next-${name}` });
  const group = make("div", { className: `jump ${name}` }, back, label, on);
  view.on(() => {
    const at = view.position ?? -1;
    const count = name === "faults" ? view.run.overview.faults.length : marks.length;
    const place = placeOf(view, name, marks, at);
    setText(label, place >= 0 ? `${text} ${place + 1} of ${count}` : count ? counted(count, text) : name === "violations" && view.run.head.source === "real" ? "no violation found" : `no ${text}s`);
    back.disabled = !(marks[0]?.[0] < at);
    on.disabled = !(marks.at(-1)?.[0] > at);
    group.classList.toggle("none", !marks.length);
  });
  return group;
}

/** The number of the mark at the moment, or of the election or fault during which it is; -1 if there is none. */
function placeOf({ run, t }, name, marks, at) {
  const lasts = { elections: run.overview.elections, faults: run.overview.faults }[name];
  if (lasts) return lasts.findLastIndex((each) => each.start <= t && t <= each.end);
  const passed = marks.length ? lastWhere(marks, ([event]) => event <= at) : -1;
  return passed >= 0 && marks[passed][0] <= at && marks[passed][1] === t ? passed : -1;
}
