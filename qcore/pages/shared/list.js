// A list of any length that keeps only the rows on the screen in the page.

import { make } from "./dom.js";

const TALLEST = 8_000_000;  // browsers limit the height of an element
const SPARE = 8;            // rows beyond both edges

/**
 * A list box with rows of one height.
 *
 * @param options `label`; `height` of a row in pixels; `fill(element, place)`, which puts the content of row `place` into
 *   its element; `choose(place)`, called when the user chooses a row.
 */
export class LongList {
  constructor({ label, height, fill, choose }) {
    Object.assign(this, { rowHeight: height, fill, choose, count: 0, chosen: -1, first: 0 });
    this.space = make("div", { className: "list-space", role: "presentation" });
    this.element = make("div", { className: "list", tabIndex: 0, role: "listbox", "aria-label": label }, this.space);
    this.rows = [];
    this.element.addEventListener("scroll", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  get visible() { return Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight)); }
  get full() { return this.count * this.rowHeight; }
  get isScaled() { return this.full > TALLEST; }

  /** Show `count` rows; the content of all rows may differ from before. */
  show(count) {
    this.count = count;
    this.space.style.height = `${Math.min(this.full, TALLEST)}px`;
    this.draw(true);
  }

  /** Mark a row as chosen, and scroll to it if it is not on the screen. */
  select(place) {
    this.chosen = place;
    if (place >= 0 && this.element.clientHeight) {
      const top = this.top();
      if (place < top || place >= top + this.visible) this.scrollTo(place - Math.floor(this.visible / 2));
    }
    this.draw(true);
  }

  /** The row at the upper edge. */
  top() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    if (!this.isScaled) return scrollTop / this.rowHeight;
    return scrollTop / Math.max(1, scrollHeight - clientHeight) * Math.max(0, this.count - this.visible);
  }

  scrollTo(place) {
    const target = Math.max(0, Math.min(place, this.count - this.visible));
    const { scrollHeight, clientHeight } = this.element;
    this.element.scrollTop = this.isScaled
      ? target / Math.max(1, this.count - this.visible) * (scrollHeight - clientHeight)
      : target * this.rowHeight;
  }

  wheel(event) {
    if (!this.isScaled || event.ctrlKey) return;  // here a pixel is many rows
    event.preventDefault();
    this.scrollTo(this.top() + event.deltaY / this.rowHeight);
  }

  key(event) {
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: this.visible, PageUp: -this.visible, Home: -Infinity, End: Infinity };
    const move = moves[event.key];
    if (move === undefined || !this.count || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const from = this.chosen < 0 ? Math.floor(this.top()) - Math.sign(move) : this.chosen;
    const place = Math.max(0, Math.min(this.count - 1, from + move));
    this.choose(place);
  }

  draw(again = false) {
    const height = this.element.clientHeight;
    if (!height) return;
    const top = this.top();
    const first = Math.max(0, Math.floor(top) - SPARE);
    const last = Math.min(this.count, Math.ceil(top + height / this.rowHeight) + SPARE);
    if (!again && first === this.first && this.rows.length >= last - first && !this.isScaled) return;
    this.first = first;
    while (this.rows.length < last - first) {
      const row = make("div", { className: "list-row", role: "option" });
      row.addEventListener("click", () => this.choose(Number(row.dataset.place)));
      this.rows.push(row);
      this.space.append(row);
    }
    let active = "";
    this.rows.forEach((row, offset) => {
      const place = first + offset;
      row.hidden = place >= last;
      if (row.hidden) return;
      row.dataset.place = place;
      row.id = `${this.element.id || "list"}-row-${offset}`;
      const y = this.isScaled ? this.element.scrollTop + (place - top) * this.rowHeight : place * this.rowHeight;
      row.style.transform = `translateY(${y}px)`;
      row.setAttribute("aria-selected", String(place === this.chosen));
      row.setAttribute("aria-setsize", String(this.count));
      row.setAttribute("aria-posinset", String(place + 1));
      if (place === this.chosen) active = row.id;
      this.fill(row, place);
    });
    if (active) this.element.setAttribute("aria-activedescendant", active);
    else this.element.removeAttribute("aria-activedescendant");
  }
}
