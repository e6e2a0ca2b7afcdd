// The review page: draws what the server says, and sends it what the reviewer does. Text of the
// user's (names, labels, notes) is only ever set as text, never as HTML.

import { Connection, ServerError } from "./connection.js";
import { Picture, address } from "./picture.js";
import { Sheet } from "./sheet.js";

const $ = (id) => document.getElementById(id);
const SCREENS = { single: "one image", sheet: "contact sheet", dashboard: "dashboard", history: "history" };
const DECISIONS = ["positive", "negative", "unsure"];
const LOOKS = ["sheet", "dashboard", "history", "similar", "filter", "zoom", "open", "flag", "help", "quit"];
const BAR = {
  single: [...DECISIONS, "skip", "undo", "left", "right", "back"],
  sheet: ["accept", "mark", ...DECISIONS, "skip", "undo", "other_class", "back"],
  dashboard: ["recount", "back"],
  history: ["back"],
};
const NAMED = {
  " ": "space", Backspace: "backspace", Enter: "enter", Escape: "escape", ArrowLeft: "left",
  ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", "/": "slash", "?": "question_mark",
  "+": "plus", "-": "minus", ",": "comma", ".": "full_stop", Delete: "delete", Home: "home",
  End: "end", PageUp: "pageup", PageDown: "pagedown",
};

let setup = null; // what stays: classes, actions, queues
let state = {}; // what is in front now
let view = "single";
let visible = null; // the card whose picture can be seen, so that keys are about it
let about = null; // history and neighbours of `visible`
let reasons = new Set();
let sheet = null;
let sending = false;
let ended = false;

const picture = new Picture($("stage"), $("image"), (text) => ($("stage").dataset.zoom = text));
const connection = new Connection(
  (action) => {
    $("offline").textContent = action
      ? "The connection to curator is lost. Your answer is sent again until it arrives; it counts once."
      : "The connection to curator is lost. The page goes on as soon as it is back.";
    $("offline").hidden = false;
  },
  () => ($("offline").hidden = true),
  (text) => say(text),
);

function el(tag, props = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children);
  return node;
}

let messageTimer = 0;
function say(text, warn = false) {
  clearTimeout(messageTimer);
  $("message").textContent = text;
  $("message").classList.toggle("warn", warn);
  messageTimer = setTimeout(() => ($("message").textContent = ""), warn ? 12000 : 5000);
}

const action = (name) => setup.actions.find((one) => one.name === name);
const allowed = (name) => {
  const one = action(name);
  return one && one.screens.includes(SCREENS[view]) && (one.blind || !state.blind);
};

// Ask for a line of text; null if the reviewer cancels.
function ask(title, label, value = "", body = [], cancel = "Cancel") {
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...body);
  $("dialog-line").hidden = label === null;
  $("dialog-line").firstElementChild.textContent = label ?? "";
  $("dialog-input").value = value;
  $("dialog").returnValue = "";
  $("dialog-cancel").textContent = cancel;
  $("dialog-cancel").hidden = !cancel;
  $("dialog").showModal();
  (label === null ? $("dialog-ok") : $("dialog-input")).focus({ preventScroll: true });
  $("dialog-input").select();
  $("dialog").scrollTop = 0;
  return new Promise((resolve) => {
    $("dialog").onclose = () => resolve($("dialog").returnValue === "ok" ? $("dialog-input").value : null);
  });
}

async function begin(queue) {
  const query = new URLSearchParams(location.search);
  let reviewer = query.get("reviewer") ?? localStorage.getItem("reviewer");
  if (reviewer === null)
    reviewer = await ask("Who is labelling?", "Your name, as label events keep it");
  localStorage.setItem("reviewer", reviewer ?? "");
  notice("Looking for images…");
  try {
    const answer = await connection.open({ reviewer: reviewer ?? "", queue });
    if (answer.setup === undefined) return notice(`${answer.problem} ${answer.advice}`);
    prepare(answer.setup);
    const pending = connection.pending;
    await take(answer);
    if (pending !== null) await take(await connection.resend(pending));
    if (state.queue === "clusters") await perform("sheet");
  } catch (error) {
    failed(error);
  }
}

function prepare(answer) {
  setup = answer;
  $("queue").replaceChildren(
    ...Object.entries(setup.queues).map(([name, text]) => new Option(`${name}: ${text}`, name)),
  );
  sheet ??= new Sheet($("sheet"), { ...setup.classes, unsure: "not sure" }, drawSheetHead);
}

function failed(error) {
  if (!(error instanceof ServerError)) throw error;
  visible = null;
  picture.show(null);
  notice(`${error.message} If your last answer was not recorded, its image comes again.`);
}

// Send an action of the reviewer's; the answer, or null if it could not be done now.
async function send(name, details = {}) {
  if (sending || ended) return null;
  const before = visible;
  visible = null;
  sending = true;
  enable();
  try {
    const answer = await connection.act(name, details);
    await take(answer, before);
    return answer.problem ? null : answer;
  } catch (error) {
    failed(error);
    return null;
  } finally {
    sending = false;
    enable();
  }
}

async function take(answer, before = null) {
  if (answer.batch !== state.batch) view = "single"; // a sheet or page was about another batch
  state = { ...state, ...answer };
  for (const key of ["problem", "advice", "message"]) delete state[key];
  if (answer.problem) say(`${answer.problem} ${answer.advice}`, true);
  else if (answer.message) say(answer.message);
  drawHead();
  await showCard(before);
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

async function showCard(before = null) {
  const card = state.card;
  if (before === null || card === null || before.id !== card.id) reasons = new Set();
  about = null;
  drawPanel();
  drawReasons();
  notice("");
  if (card === null) {
    picture.show(null);
    ended = Boolean(state.ended);
    if (ended) connection.leave();
    else if (state.batch !== undefined) setTimeout(() => state.card === null && send("wait"), 1000);
    if (state.waiting) return notice(state.waiting);
    notice("The queue has no more images for you. Choose another one above, or undo your last decision.");
    return enable();
  }
  const loaded = await picture.show(card);
  if (loaded === null || state.card !== card) return;
  if (loaded.lost) {
    notice(loaded.problem);
    setTimeout(() => state.card === card && showCard(card), 2000);
    return;
  }
  visible = card;
  card.shown = loaded.problem === undefined;
  card.remark = loaded.remark;
  if (!card.shown)
    notice(`This picture cannot be shown. ${loaded.reason}: ${loaded.problem}. Skip it, or set it aside in quarantine.`);
  drawPanel();
  enable();
  picture.prepare(state.ahead.slice(1));
  if (!state.blind) setTimeout(() => visible === card && loadAbout(card), 120);
}

async function loadAbout(card) {
  const loaded = await connection.about(card.id).catch(() => null);
  if (visible !== card || loaded === null) return;
  about = loaded;
  drawPanel();
}

function drawHead() {
  const filter = state.filter ? `  ${state.filter}` : "";
  if (![...$("queue").options].some((option) => option.value === state.queue))
    $("queue").add(new Option(state.queue, state.queue));
  $("queue").value = state.queue;
  $("queue").disabled = state.batch !== undefined; // the loop chooses
  $("explanation").textContent = state.explanation + (filter && ` · filter: ${filter}`);
  $("done").textContent = `${state.done}${state.goal ? ` of ${state.goal}` : ""} done`;
  $("reviewer").textContent = setup.reviewer;
  document.body.dataset.view = view;
  for (const name of Object.keys(SCREENS)) $(name).hidden = name !== view;
  $("views").replaceChildren(...LOOKS.filter(allowed).map((name) => button(name)));
  const shown = BAR[view].filter((name) => allowed(name) && (name !== "back" || view !== "single" || state.aside));
  $("actions").replaceChildren(...shown.map((name) => button(name)));
  if (view === "single" && visible?.shown === false) $("actions").append(button("quarantine"));
  if (view === "single" && state.queue === "duplicates") $("actions").append(button("keep_only"), button("keep_all"));
  enable();
}

function button(name) {
  const one = action(name);
  const node = el("button", { title: one.meaning }, el("span", { textContent: one.label }));
  node.dataset.action = name;
  const sign = one.signs.find((sign) => sign !== "tab");
  if (sign) node.append(el("kbd", { textContent: sign }));
  node.addEventListener("click", (event) => {
    if (event.detail > 0) node.blur(); // after a click, space must not press it again
    perform(name);
  });
  return node;
}

// Decisions are possible once the picture, or what stands in its place, can be seen.
function enable() {
  const waiting = view === "single" && visible === null && state.card !== null;
  document.body.setAttribute("aria-busy", sending || waiting);
  for (const node of $("actions").children)
    if (view === "single")
      node.disabled = visible === null && !["undo", "left", "right"].includes(node.dataset.action);
}

function drawReasons() {
  $("reasons").hidden = !setup?.reasons.length;
  $("reasons").replaceChildren(
    ...(setup?.reasons ?? []).map((reason, index) => {
      const node = el("button", { textContent: `${index < 9 ? `${index + 1} ` : ""}${reason}` });
      node.setAttribute("aria-pressed", reasons.has(index));
      node.addEventListener("click", (event) => {
        if (event.detail > 0) node.blur();
        toggleReason(index);
      });
      return node;
    }),
  );
}

function toggleReason(index) {
  if (index >= setup.reasons.length) return say("There is no such reason; the setting classes.reasons lists them.");
  reasons.has(index) ? reasons.delete(index) : reasons.add(index);
  drawReasons();
}

function thumbs(tiles) {
  return el("div", { className: "thumbs" }, ...tiles.map((tile) =>
    el("img", { src: address(tile, 256), alt: tile.name, title: `${tile.name} ${tile.label}` })));
}

function drawPanel() {
  const card = state.card, parts = [];
  if (card && state.blind)
    parts.push(el("p", {}, el("strong", { textContent: "Blind: what do you see?" })),
      el("p", { textContent: "Score, class and name are hidden, so that they do not influence you." }),
      el("p", { textContent: `image ${card.sha}` }));
  else if (card) {
    if (card.label)
      parts.push(el("p", { textContent: `now ${card.label}, ${card.origin}` }));
    if (card.score !== null) {
      const meter = el("div", { className: "meter", title: "P, and the two thresholds" });
      for (const [kind, at] of [["threshold", setup.thresholds[0]], ["threshold", setup.thresholds[1]], ["score", card.score]]) {
        const mark = el("i", { className: kind });
        mark.style.left = `${at * 100}%`;
        meter.append(mark);
      }
      const leaning = card.suggestion ? ` → ${setup.classes[card.suggestion]}` : "";
      parts.push(el("p", {}, el("strong", { textContent: `P ${card.score.toFixed(3)}` }), leaning), meter,
        el("p", { className: "ends" }, el("span", { textContent: setup.classes.negative }), el("span", { textContent: setup.classes.positive })));
    } else if (!card.label) parts.push(el("p", { textContent: "no score yet" }));
    if (card.why) parts.push(el("p", { textContent: card.why }));
    if (typeof card.flag === "string")
      parts.push(el("p", { className: "warn", textContent: `⚑ flagged ${card.flag}` }));
    if (card.remark) parts.push(el("p", { className: "warn", textContent: card.remark }));
    parts.push(el("p", {}, el("strong", { textContent: card.name })));
    parts.push(...card.facts.filter(Boolean).map((fact) => el("p", { className: "muted", textContent: fact })));
    if (about !== null) parts.push(...aboutParts());
  }
  $("panel").replaceChildren(...parts);
}

function* aboutParts() {
  for (const [name, tiles] of Object.entries(about.neighbours))
    if (tiles.length) yield* [el("h3", { textContent: `nearest ${name}` }), thumbs(tiles)];
  if (about.mates.length)
    yield* [el("h3", { textContent: `grouped with ${about.mates.length}${about.moreMates ? " and more" : ""} ${about.group}` }), thumbs(about.mates)];
  if (about.events.length) {
    yield el("h3", { textContent: "history" });
    for (const event of about.events.slice(0, 3)) yield el("p", { className: "muted", textContent: event.filter(Boolean).join(" · ") });
  }
}

function drawHistory(loaded) {
  const head = ["when", "event", "label", "origin", "by", "P", "remarks"];
  const row = (tag, cells) => el("tr", {}, ...cells.map((text) => el(tag, { textContent: text })));
  const facts = [`sha256 ${loaded.sha256}`, ...loaded.locations];
  if (loaded.split) facts.push(`split ${loaded.split}`);
  $("history").replaceChildren(
    ...facts.map((text) => el("p", { textContent: text })),
    loaded.events.length
      ? el("div", { className: "scroll" }, el("table", {}, row("th", head), ...loaded.events.map((event) => row("td", event))))
      : el("p", { textContent: "No label event yet." }),
  );
}

function drawSheetHead() {
  if (!sheet || view !== "sheet") return;
  const name = setup.classes[sheet.side];
  const clusters = state.queue === "clusters";
  $("sheet-title").textContent = `${clusters ? "Similar images" : "Contact sheet"}: ${name}`;
  const marked = sheet.cards.length - sheet.accepted;
  const seen = sheet.cards.length - sheet.unseen.length;
  $("sheet-help").textContent = sheet.cards.length
    ? `Accept labels ${sheet.accepted} of these ${sheet.cards.length} as ${name}; ${marked} marked, ${seen} seen.`
    : clusters
      ? "Every page of similar images has been decided or left out."
      : `No image of this queue is labelled or predicted as ${name}.`;
}

async function turnSheet(side = sheet.side) {
  const answer = await send("sheet", { side, size: Number(sheet.count.value) });
  if (answer?.sheet) sheet.fill(answer.sheet, side);
}

async function accept() {
  if (!sheet.cards.length) return;
  const unseen = sheet.unseen;
  if (unseen.length) {
    sheet.reveal(unseen[0]);
    return say(`${unseen.length} of these images are not seen yet. Look at them, then accept.`);
  }
  if ((await send("accept", { marks: sheet.decisions })) !== null) await turnSheet();
}

async function show(name) {
  view = name;
  drawHead();
  if (name === "single") await showCard(state.card);
  if (name === "sheet") $("tiles").focus();
  if (name === "history") $("history").focus();
}

async function decide(name) {
  if (visible === null) return;
  if (!visible.shown)
    return say("This picture cannot be shown, so it cannot be labelled. Skip it, or set it aside in quarantine.", true);
  await send(name, { image: visible.id, reasons: [...reasons] });
}

async function perform(name, event = {}) {
  if (ended || setup === null || !allowed(name)) return;
  const onSheet = view === "sheet";
  const card = onSheet ? sheet.card : visible;
  const [dx, dy] = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[name] ?? [0, 0];
  if (onSheet && (DECISIONS.includes(name) || name === "skip")) sheet.set(name === "skip" ? null : name);
  else if (DECISIONS.includes(name)) await decide(name);
  else if (name === "skip") visible && (await send("skip", { image: visible.id }));
  else if (name === "undo") {
    if ((await send("undo")) !== null && onSheet) await turnSheet();
  } else if (dx || dy) {
    if (onSheet) sheet.move(dx, dy, event.shiftKey);
    else if (view !== "single") (view === "history" ? $("history") : window).scrollBy(0, 60 * dy);
    else if (picture.zoom > 1 && picture.shown) picture.move(dx / 4, dy / 4);
    else if (dx) await send(name);
  } else if (name === "zoom") onSheet ? sheet.larger() : picture.closer();
  else if (name === "mark") sheet.cycle();
  else if (name === "accept") await accept();
  else if (name === "other_class") await turnSheet(sheet.side === "positive" ? "negative" : "positive");
  else if (name === "sheet") {
    if (onSheet) return show("single");
    const side = state.card?.suggestion ?? "positive";
    await show("sheet");
    await turnSheet(side);
  } else if (name === "dashboard" || name === "recount") {
    if (view === "dashboard" && name === "dashboard") return show("single");
    $("drawing").hidden = false;
    $("report").src = `report?page=${connection.page}&now=${Date.now()}`;
    await show("dashboard");
  } else if (name === "history") {
    if (view === "history") return show("single");
    if (card === null) return;
    try {
      drawHistory((onSheet ? null : about) ?? (await connection.about(card.id)));
      await show("history");
    } catch (error) {
      say(error.message, true);
    }
  } else if (name === "back") {
    if (view !== "single") await show("single");
    else if (picture.zoom > 1 || !state.aside) picture.out();
    else await send("back");
  } else if (name === "similar") {
    if (card && (await send("similar", { image: card.id }))) await show("single");
  } else if (name === "keep_only" || name === "keep_all") visible && (await send(name, { image: visible.id }));
  else if (name === "quarantine") visible && (await send("quarantine", { image: visible.id }));
  else if (name === "flag") {
    if (card === null) return;
    const flagged = typeof card.flag === "string";
    const note = await ask(
      flagged ? "The flag's note" : "Why flag this image?",
      flagged ? "leave empty to clear the flag" : "a note (optional)", card.flag ?? "");
    if (note !== null && (await send("flag", { image: card.id, note })) && onSheet) await turnSheet();
  } else if (name === "filter") {
    const parts = setup.filterParts.map(([key, text]) => el("p", { textContent: `${key}: ${text}` }));
    const line = await ask("Filter and sort", setup.filterExample, state.filter, parts);
    if (line !== null && (await send("filter", { text: line })) && onSheet) await turnSheet();
  } else if (name === "open") card && window.open(address(card, 0), "_blank", "noopener");
  else if (name === "help") await help();
  else if (name === "quit") await quit();
}

async function help() {
  const body = [];
  for (const group of new Set(setup.actions.map((one) => one.group))) {
    body.push(el("h3", { textContent: group }));
    for (const one of setup.actions.filter((one) => one.group === group && allowed(one.name)))
      body.push(el("p", {}, el("kbd", { textContent: one.name === "reason" ? "1-9" : one.signs.join(" ") }), ` ${one.meaning}`));
  }
  body.push(el("p", { textContent: "Wheel or two fingers zoom, dragging moves, a double click shows the image's own pixels. On the sheet a click marks, dragging or shift and ctrl with a click select." }));
  await ask("Keys", null, "", body, "");
}

async function quit() {
  const answer = await send("quit");
  if (answer === null) return;
  const body = answer.summary.map((line) => el("p", { textContent: line }));
  if ((await ask("Your session", null, "", body, "Go on")) === null) return;
  ended = true;
  connection.leave();
  picture.show(null);
  drawPanel();
  notice("You have left the review; every decision is kept. Load the page again to go on.");
}

document.addEventListener("keydown", (event) => {
  if (setup === null || $("dialog").open || event.metaKey || event.altKey || event.isComposing) return;
  const tag = document.activeElement?.tagName;
  if (tag === "INPUT" || tag === "SELECT") return void (event.key === "Escape" && document.activeElement.blur());
  if (["BUTTON", "SUMMARY", "A"].includes(tag) && ["Enter", " "].includes(event.key)) return;
  let key = NAMED[event.key] ?? event.key;
  if (event.ctrlKey) key = `ctrl+${key.toLowerCase()}`;
  if (view === "single" && /^[1-9]$/.test(key)) return toggleReason(Number(key) - 1);
  const one = setup.actions.find((one) => one.keys.includes(key) && one.screens.includes(SCREENS[view]));
  if (one === undefined) return;
  event.preventDefault();
  if (event.repeat && one.group === "Decide") return; // a key that is held decides once
  perform(one.name, event);
});

$("report").addEventListener("load", () => ($("drawing").hidden = true));
$("queue").addEventListener("change", async (event) => {
  event.target.blur();
  if (setup === null || ended) return;
  if (await send("queue", { queue: event.target.value })) await show("single");
  drawHead();
});
$("sheet-count").addEventListener("change", (event) => (event.target.blur(), turnSheet()));
$("sheet-size").addEventListener("change", (event) => event.target.blur());
$("dialog-cancel").addEventListener("click", () => $("dialog").close(""));
$("reviewer").addEventListener("click", async () => {
  const name = await ask("Who is labelling?", "Your name, as label events keep it", setup?.reviewer ?? "");
  if (name === null) return;
  localStorage.setItem("reviewer", name);
  connection.leave();
  sessionStorage.removeItem("page"); // another person has a session of their own
  location.assign(location.pathname);
});
addEventListener("pagehide", () => connection.leave());
addEventListener("pageshow", (event) => event.persisted && location.reload());

begin();
