// The large picture: fetched ahead, fitted to its room, zoomed up to its own pixels and moved.
// The zoom and the place stay when the next image comes: defects often sit at one place.

const CACHED = 10;
const PIXELATED_FROM = 3;

export const address = (card, within) =>
  `picture/${card.id}?v=${card.sha}${within ? `&within=${within}` : ""}`;

export class Picture {
  constructor(stage, image, onChange) {
    this.stage = stage;
    this.image = image;
    this.onChange = onChange;
    this.card = null;
    this.zoom = 1; // multiples of the scale at which the whole image fits
    this.x = this.y = 0.5; // what is in the middle, as a share of the image
    this.cache = new Map();
    this.fingers = new Map();
    new ResizeObserver(() => this.layout()).observe(stage);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      stage.addEventListener(kind, (event) => this.#pointer(event));
    stage.addEventListener("dblclick", (event) =>
      this.zoom > 1 ? this.out() : this.at(event, this.#own() / this.#fit()));
  }

  // The side of the square that is asked for: steps, so that a resize costs nothing.
  get #side() {
    const room = Math.max(this.stage.clientWidth, this.stage.clientHeight, 1);
    return Math.min(8192, Math.ceil((room * devicePixelRatio) / 512) * 512);
  }

  // Show a card's picture; what is remarkable about it, or why there is none.
  async show(card) {
    this.card = card;
    this.image.hidden = true;
    if (card === null) return {};
    const loaded = await this.#load(card, this.#side);
    if (this.card !== card) return null;
    if (loaded.problem === undefined) {
      this.image.src = loaded.url;
      await this.image.decode().catch(() => {});
      if (this.card !== card) return null;
      this.image.hidden = false;
      this.layout();
    }
    return loaded;
  }

  prepare(cards) {
    for (const card of cards) this.#load(card, this.#side);
  }

  #drop(key) {
    this.cache.get(key).then((loaded) => loaded.url && URL.revokeObjectURL(loaded.url), () => {});
    this.cache.delete(key);
  }

  #load(card, side) {
    const key = `${card.id} ${card.sha} ${side}`;
    if (!this.cache.has(key)) {
      const loading = this.#fetch(address(card, side));
      this.cache.set(key, loading);
      loading.then((loaded) => loaded.lost && this.cache.delete(key));
      for (const old of [...this.cache.keys()].slice(0, Math.max(0, this.cache.size - CACHED)))
        this.#drop(old);
    }
    return this.cache.get(key);
  }

  async #fetch(path) {
    try {
      const response = await fetch(path);
      if (response.status === 422) return await response.json();
      if (!response.ok) return { problem: await response.text(), reason: "" };
      const remark = decodeURIComponent(response.headers.get("X-Remark") || "");
      return { url: URL.createObjectURL(await response.blob()), remark };
    } catch {
      return { problem: "The connection to curator is lost.", reason: "", lost: true };
    }
  }

  #size() {
    return [this.card.width || this.image.naturalWidth, this.card.height || this.image.naturalHeight];
  }

  #fit() {
    const [width, height] = this.#size();
    return Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
  }

  // The scale at which a pixel of the image is one of the screen, or four for small images.
  #own() {
    const one = 1 / devicePixelRatio;
    return this.#fit() >= one ? 4 * this.#fit() : one;
  }

  get shown() {
    return this.card !== null && !this.image.hidden;
  }

  layout() {
    if (!this.shown) return;
    const [width, height] = this.#size();
    const scale = this.#fit() * this.zoom;
    const room = [this.stage.clientWidth, this.stage.clientHeight];
    const wide = width * scale, high = height * scale;
    const clamp = (at, size, room) =>
      size <= room ? 0.5 : Math.min(Math.max(at, room / 2 / size), 1 - room / 2 / size);
    this.x = clamp(this.x, wide, room[0]);
    this.y = clamp(this.y, high, room[1]);
    Object.assign(this.image.style, {
      width: `${wide}px`,
      height: `${high}px`,
      transform: `translate(${room[0] / 2 - this.x * wide}px, ${room[1] / 2 - this.y * high}px)`,
      imageRendering: scale * devicePixelRatio >= PIXELATED_FROM ? "pixelated" : "auto",
    });
    this.stage.classList.toggle("zoomed", this.zoom > 1);
    if (this.zoom > 1 && this.image.naturalWidth < width && !this.image.dataset.whole) this.#whole();
    this.onChange(this.zoom > 1 ? `zoom ${Math.round(scale * devicePixelRatio * 100)}%` : "");
  }

  // Exchange what was scaled down for the image's own pixels.
  async #whole() {
    const card = this.card;
    this.image.dataset.whole = "1";
    const loaded = await this.#load(card, 0);
    if (this.card === card && loaded.url) this.image.src = loaded.url;
    delete this.image.dataset.whole;
  }

  out() {
    this.zoom = 1;
    this.x = this.y = 0.5;
    this.layout();
  }

  // Twice as close, up to the image's own pixels; then the whole again.
  closer() {
    if (!this.shown) return;
    const closest = this.#own() / this.#fit();
    if (this.zoom >= closest * 0.99) return this.out();
    this.zoom = Math.min(this.zoom * 2, closest);
    this.layout();
  }

  move(dx, dy) {
    const scale = this.#fit() * this.zoom;
    const [width, height] = this.#size();
    this.x += (dx * this.stage.clientWidth) / (width * scale);
    this.y += (dy * this.stage.clientHeight) / (height * scale);
    this.layout();
  }

  // Zoom by a factor so that what is under the pointer stays there.
  at(event, factor) {
    if (!this.shown) return;
    const box = this.stage.getBoundingClientRect();
    const dx = (event.clientX - box.left) / box.width - 0.5;
    const dy = (event.clientY - box.top) / box.height - 0.5;
    const zoom = Math.min(Math.max(this.zoom * factor, 1), (8 * this.#own()) / this.#fit());
    const [width, height] = this.#size();
    const gain = (1 / this.zoom - 1 / zoom) / this.#fit();
    this.x += ((dx * box.width) / width) * gain;
    this.y += ((dy * box.height) / height) * gain;
    this.zoom = zoom;
    this.layout();
  }

  #wheel(event) {
    event.preventDefault();
    this.at(event, Math.exp(-event.deltaY / 300));
  }

  // One finger or the mouse moves the picture, two zoom it.
  #pointer(event) {
    if (event.type === "pointerdown") {
      this.stage.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, event);
      return;
    }
    const before = this.fingers.get(event.pointerId);
    if (before === undefined) return;
    if (event.type !== "pointermove") return void this.fingers.delete(event.pointerId);
    const others = [...this.fingers.values()].filter((other) => other.pointerId !== event.pointerId);
    if (others.length === 1) {
      const far = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      const middle = {
        clientX: (event.clientX + others[0].clientX) / 2,
        clientY: (event.clientY + others[0].clientY) / 2,
      };
      this.at(middle, far(event) / Math.max(1, far(before)));
    } else if (this.shown && this.zoom > 1) {
      this.move(
        (before.clientX - event.clientX) / this.stage.clientWidth,
        (before.clientY - event.clientY) / this.stage.clientHeight,
      );
    }
    this.fingers.set(event.pointerId, event);
  }
}
