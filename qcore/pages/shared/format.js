// Times, durations, counts and lists as texts. All times are microseconds.

/** A duration with three digits that matter: `250 µs`, `12.3 ms`, `1.24 s`. */
export function duration(us) {
  const size = Math.abs(us);
  if (size < 1000) return `${Math.round(us)} µs`;
  if (size < 999_500) return `${digits(us / 1000)} ms`;
  if (size < 120e6) return `${digits(us / 1e6)} s`;
  if (size < 7200e6) return `${Math.round(us / 60e6)} min`;
  return `${digits(us / 3600e6)} h`;
}

function digits(number) {
  const size = Math.abs(number);
  const text = number.toFixed(size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A moment in seconds with all microseconds: `2.031 245 s`. */
export function moment(us) {
  const sign = us < 0 ? "−" : "", whole = Math.round(Math.abs(us));
  const rest = String(whole % 1e6).padStart(6, "0");
  return `${sign}${Math.floor(whole / 1e6)}.${rest.slice(0, 3)} ${rest.slice(3)} s`;
}

/** A moment in seconds, to the millisecond: `2.031 s`. */
export const seconds = (us) => `${(us / 1e6).toFixed(3)} s`;

/** A count with groups of three digits: `10,295`. */
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/** `1 event`, `2 events`. */
export const counted = (number, noun) => `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;

/** `1, 2 and 5`. */
export function listed(items) {
  const texts = [...items].map(String);
  return texts.length < 2 ? texts.join("") : `${texts.slice(0, -1).join(", ")} and ${texts.at(-1)}`;
}

/** A value of a register as a person reads it. */
export function shown(value) {
  if (value === null || value === undefined) return "nothing";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A text with a capital letter. */
export const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** The end of a long number, such as the id of a real client's request, which is enough to distinguish it. */
export const shortId = (id) => (String(id).length > 9 ? `…${String(id).slice(-6)}` : String(id));

/** Cut a long text. */
export const shortened = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
