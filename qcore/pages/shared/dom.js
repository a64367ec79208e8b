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

/** Give a canvas the pixels of its size on the screen. Returns its context, cleared, in CSS pixels. */
export function pen(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
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

/** Read the colours again: the theme changed. */
export function forgetColours() { known = null; }

/** A pattern of slanted lines, so that an area does not depend on its colour. */
export function hatch(context, colour, gap = 6) {
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
  if (context.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low < 3 ? "" : `${text.slice(0, low)}…`;
}

/** Give a text to save as a file. */
export function saveAs(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
