/** What the parts of the page use: lists, texts of numbers and times. */

import { make } from "../shared/dom.js";

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Put these elements into a list or table. One that is in its place stays, and keeps the focus. */
export function place(list, elements) {
  elements.forEach((element, index) => {
    if (list.children[index] !== element) list.insertBefore(element, list.children[index] ?? null);
  });
  while (list.children.length > elements.length) list.lastChild.remove();
}

export function bytesText(bytes) {
  if (bytes === undefined || bytes === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes >= 100 || !unit ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

export function durationText(seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

/** A number for people: three digits that matter, without zeros at the end. */
export function numberText(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 10_000) return Math.round(value).toLocaleString("en");
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return String(Number(value.toFixed(digits)));
}

/** The day and time of a moment, in the zone of the visitor. */
export function dayText(date) {
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** The time of day of an event, in the zone of the visitor; with the day if it is another one. */
export function timeText(us) {
  const date = new Date(us / 1000);
  if (Number.isNaN(date.getTime())) return "?";
  const two = (number) => String(number).padStart(2, "0");
  const day = date.toDateString() === new Date().toDateString() ? "" : `${two(date.getMonth() + 1)}-${two(date.getDate())} `;
  return `${day}${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** The element `time` of an event. */
export function timeOf(us) {
  return make("time", { textContent: timeText(us), title: new Date(us / 1000).toISOString() });
}
