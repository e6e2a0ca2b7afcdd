// Requests to the server that survive a lost connection. Each has a key; it is sent again with
// the same key until an answer comes, and the server does what it asks only once. One request is
// under way at a time, and it is stored, so that loading the page again loses nothing either.

const hex = (bytes) =>
  Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (b) => b.toString(16).padStart(2, "0"))
    .join("");
const WAITS = [500, 1000, 2000, 4000, 8000];

export class ServerError extends Error {}

export class Connection {
  constructor(onLost, onBack, onProgress) {
    this.page = sessionStorage.getItem("page") || hex(16);
    sessionStorage.setItem("page", this.page);
    this.onLost = onLost;
    this.onBack = onBack;
    this.onProgress = onProgress;
    this.busy = false;
    this.left = false;
    setInterval(() => this.left || this.#fetch("api/ping", {}).catch(() => {}), 15000);
  }

  // The request that a page before this one had not heard about, or null.
  get pending() {
    return JSON.parse(sessionStorage.getItem("pending") || "null");
  }

  open(details) {
    this.left = false;
    return this.#insist("api/open", details);
  }

  // Do an action; its answer. Nothing else can be asked until the answer is there.
  async act(action, details = {}) {
    return this.resend({ ...details, action, key: hex(8) });
  }

  async resend(request) {
    sessionStorage.setItem("pending", JSON.stringify(request));
    try {
      return await this.#insist("api/act", request);
    } finally {
      sessionStorage.removeItem("pending");
    }
  }

  async about(id) {
    const response = await fetch(`about/${id}?page=${this.page}`);
    if (!response.ok) throw new ServerError(await response.text());
    return response.json();
  }

  leave() {
    this.left = true;
    const body = new Blob([JSON.stringify({ page: this.page })], { type: "application/json" });
    navigator.sendBeacon("api/leave", body);
  }

  #fetch(path, details) {
    return fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...details, page: this.page }),
    });
  }

  async #insist(path, details) {
    this.busy = true;
    let lost = false;
    const watch = setInterval(() => this.#watch(), 1000);
    try {
      for (let attempt = 0; ; attempt++) {
        let response = null;
        try {
          response = await this.#fetch(path, details);
          if (response.ok) return await response.json();
        } catch {
          response = null; // the connection broke, perhaps in the middle of the answer
        }
        if (response !== null) throw new ServerError(await response.text());
        lost = true;
        this.onLost(details.action);
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, WAITS[Math.min(attempt, WAITS.length - 1)]);
          addEventListener("online", () => (clearTimeout(timer), resolve()), { once: true });
        });
      }
    } finally {
      clearInterval(watch);
      this.busy = false;
      if (lost) this.onBack();
    }
  }

  // Show what the server does while a request takes long, such as encoding new images.
  async #watch() {
    const response = await this.#fetch("api/progress", {}).catch(() => null);
    if (response === null || !response.ok) return;
    const { text } = await response.json();
    if (text && this.busy) this.onProgress(text);
  }
}
