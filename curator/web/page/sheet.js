// The contact sheet: the queue's images of one class. Every image is that class until it is marked;
// a mark of null leaves it out. Nothing is accepted that was not loaded and seen.

import { address } from "./picture.js";

const COUNTS = [24, 60, 120, 240, 480];
const DRAG_FROM = 6;

export class Sheet {
  constructor(root, names, onChange) {
    this.grid = root.querySelector("#tiles");
    this.names = names; // of the labels
    this.onChange = onChange;
    this.side = "positive";
    this.cards = [];
    this.marks = new Map();
    this.selected = new Set();
    this.focus = 0;
    this.tiles = [];
    this.seen = new Set();
    this.observer = new IntersectionObserver((entries) => this.#noteSeen(entries), {
      root: this.grid,
      threshold: 0.6,
    });
    this.size = root.querySelector("#sheet-size");
    this.size.value = localStorage.getItem("sheet-size") || 160;
    this.size.addEventListener("input", () => this.#resize());
    this.count = root.querySelector("#sheet-count");
    for (const count of COUNTS) this.count.add(new Option(count, count));
    this.count.value = localStorage.getItem("sheet-count") || COUNTS[1];
    this.#resize();
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      this.grid.addEventListener(kind, (event) => this.#pointer(event));
  }

  #resize() {
    localStorage.setItem("sheet-size", this.size.value);
    this.grid.style.setProperty("--tile", `${this.size.value}px`);
  }

  larger() {
    const next = Number(this.size.value) * 1.5;
    this.size.value = next > Number(this.size.max) ? this.size.min : next;
    this.#resize();
  }

  fill(cards, side) {
    localStorage.setItem("sheet-count", this.count.value);
    Object.assign(this, { cards, side, focus: 0 });
    this.marks.clear();
    this.selected.clear();
    this.seen.clear();
    this.observer.disconnect();
    // As in the terminal: ≈1 marks images of the first group with several on this page, and so on.
    const groups = cards.map((card) => card.unit);
    const shared = [...new Set(groups.filter((unit, index) => groups.indexOf(unit) !== index || groups.lastIndexOf(unit) !== index))];
    this.groupSigns = groups.map((unit) => (shared.includes(unit) ? `≈${shared.indexOf(unit) + 1} ` : ""));
    this.tiles = cards.map((card, index) => this.#tile(card, index));
    this.grid.replaceChildren(...this.tiles);
    this.grid.scrollTop = 0;
    this.draw();
  }

  #tile(card, index) {
    const tile = document.createElement("div");
    const image = document.createElement("img");
    const caption = document.createElement("span");
    tile.className = "tile";
    tile.setAttribute("role", "gridcell");
    tile.dataset.index = index;
    image.draggable = false;
    image.alt = card.name;
    image.onerror = () => tile.classList.add("broken");
    image.onload = () => (this.observer.observe(tile), this.onChange());
    image.src = address(card, 512);
    tile.append(image, caption);
    return tile;
  }

  #noteSeen(entries) {
    for (const entry of entries)
      if (entry.isIntersecting) this.seen.add(Number(entry.target.dataset.index));
    this.onChange();
  }

  // Indices of images that nobody can have looked at yet. One that cannot be shown is left out.
  get unseen() {
    return [...this.tiles.keys()].filter((i) => !this.seen.has(i) && !this.#broken(i));
  }

  #broken(index) {
    return this.tiles[index].classList.contains("broken");
  }

  mark(index) {
    const id = this.cards[index].id;
    if (this.#broken(index)) return null;
    return this.marks.has(id) ? this.marks.get(id) : this.side;
  }

  // The label of every image on the page, null for what is left out.
  get decisions() {
    return Object.fromEntries(this.cards.map((card, index) => [card.id, this.mark(index)]));
  }

  get accepted() {
    return this.cards.filter((_, index) => this.mark(index) === this.side).length;
  }

  get card() {
    return this.cards[this.focus] ?? null;
  }

  draw() {
    for (const [index, tile] of this.tiles.entries()) {
      const mark = this.mark(index), card = this.cards[index];
      const sign = mark === this.side ? "✓" : mark === null ? "–" : "✗";
      const name = mark === null ? "left out" : this.names[mark];
      const score = card.score === null ? "" : ` ${card.score.toFixed(3)}`;
      const text = mark === this.side ? `${sign}${score}` : `${sign} ${name}`;
      tile.lastChild.textContent = this.#broken(index) ? "cannot be shown" : this.groupSigns[index] + text;
      tile.title = card.name;
      tile.dataset.mark = mark === this.side ? "" : String(mark);
      tile.classList.toggle("focus", index === this.focus);
      tile.setAttribute("aria-selected", this.selected.has(index));
      tile.setAttribute("aria-label", `${card.name}: ${name}`);
    }
    this.onChange();
  }

  // Mark the selected images, or the focused one and go on.
  set(label) {
    const chosen = this.selected.size ? [...this.selected] : [this.focus];
    for (const index of chosen) {
      if (this.cards[index] === undefined) return;
      if (label === this.side) this.marks.delete(this.cards[index].id);
      else this.marks.set(this.cards[index].id, label);
    }
    if (!this.selected.size && this.focus + 1 < this.cards.length) this.focus += 1;
    this.selected.clear();
    this.#reveal();
    this.draw();
  }

  // The other class, then left out, then as the page says.
  cycle() {
    const other = this.side === "positive" ? "negative" : "positive";
    for (const index of this.selected.size ? this.selected : [this.focus]) {
      if (this.cards[index] === undefined) return;
      const id = this.cards[index].id, mark = this.mark(index);
      if (mark === this.side) this.marks.set(id, other);
      else if (mark === other) this.marks.set(id, null);
      else this.marks.delete(id);
    }
    this.draw();
  }

  get #across() {
    const top = this.tiles[0]?.offsetTop;
    const end = this.tiles.findIndex((tile) => tile.offsetTop !== top);
    return end < 0 ? this.tiles.length : end;
  }

  move(dx, dy, extend) {
    const to = this.focus + dx + dy * this.#across;
    if (to < 0 || to >= this.cards.length) return;
    if (extend) this.#range(this.focus, to);
    else this.selected.clear();
    this.focus = to;
    this.#reveal();
    this.draw();
  }

  #range(from, to) {
    for (let i = Math.min(from, to); i <= Math.max(from, to); i++) this.selected.add(i);
  }

  #reveal() {
    this.tiles[this.focus]?.scrollIntoView({ block: "nearest" });
  }

  reveal(index) {
    this.tiles[index].scrollIntoView({ block: "start" });
  }

  // A click marks, with shift or ctrl it selects; dragging with a mouse selects a rectangle.
  #pointer(event) {
    if (event.type === "pointerdown") {
      if (event.button !== 0) return;
      this.drag = { x: event.clientX, y: event.clientY, tile: event.target.closest(".tile") };
      return;
    }
    if (this.drag === undefined) return;
    const { x, y, tile } = this.drag;
    const far = Math.hypot(event.clientX - x, event.clientY - y) > DRAG_FROM;
    if (event.type === "pointermove") {
      if (!far || event.pointerType === "touch") return;
      this.drag.moved = true;
      this.grid.setPointerCapture(event.pointerId);
      this.#select({
        left: Math.min(x, event.clientX), right: Math.max(x, event.clientX),
        top: Math.min(y, event.clientY), bottom: Math.max(y, event.clientY),
      });
      return;
    }
    const clicked = event.type === "pointerup" && !this.drag.moved && !far && tile;
    delete this.drag;
    if (!clicked) return;
    const index = Number(tile.dataset.index);
    if (event.shiftKey) this.#range(this.focus, index);
    else if (event.ctrlKey || event.metaKey)
      this.selected.has(index) ? this.selected.delete(index) : this.selected.add(index);
    else this.selected.clear();
    this.focus = index;
    if (event.shiftKey || event.ctrlKey || event.metaKey) this.draw();
    else this.cycle();
  }

  #select(area) {
    this.selected.clear();
    for (const [index, tile] of this.tiles.entries()) {
      const box = tile.getBoundingClientRect();
      if (box.left < area.right && box.right > area.left && box.top < area.bottom &&
          box.bottom > area.top)
        this.selected.add(index);
    }
    this.draw();
  }
}
