/** Rates and latencies of the last minutes, from the counters of all members that answer. */

import { shape, find, make, setText } from "../shared/dom.js";
import { durationText, numberText } from "./elements.js";

const KEPT = 300, HEIGHT = 130, LEFT = 40, BOTTOM = 16, TOP = 8;
const SHORTEST_MS = 60_000, LONGEST_MS = 300_000;

/** The seconds between two answers of a node, and what its counters gained; null if the node was started in between. */
export function differences(before, now) {
  const seconds = (now.now_us - before.now_us) / 1e6;
  if (before.started_us !== now.started_us || !(seconds > 0)) return null;
  const gain = (a, b) => Object.fromEntries(Object.keys(b).map((key) => [key, b[key] - (a[key] ?? 0)]));
  const buckets = (a, b) => ({ bounds: b.bounds, counts: b.counts.map((count, index) => count - a.counts[index]) });
  const [was, is] = [before.counters, now.counters];
  return {
    seconds,
    read: gain(was.requests.read, is.requests.read),
    write: gain(was.requests.write, is.requests.write),
    readTimes: buckets(was.request_seconds.read, is.request_seconds.read),
    writeTimes: buckets(was.request_seconds.write, is.request_seconds.write),
    commitTimes: buckets(was.commit_seconds, is.commit_seconds),
  };
}

/** About the value that this share of the observations does not exceed; null if there are none. */
export function percentile(histograms, share) {
  const [first] = histograms;
  if (!first) return null;
  const counts = first.counts.map((_, index) => histograms.reduce((sum, { counts }) => sum + counts[index], 0));
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  let below = 0;
  for (const [index, count] of counts.entries()) {
    if (count && below + count >= share * total) {
      const low = index ? first.bounds[index - 1] : 0;
      const high = first.bounds[index] ?? low;
      return low + (high - low) * (share * total - below) / count;
    }
    below += count;
  }
  return first.bounds.at(-1);
}

/**
 * One sample: the sums over the members. `followers` is what the leader knows of the others, and `entries` how many
 * entries each member committed and applied in a second.
 */
export function sampleOf(rates, followers, entries) {
  const sum = (of) => rates.length ? rates.reduce((total, rate) => total + of(rate) / rate.seconds, 0) : null;
  const ms = (name, share) => {
    const seconds = percentile(rates.map((rate) => rate[name]), share);
    return seconds === null ? null : seconds * 1000;
  };
  const lags = Object.values(followers ?? {}).map(({ lag_ms }) => lag_ms).filter((lag) => lag !== null);
  return {
    reads: sum(({ read }) => read.ok),
    writes: sum(({ write }) => write.ok),
    failed: sum(({ read, write }) => read.refused + read.unknown + write.refused + write.unknown),
    write50: ms("writeTimes", 0.5), write99: ms("writeTimes", 0.99), read99: ms("readTimes", 0.99),
    commit50: ms("commitTimes", 0.5), commit99: ms("commitTimes", 0.99),
    committed: entries.length ? Math.max(...entries.map(({ committed }) => committed)) : null,
    applied: entries.length ? Math.min(...entries.map(({ applied }) => applied)) : null,
    lagMs: lags.length ? Math.max(...lags) : null,
  };
}

const CHARTS = [
  ["Requests per second", "", [["reads", "reads"], ["writes", "writes"], ["failed", "refused or unknown"]]],
  ["Log entries per second", "", [["committed", "committed"], ["applied", "applied by the slowest member"]]],
  ["Time of a request, ms", "ms", [["write50", "writes, median"], ["write99", "writes, p99"], ["read99", "reads, p99"]]],
  ["Time until log writes are on disk, ms", "ms", [["commit50", "median"], ["commit99", "p99"]]],
  ["Slowest follower is behind, ms", "ms", [["lagMs", "lag"]]],
  ["Queues", "", [["events", "events"], ["requests", "requests in progress"], ["diskWrites", "writes to disk"]]],
];

export class Charts {
  constructor() {
    this.samples = [];
    this.charts = CHARTS.map(([title, unit, series]) => newChart(title, unit, series));
    find("charts").replaceChildren(...this.charts.map(({ element }) => element));
  }

  add(sample) {
    this.samples.push({ at: performance.now(), ...sample });
    if (this.samples.length > KEPT) this.samples.shift();
    for (const chart of this.charts) showChart(chart, this.samples);
  }
}

function newChart(title, unit, series) {
  const drawing = shape("svg", { role: "img" });
  const values = series.map(() => make("b", { textContent: "–" }));
  const legend = make("div", { className: "legend" }, ...series.map(([, name], index) =>
    make("span", {}, shape("svg", { viewBox: "0 0 22 8" }, shape("path", { d: "M0 4H22", class: `series-${index}`, fill: "none", "stroke-width": 2 })), `${name} `, values[index])));
  const element = make("div", { className: "chart" }, make("h3", { textContent: title }), drawing, legend);
  return { element, drawing, values, series, title, unit };
}

/** The next of 1, 2, 5, 10, 20, … */
export function roundedUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

function showChart({ drawing, values, series, title, unit }, samples) {
  const now = samples.at(-1).at;
  const width = Math.max(160, drawing.clientWidth);
  const span = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, now - samples[0].at));
  const most = Math.max(...series.flatMap(([key]) => samples.map((sample) => sample[key] ?? 0)));
  const top = roundedUp(Math.max(most, unit ? 1 : 5));
  const x = (at) => LEFT + (width - LEFT - 4) * (1 - Math.min(1, (now - at) / span));
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    parts.push(shape("line", { x1: LEFT, x2: width - 4, y1: y(share * top), y2: y(share * top) }));
    parts.push(shape("text", { x: LEFT - 4, y: y(share * top) + 3, "text-anchor": "end" }, numberText(share * top)));
  }
  parts.push(shape("text", { x: LEFT, y: HEIGHT - 3 }, `−${durationText(span / 1000)}`), shape("text", { x: width - 4, y: HEIGHT - 3, "text-anchor": "end" }, "now"));
  series.forEach(([key], index) => parts.push(shape("path", { d: path(samples, key, x, y), class: `series-${index}` })));
  drawing.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  drawing.replaceChildren(...parts);
  series.forEach(([key], index) => setText(values[index], numberText(samples.at(-1)[key])));
  drawing.setAttribute("aria-label", `${title}: ${series.map(([key, name]) => `${name} ${numberText(samples.at(-1)[key])}`).join(", ")}`);
}

/** A line that is interrupted where there is no value, or where the page was hidden. */
function path(samples, key, x, y) {
  let text = "", last = -Infinity;
  for (const sample of samples) {
    const value = sample[key];
    if (value === null) {
      last = -Infinity;
      continue;
    }
    text += `${sample.at - last > 15_000 ? "M" : "L"}${x(sample.at).toFixed(1)} ${y(value).toFixed(1)}`;
    last = sample.at;
  }
  return text;
}
