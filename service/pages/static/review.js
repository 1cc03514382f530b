// Decide about fixes, one after the other: k keep, d drop, 1 to 9 another label, c crop, u undo.

import { $, call, complain, personField } from "./page.js";

const queue = $("queue"), who = personField();
const STEP = 0.01, LEAST = 0.05, AHEAD = 20;

let items = [];       // undecided, the one that is shown first
let classes = {};     // of each label
let decided = [];     // ids, the last one last
let busy = false;
let box = null;       // left, top, right, bottom in 0 to 1, while a crop is drawn

// One request at a time; an error is shown, and the page stays as it is.
async function once(work) {
  if (busy) return;
  busy = true;
  complain("");
  try {
    await work();
  } catch (error) {
    complain(error.message);
  } finally {
    busy = false;
  }
}

function named() {
  if (!who) return {};
  const name = who.value.trim();
  if (!name) {
    who.focus();
    throw new Error("Say who you are first: the history keeps your name.");
  }
  return { who: name };
}

// --- the queue -----------------------------------------------------------------------------------

async function load() {
  const page = await call("GET", `/retraining/${queue.dataset.job}/review?limit=${AHEAD}`);
  items = page.items;
  classes = page.classes;
  $("status").textContent = page.undecided
    ? `${page.undecided} of ${page.total} fixes wait for a decision.`
    : `All ${page.total} fixes are decided.`;
  if ($("finish")) {
    $("finish").disabled = page.undecided > 0;
    $("accept").hidden = page.undecided === 0;
  }
  show();
}

function show() {
  stopCrop();
  const item = items[0];
  $("item").hidden = !item;
  $("nothing").hidden = Boolean(item);
  $("undo").disabled = !decided.length;
  $("undo-last").hidden = !decided.length;
  if (!item) return;
  $("image").src = `/v1/retraining/${queue.dataset.job}/review/${item.id}/image`;
  $("image").alt = `The picture of ${item.advertiser} whose ${item.label} was corrected`;
  $("caption").textContent = `${item.advertiser} · fix ${item.fix_id}`;
  $("question").textContent = `Is the ${item.label} of this picture ${item.value}?`;
  $("reasons").replaceChildren(...item.reasons.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
  const proposal = item.proposal === "drop" ? "to drop it" : "to keep it";
  $("told").textContent = (item.told
    ? `The live model says ${item.told.value} (${Math.round(100 * item.told.probability)} %). ` : "")
    + `The filters propose ${proposal}.`;
  $("classes").replaceChildren(...(classes[item.label] || []).map(classButton));
}

function classButton(name, place) {
  const button = document.createElement("button");
  button.className = "quiet";
  if (place < 9) {
    const key = document.createElement("kbd");
    key.textContent = place + 1;
    button.append(key, " ");
    button.setAttribute("aria-keyshortcuts", String(place + 1));
  }
  button.append(name);
  button.addEventListener("click", () => relabel(name));
  return button;
}

function decide(body) {
  return once(async () => {
    const item = items[0];
    if (!item) return;
    await call("PUT", `/retraining/${queue.dataset.job}/review/${item.id}`, { ...body, ...named() });
    decided.push(item.id);
    await load();
  });
}

function relabel(name) {
  return decide(name === items[0]?.value ? { decision: "keep" } : { decision: "relabel", value: name });
}

function undo() {
  return once(async () => {
    const id = decided.at(-1);
    if (id === undefined) return;
    const item = await call("POST", `/retraining/${queue.dataset.job}/review/${id}/undo`);
    decided.pop();
    await load();
    items = [item, ...items.filter((each) => each.id !== id)];
    show();
  });
}

function finish(accept) {
  return once(async () => {
    await call("POST", `/retraining/${queue.dataset.job}/finish`, { accept, ...named() });
    location.reload();
  });
}

// --- cropping ------------------------------------------------------------------------------------

function startCrop() {
  if (!items.length) return;
  setBox([0.1, 0.1, 0.9, 0.9]);
  $("cropping").hidden = false;
  $("frame").classList.add("cropping");
  $("crop").setAttribute("aria-expanded", "true");
  $("apply").focus();
}

function stopCrop() {
  box = null;
  $("box").hidden = true;
  $("cropping").hidden = true;
  $("frame").classList.remove("cropping");
  $("crop").setAttribute("aria-expanded", "false");
}

const EDGES = ["left", "top", "right", "bottom"];

function setBox(edges) {
  box = edges.map((edge) => Math.min(1, Math.max(0, edge)));
  const [left, top, right, bottom] = box;
  Object.assign($("box").style, {
    left: `${100 * left}%`, top: `${100 * top}%`,
    width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
  });
  $("box").hidden = false;
  EDGES.forEach((name, place) => { $(name).value = Math.round(100 * box[place]); });
}

function move(across, down) {
  const [left, top, right, bottom] = box;
  const x = Math.min(1 - right, Math.max(-left, across * STEP));
  const y = Math.min(1 - bottom, Math.max(-top, down * STEP));
  setBox([left + x, top + y, right + x, bottom + y]);
}

function resize(across, down) {
  const [left, top, right, bottom] = box;
  setBox([left, top, Math.max(left + LEAST, right + across * STEP), Math.max(top + LEAST, bottom + down * STEP)]);
}

function apply() {
  const [left, top, right, bottom] = box;
  if (right - left < LEAST || bottom - top < LEAST) {
    complain("The box is too small: leave at least 5 % of the width and of the height.");
    return;
  }
  decide({ decision: "crop", crop: box });
}

function place(event) {
  const area = $("image").getBoundingClientRect();
  return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
}

function drawing() {
  let from = null;
  $("frame").addEventListener("pointerdown", (event) => {
    if (!box) return;
    event.preventDefault();
    $("frame").setPointerCapture(event.pointerId);
    from = place(event);
  });
  $("frame").addEventListener("pointermove", (event) => {
    if (!from || !box) return;
    const to = place(event);
    setBox([Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])]);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    $("frame").addEventListener(name, () => { from = null; });
  }
}

// --- keys ----------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function cropKey(event) {
  if (event.key === "Escape" || event.key === "c") {
    stopCrop();
    $("crop").focus();
  } else if (event.key === "Enter" && event.target.tagName !== "BUTTON") {
    apply();
  } else if (ARROWS[event.key] && event.target.type !== "number") {
    (event.shiftKey ? resize : move)(...ARROWS[event.key]);
  } else {
    return false;
  }
  return true;
}

function plainKey(event) {
  const name = (classes[items[0]?.label] || [])[Number(event.key) - 1];
  if (event.key === "k") decide({ decision: "keep" });
  else if (event.key === "d") decide({ decision: "drop" });
  else if (event.key === "c") startCrop();
  else if (event.key === "u") undo();
  else if (/^[1-9]$/.test(event.key) && name) relabel(name);
  else return false;
  return true;
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && !ARROWS[event.key]) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  const known = box ? cropKey(event) : !typing && plainKey(event);
  if (known) event.preventDefault();
}

if (queue) {
  document.addEventListener("keydown", pressed);
  $("keep").addEventListener("click", () => decide({ decision: "keep" }));
  $("drop").addEventListener("click", () => decide({ decision: "drop" }));
  $("crop").addEventListener("click", () => (box ? stopCrop() : startCrop()));
  $("undo").addEventListener("click", undo);
  $("undo-last").addEventListener("click", undo);
  $("apply").addEventListener("click", apply);
  $("cancel").addEventListener("click", stopCrop);
  $("finish")?.addEventListener("click", () => finish(false));
  $("accept")?.addEventListener("click", () => {
    if (confirm("Decide about all that is left as the filters propose, and end the review?")) finish(true);
  });
  for (const name of EDGES) {
    $(name).addEventListener("change", () => setBox(EDGES.map((each) => Number($(each).value) / 100)));
  }
  drawing();
  once(load);
}
$("start")?.addEventListener("click", () => once(async () => {
  await call("POST", "/retraining", named());
  location.reload();
}));
