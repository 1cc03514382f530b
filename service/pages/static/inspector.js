// Decide about pictures, one after the other: 1 to 9 another class, Enter right, u undo, j and k move.
// A decision is written down in the browser before it is sent, and goes from there when the service
// has kept it: what could not be sent is shown, and sent again.

import { $, call, complain, personField, refused } from "./page.js";

const viewer = $("viewer"), who = personField(), sure = $("sure");
const person = viewer?.dataset.person || "", label = viewer?.dataset.label || "";
const KEYS = "augrank.keys", WAITING = `augrank.inspect.${person}`;
const progress = $("progress").dataset;
const items = [...document.querySelectorAll(".card")].map((card) => ({
  card, ...JSON.parse(card.dataset.item), told: card.dataset.told, // value: what the advertiser gets
  plain: JSON.parse(card.dataset.plain), top: JSON.parse(card.dataset.top), // plain: without a fix
  probability: Number(card.dataset.probability), fixed: Boolean(card.dataset.fix), state: "open",
}));
let current = 0;
let decisions = []; // the last one last; each a list of actions {item, entry, saved: Promise}
let disputed = null; // {item, value, held}
let decided = 0;

document.querySelectorAll(".script").forEach((each) => { each.hidden = false; });

// A value in words; null: the advertiser is told nothing.
const inWords = (value) => value ?? "not told";
const classButtons = [...document.querySelectorAll("#classes button")];
const shown = (item) => (item.said === undefined ? item.value : item.said);

// What was decided and is not known to be kept, by key: the last decision about a label of a picture.

function waiting() {
  try { return JSON.parse(localStorage.getItem(WAITING)) || {}; } catch { return {}; }
}

function note(entry, problem) {
  const all = waiting();
  all[entry.key] = { ...entry, problem };
  localStorage.setItem(WAITING, JSON.stringify(all));
}

function forget(entry) {
  const all = waiting();
  if (all[entry.key]?.number === entry.number) delete all[entry.key];
  localStorage.setItem(WAITING, JSON.stringify(all));
  showWaiting();
}

function showWaiting() {
  const failed = Object.values(waiting()).filter((entry) => entry.problem);
  $("unsaved").hidden = !failed.length;
  $("unsaved-text").textContent = `${failed.length} of your decisions could not be saved. They are kept in this browser.`;
  $("unsaved-list").replaceChildren(...failed.map((entry) => {
    const row = document.createElement("li"), drop = document.createElement("button");
    row.textContent = `${entry.label} ${inWords(entry.value)}: ${entry.problem} `;
    drop.type = "button";
    drop.className = "quiet";
    drop.textContent = "Give it up";
    drop.addEventListener("click", () => {
      forget(entry);
      const item = itemOf(entry);
      if (item) mark(item, "open");
    });
    row.append(drop);
    return row;
  }));
}

function itemOf(entry) {
  if (entry.label !== label) return undefined;
  return items.find((each) => each.advertiser === entry.advertiser && each.sha256 === entry.sha256);
}

// Send a decision; the result is what takes it back, or null.
async function send(entry) {
  const item = itemOf(entry);
  if (item) mark(item, "saving");
  const { advertiser, sha256, value, before } = entry, by = entry.who ? { who: entry.who } : {};
  try {
    let undo;
    if (entry.kind === "fix") {
      const row = await call("POST", "/fixes", { advertiser, sha256, label: entry.label, value, before, ...by });
      undo = `/fixes/${row.id}/undo`;
    } else {
      const images = [{ sha256, value }];
      const [kept] = (await call("POST", "/confirmations", { advertiser, label: entry.label, images, ...by })).images;
      if (kept.error) throw refused(kept.error, kept.error.status);
      undo = `/confirmations/${kept.id}/undo`;
    }
    forget(entry);
    if (item) mark(item, "done");
    return undo;
  } catch (error) {
    if (error.status === 409) {
      forget(entry);
      if (item) mark(item, "failed");
      await dispute(entry, item, error);
      return null;
    }
    const text = error.status ? error.message : "The service cannot be reached.";
    note(entry, error.status === 401 ? `${text} Log in again in another tab.` : text);
    if (item) mark(item, "failed");
    showWaiting();
    return null;
  }
}

// Somebody else has said something else: show who and what, and let the person choose.
async function dispute(entry, item, error) {
  let held = null;
  try {
    const query = new URLSearchParams({ advertiser: entry.advertiser, sha256: entry.sha256, limit: "100" });
    held = (await call("GET", `/fixes?${query}`)).fixes.find((row) => row.label === entry.label) || null;
  } catch { /* the message says it */ }
  if (!item || !held) {
    complain(error.message);
    return;
  }
  const value = inWords(held.after ?? item.plain), mine = inWords(entry.value);
  disputed = { item, value: entry.value, held };
  $("conflict-text").textContent = `${held.who} has said ${value} (${new Date(held.at).toLocaleString()}); `
    + `you say ${mine}.${held.why ? ` Why: ${held.why}` : ""}`;
  $("theirs").textContent = `Keep ${value}`;
  $("mine").textContent = `Make it ${mine}`;
  $("mine").hidden = !classButtons.some((button) => button.dataset.value === entry.value);
  $("conflict").hidden = false;
  select(items.indexOf(item));
  $("theirs").focus();
}

function settle(mine) {
  if (!disputed) return;
  const { item, value, held } = disputed;
  disputed = null;
  $("conflict").hidden = true;
  item.fixed = held.after !== null;
  item.value = held.after ?? item.plain;
  if (mine) decide([item], value);
  else mark(Object.assign(item, { said: undefined }), "done");
}

function mark(item, state) {
  const before = item.state;
  item.state = item.card.dataset.state = state;
  const counted = (each) => each === "saving" || each === "done";
  decided += Number(counted(state)) - Number(counted(before));
  item.card.querySelector(".value").textContent = inWords(shown(item));
  const left = Math.max(0, Number(progress.left) - decided), done = Number(progress.done) + decided;
  const all = (left + done).toLocaleString("en");
  $("progress").textContent = (progress.more === "1" ? `More than ${left.toLocaleString("en")} are left`
    : `${left.toLocaleString("en")} of ${all} left`) + `, ${done.toLocaleString("en")} done.`;
  $("undo").disabled = !decisions.length;
}

// Decide about pictures: a class, or, without one, that what the advertiser gets is right.
function decide(chosen, value) {
  const name = who?.value.trim() || "";
  if (who && !name) {
    complain("Write your name first: the history keeps who said what.");
    who.focus();
    return;
  }
  complain("");
  const actions = chosen.map((item) => {
    const said = value === undefined ? shown(item) : value;
    const kind = said === item.value ? "confirm" : "fix";
    const entry = {
      key: JSON.stringify([item.advertiser, item.sha256, label]), number: `${Date.now()}.${Math.random()}`,
      kind, label, value: said, advertiser: item.advertiser, sha256: item.sha256, who: name,
      before: item.fixed ? item.value : null,
    };
    note(entry, "");
    return { item, entry, before: { value: item.value, fixed: item.fixed } };
  });
  decisions.push(actions);
  for (const action of actions) {
    const { item, entry } = action;
    item.said = entry.value;
    // One decision about a picture after the other: the next one says what this one has left.
    action.saved = (item.last || Promise.resolve()).then(() => send(entry)).then((undo) => {
      if (undo && entry.kind === "fix") [item.value, item.fixed] = [entry.value, true];
      return undo;
    });
    item.last = action.saved;
    mark(item, "saving");
  }
}

async function undo() {
  const actions = decisions.pop();
  if (!actions) return;
  $("undo").disabled = !decisions.length;
  for (const { item, entry, saved, before } of actions) {
    const path = await saved;
    try {
      if (path) await call("POST", path, { advertiser: entry.advertiser, ...(entry.who ? { who: entry.who } : {}) });
      else forget(entry);
      Object.assign(item, before, { said: undefined });
      mark(item, "open");
    } catch (error) {
      decisions.push([{ item, entry, saved, before }]);
      complain(`It was not taken back: ${error.status ? error.message : "the service cannot be reached."}`);
      return;
    }
  }
  select(items.indexOf(actions[0].item));
}

function select(index) {
  if (index < 0 || index >= items.length) return;
  items[current].card.removeAttribute("data-current");
  current = index;
  const item = items[index];
  item.card.setAttribute("data-current", "");
  item.card.scrollIntoView({ block: "nearest" });
  $("large").src = item.card.dataset.large;
  $("large").alt = `Picture ${index + 1} of ${items.length}`;
  $("original").href = item.card.dataset.original;
  $("caption").textContent = item.card.querySelector(".note").textContent.trim();
  const unsure = !item.fixed && item.said === undefined && item.value !== item.told;
  const model = unsure ? `; ${item.told} at ${(100 * item.probability).toFixed(0)} %` : "";
  $("question").textContent = `${label}: ${inWords(shown(item))}${model}?`;
  $("held").textContent = item.fixed ? `The model says ${item.told}.` : "";
  $("top").replaceChildren(...item.top.map((each) => {
    const row = document.createElement("li");
    row.textContent = `${each.name} ${(100 * each.probability).toFixed(1)} %`;
    return row;
  }));
  for (const button of classButtons) {
    button.setAttribute("aria-pressed", String(button.dataset.value === shown(item)));
    button.classList.toggle("quiet", !unsure || button.dataset.value !== item.told);
  }
  new Image().src = items[index + 1]?.card.dataset.large || ""; // the next one is there at once
}

// Decide about the picture that is shown, and go on to the next one that nobody has decided about.
function next(value) {
  if (disputed) return;
  const item = items[current];
  decide([item], value);
  if (item.state === "open") return;
  const order = [...items.slice(current + 1), ...items.slice(0, current)];
  const open = order.find((each) => each.state === "open");
  if (open) select(items.indexOf(open));
  else finished();
}

async function finished() {
  await Promise.all(items.map((item) => item.last));
  if (items.some((item) => item.state !== "done") || disputed) return;
  const link = $("more");
  if (link) link.focus();
  else complain("");
  $("question").textContent = link ? "This page is done: Enter opens the next one." : "All pictures are done.";
}

const keysOn = () => localStorage.getItem(KEYS) !== "off";
const actions = {
  Enter: () => next(), " ": () => next(), u: undo, ArrowRight: () => select(current + 1), j: () => select(current + 1),
  ArrowLeft: () => select(current - 1), k: () => select(current - 1), "?": () => $("keys").showModal(),
};

function pressed(event) {
  const on = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("keys").open) return;
  if (on.closest("input, select, textarea, [contenteditable]")) return;
  if (event.key !== "?" && !keysOn()) return;
  if ((event.key === "Enter" || event.key === " ") && on.closest("button, a, summary")) return;
  const number = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
  const button = number && classButtons[number - 1];
  if (button) next(button.dataset.value);
  else if (actions[event.key] && !event.repeat) actions[event.key]();
  else if (event.key.startsWith("Arrow") && actions[event.key]) actions[event.key]();
  else return;
  event.preventDefault();
}

// After a button was clicked, Enter is about the picture, and does not click the button again. Who
// goes from button to button by keys stays there, except after a decision: the picture is another.
function leave(event) {
  const button = event.target.closest("button");
  if (!button || button !== document.activeElement || !keysOn()) return;
  if (event.detail || classButtons.includes(button)) viewer.focus({ preventScroll: true });
}

async function retry() {
  complain("");
  for (const entry of Object.values(waiting())) {
    const item = itemOf(entry);
    const undo = await send(who && !entry.who ? { ...entry, who: who.value.trim() } : entry);
    if (item && undo && entry.kind === "fix") [item.value, item.fixed] = [entry.value, true];
  }
  showWaiting();
}

$("retry").addEventListener("click", retry);
window.addEventListener("online", retry);
window.addEventListener("beforeunload", (event) => {
  if (items.some((item) => item.state === "saving")) event.preventDefault();
});
if (viewer) {
  viewer.hidden = false;
  $("right").addEventListener("click", () => next());
  $("previous").addEventListener("click", () => select(current - 1));
  $("next").addEventListener("click", () => select(current + 1));
  $("undo").addEventListener("click", undo);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("theirs").addEventListener("click", () => settle(false));
  $("mine").addEventListener("click", () => settle(true));
  $("classes").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) next(button.dataset.value);
  });
  viewer.addEventListener("click", leave);
  $("confirm-sure").addEventListener("click", () => {
    const least = Number(sure.value);
    const sureOf = (item) => item.value === item.told && !item.fixed && item.probability >= least;
    const chosen = items.filter((item) => item.state === "open" && sureOf(item));
    if (chosen.length) decide(chosen);
    else complain(`No picture on this page has a probability of at least ${least}.`);
  });
  $("accept").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = items.filter((item) => item.state === "open" && item.card.querySelector("input[name=item]").checked);
    if (chosen.length) decide(chosen);
    else complain("No picture is ticked.");
  });
  items.forEach((item, index) => item.card.querySelector(".pick").addEventListener("click", (event) => {
    select(index);
    viewer.scrollIntoView({ block: "nearest" });
    leave(event);
  }));
  $("keys-on").checked = keysOn();
  $("keys-on").addEventListener("change", (event) => localStorage.setItem(KEYS, event.target.checked ? "on" : "off"));
  document.addEventListener("keydown", pressed);
  select(0);
}
if (Object.keys(waiting()).length) retry(); // of a page that was closed before they were sent
showWaiting();
