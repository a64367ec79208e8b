// A list of any length that keeps only the rows on the screen in the page.

import { make, setAll } from "./dom.js";

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
    Object.assign(this, { rowHeight: height, fill, choose, count: 0, chosen: -1, first: 0, height: 0, at: 0 });
    this.space = make("div", { className: "list-space", role: "presentation" });
    this.element = make("div", { className: "list", tabIndex: 0, role: "listbox", "aria-label": label }, this.space);
    this.rows = [];
    this.element.addEventListener("scroll", () => {
      this.at = this.element.scrollTop;
      this.draw();
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => {
      const wasHidden = !this.height;
      this.height = this.element.clientHeight;
      this.at = this.element.scrollTop;
      if (wasHidden && this.chosen >= 0) this.select(this.chosen);
      else this.draw();
    }).observe(this.element);
  }

  // The height and the scroll position are kept here: to ask the browser for them in each frame would be slow.

  get visible() { return Math.max(1, Math.floor(this.height / this.rowHeight)); }
  get full() { return this.count * this.rowHeight; }
  get isScaled() { return this.full > TALLEST; }
  get farthest() { return Math.max(1, Math.min(this.full, TALLEST) - this.height); }

  /** Show `count` rows; the content of all rows may differ from before. */
  show(count) {
    this.count = count;
    this.space.style.height = `${Math.min(this.full, TALLEST)}px`;
    this.at = Math.min(this.at, this.farthest);
    this.draw(true);
  }

  /** Mark a row as chosen, and scroll to it if it is not on the screen. */
  select(place) {
    this.chosen = place;
    if (place >= 0 && this.height) {
      const top = this.top();
      if (place < top || place >= top + this.visible) this.scrollTo(place - Math.floor(this.visible / 2));
    }
    this.draw(true);
  }

  /** The row at the upper edge. */
  top() {
    if (!this.isScaled) return this.at / this.rowHeight;
    return this.at / this.farthest * Math.max(0, this.count - this.visible);
  }

  scrollTo(place) {
    const target = Math.max(0, Math.min(place, this.count - this.visible));
    this.at = this.isScaled ? target / Math.max(1, this.count - this.visible) * this.farthest : target * this.rowHeight;
    this.element.scrollTop = this.at;
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
    if (!this.height) return;
    const top = this.top();
    const first = Math.max(0, Math.floor(top) - SPARE);
    const last = Math.min(this.count, Math.ceil(top + this.height / this.rowHeight) + SPARE);
    if (!again && first === this.first && this.rows.length >= last - first && !this.isScaled) return;
    this.first = first;
    while (this.rows.length < last - first) this.rows.push(this.newRow());
    let active = "";
    this.rows.forEach((row, offset) => {
      const place = first + offset;
      row.hidden = place >= last;
      if (row.hidden) return;
      row.dataset.place = place;
      row.id = `${this.element.id || "list"}-row-${offset}`;
      const y = this.isScaled ? this.at + (place - top) * this.rowHeight : place * this.rowHeight;
      const transform = `translateY(${y}px)`;
      if (row.moved !== transform) row.style.transform = row.moved = transform;
      setAll(row, { "aria-selected": place === this.chosen, "aria-setsize": this.count, "aria-posinset": place + 1 });
      if (place === this.chosen) active = row.id;
      this.fill(row, place);
    });
    if (active) setAll(this.element, { "aria-activedescendant": active });
    else this.element.removeAttribute("aria-activedescendant");
  }

  newRow() {
    const row = make("div", { className: "list-row", role: "option" });
    row.addEventListener("click", () => this.choose(Number(row.dataset.place)));
    this.space.append(row);
    return row;
  }
}
