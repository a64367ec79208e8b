// Elements, SVG shapes and canvases. No text ever becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

/** Make an element. Every text of a trace or node goes through here, as text and never as HTML. */
export function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make an SVG element. */
export function shape(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set attributes of an element, but only those that differ: a browser redraws after each write. */
export function setAll(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Set the text of an element, if it differs. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button with a text, a name for screen readers that explains it, and what it does. */
export function button(text, label, act, properties = {}) {
  const made = make("button", { type: "button", textContent: text, title: label, ...properties });
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

/**
 * Give a canvas the pixels of its size on the screen. Returns its context, cleared, in CSS pixels. A caller that knows
 * the size gives it: to measure it in each frame would be slow.
 */
export function pen(canvas, width = canvas.clientWidth, height = canvas.clientHeight) {
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

let known = null;

/** The colours of the theme, by their names in the palette without the dashes: `colours().leader`. */
export function colours() {
  if (known) return known;
  const style = getComputedStyle(document.documentElement);
  known = new Proxy({}, {
    get(cache, name) {
      return cache[name] ??= style.getPropertyValue(`--${String(name).replaceAll("_", "-")}`).trim();
    },
  });
  return known;
}

const hatches = new Map();

/** Read the colours again: the theme changed. */
export function forgetColours() {
  known = null;
  hatches.clear();
}

/** A pattern of slanted lines, so that an area does not depend on its colour. */
export function hatch(context, colour, gap = 6) {
  const key = `${colour} ${gap}`;
  if (!hatches.has(key)) hatches.set(key, drawnHatch(context, colour, gap));
  return hatches.get(key);
}

function drawnHatch(context, colour, gap) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = gap;
  const draw = tile.getContext("2d");
  draw.strokeStyle = colour;
  draw.lineWidth = 1.4;
  for (const shift of [-gap, 0, gap]) {
    draw.beginPath();
    draw.moveTo(shift - 1, gap + 1);
    draw.lineTo(shift + gap + 1, -1);
    draw.stroke();
  }
  return context.createPattern(tile, "repeat");
}

const MOST_WIDTHS = 20_000, NARROWEST = 14;
const widths = new Map();

/** How wide a text is. The canvas measures each text only once. */
function widthOf(context, text) {
  const key = `${context.font} ${text}`;
  let width = widths.get(key);
  if (width === undefined) {
    if (widths.size >= MOST_WIDTHS) widths.clear();
    width = context.measureText(text).width;
    widths.set(key, width);
  }
  return width;
}

/** Let a box that scrolls fade at its lower edge while there is more below. */
export function fadeEnd(element) {
  const update = () => element.classList.toggle("more-below", element.scrollHeight - element.clientHeight - element.scrollTop > 3);
  element.addEventListener("scroll", update);
  new ResizeObserver(update).observe(element);
  new MutationObserver(update).observe(element, { childList: true, subtree: true });
  return element;
}

/** Cut a text so that it fits into a width; empty if not even a few letters fit. */
export function fitted(context, text, width) {
  const whole = widthOf(context, text);
  if (whole <= width) return text;
  if (width < NARROWEST) return "";
  let letters = Math.floor(text.length * width / whole);
  while (letters >= 3 && widthOf(context, `${text.slice(0, letters)}…`) > width) letters -= 1;
  return letters < 3 ? "" : `${text.slice(0, letters)}…`;
}

/** A line at the moment, over a picture. It moves without the picture being drawn again. `element` must have a position. */
export class NowLine {
  constructor(element, className = "") {
    this.line = make("div", { className: `now-line ${className}`, hidden: true, "aria-hidden": "true" });
    element.append(this.line);
  }

  /** Put it at `x` pixels; hide it if that is nothing. */
  move(x) {
    const place = x === null ? null : Math.round(x * 2) / 2;
    if (place === this.place) return;
    this.place = place;
    this.line.hidden = place === null;
    if (place !== null) this.line.style.transform = `translateX(${place - 1}px)`;
  }
}

/** Give a text to save as a file. */
export function saveAs(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
