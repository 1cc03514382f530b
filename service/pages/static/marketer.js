// Send the form as soon as a picture or a drop-down changes, and put the answer into the page.
// The file is sent once; another question names it by its digest.

const form = document.getElementById("ask");
const results = document.getElementById("results");
const problem = document.getElementById("problem");
const status = document.getElementById("status");
const digest = document.getElementById("sha256");
const REMEMBERED = "augrank.advertiser";

let picture = null; // the file that was dropped last, until another picture is asked about
let path = ""; // of the catalogue's picture that was picked, until the service has answered
let sent = false; // whether the service has answered about the file
let asking = null; // the AbortController of the request on its way

document.querySelectorAll(".script").forEach((each) => { each.hidden = false; });

function say(text) { status.textContent = text; }

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

function fields() {
  const data = new FormData(form);
  data.delete("image");
  data.delete("catalogue");
  if (path) {
    data.set("catalogue", path);
  } else if (picture && !sent) {
    data.set("image", picture, picture.name || "pasted");
    data.delete("sha256");
  } else if (!digest.value) {
    return null;
  }
  return data;
}

async function ask() {
  const data = fields();
  if (!data) {
    complain("There is no picture yet: drop one into the field, paste it, or pick one of the catalogue.");
    return;
  }
  asking?.abort();
  const mine = asking = new AbortController();
  results.setAttribute("aria-busy", "true");
  say("Asking …");
  try {
    const response = await post(data, "answer", mine.signal);
    if (response.ok) {
      const page = parsed(await response.text());
      if (mine !== asking) return;
      show(page);
    } else {
      const text = await problemOf(response);
      if (mine !== asking) return;
      if (response.status === 410 && picture && sent) { // the service has made room for others
        sent = false;
        await ask();
        return;
      }
      complain(text);
      say("");
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    complain("The service cannot be reached. Look whether it runs, then change something to ask again.");
    say("");
  } finally {
    if (mine === asking) {
      results.setAttribute("aria-busy", "false");
      asking = null;
    }
  }
}

async function post(data, fragment, signal) {
  const token = document.querySelector('meta[name="csrf-token"]').content;
  const headers = { "X-Fragment": fragment, "X-CSRF-Token": token };
  const response = await fetch("/", { method: "POST", body: data, headers, signal });
  if (response.redirected) location.assign(response.url); // the login ended
  return response;
}

function parsed(text) { return new DOMParser().parseFromString(text, "text/html"); }

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The service could not answer (${response.status}). Try again; its log says more.`;
  }
}

function show(page) {
  const hadFocus = document.getElementById("answer").contains(document.activeElement);
  for (const id of ["answer", "history"]) {
    document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
  }
  const answer = document.getElementById("answer");
  if (hadFocus) {
    answer.tabIndex = -1;
    answer.focus({ preventScroll: true });
  }
  if (path) {
    forget();
    answer.scrollIntoView();
  }
  digest.value = answer.dataset.sha256;
  sent = true;
  complain("");
  say(document.getElementById("verdict").textContent);
  history.replaceState(null, "", answer.dataset.link);
  prepare();
}

function forget() {
  picture = null;
  path = "";
  preview(null);
  form.elements.image.value = "";
}

function preview(file) {
  const image = document.getElementById("dropped");
  if (image.src) URL.revokeObjectURL(image.src);
  image.hidden = !file;
  if (file) image.src = URL.createObjectURL(file); else image.removeAttribute("src");
}

function take(file) {
  if (!file) return;
  const most = Number(form.dataset.maxMb);
  if (file.size > most * 2 ** 20) {
    complain(`The picture has ${(file.size / 2 ** 20).toFixed(1)} MB, at most ${most} MB are possible. Save it smaller.`);
    return;
  }
  picture = file;
  path = "";
  sent = false;
  preview(file);
  ask();
}

function prepare() {
  const copy = document.getElementById("copy");
  if (!copy) return;
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    const link = document.getElementById("share").href;
    try {
      await navigator.clipboard.writeText(link);
      copy.textContent = "Copied";
      say("The link is copied.");
    } catch {
      complain(`The browser does not let the page copy. The link is ${link}`);
    }
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.submitter?.name === "catalogue") path = event.submitter.value;
  ask();
});

form.addEventListener("change", (event) => {
  if (event.target.id === "image") take(event.target.files[0]);
  else if (event.target.id === "advertiser") changeAdvertiser(event.target.value.trim());
  else if (digest.value || picture || path) ask();
});

// Dropping and pasting.
const drop = document.getElementById("drop");
for (const name of ["dragover", "dragenter"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  else complain("That is no file: save the picture first, then drop the file.");
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
  if (files.length) { event.preventDefault(); take(files[0]); }
});

// Older questions take the place of those that are shown; the answer stays.
document.getElementById("results").addEventListener("click", (event) => {
  const link = event.target.closest("#older, #newest");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  turn(link.href);
});

async function turn(address) {
  try {
    const response = await fetch(address, { headers: { "X-Fragment": "history" } });
    if (!response.ok || response.redirected) { location.assign(address); return; }
    const fresh = document.adoptNode(parsed(await response.text()).getElementById("history"));
    document.getElementById("history").replaceWith(fresh);
    const heading = document.getElementById("history-heading");
    heading.tabIndex = -1;
    heading.focus();
  } catch {
    complain("The service cannot be reached. Look whether it runs, then try again.");
  }
}

// The catalogue.
const search = document.getElementById("search");
let searching = null;
let pause = 0;

async function find(address) {
  searching?.abort();
  const mine = searching = new AbortController();
  try {
    const response = await fetch(address, { headers: { "X-Fragment": "catalogue" }, signal: mine.signal });
    if (!response.ok || response.redirected) { location.assign(address); return; }
    const grid = parsed(await response.text()).getElementById("catalogue-grid");
    document.getElementById("catalogue-grid").replaceWith(document.adoptNode(grid));
  } catch (error) {
    if (error.name !== "AbortError") complain("The service cannot be reached. Look whether it runs, then search again.");
  }
}

if (search) {
  const address = () => `/?${new URLSearchParams(new FormData(search.form))}`;
  search.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => find(address()), 200);
  });
  search.form.addEventListener("submit", (event) => { event.preventDefault(); find(address()); });
  document.getElementById("catalogue").addEventListener("click", (event) => {
    if (event.target.id !== "more") return;
    event.preventDefault();
    find(event.target.href);
  });
}

// Without a key of one advertiser, the page remembers whose pictures were asked about last.
function changeAdvertiser(name) {
  if (!name) return;
  localStorage.setItem(REMEMBERED, name);
  location.assign(`/?${new URLSearchParams({ advertiser: name })}`);
}

const advertiser = document.getElementById("advertiser");
if (advertiser) {
  const remembered = localStorage.getItem(REMEMBERED);
  const given = new URLSearchParams(location.search).get("advertiser");
  if (location.pathname === "/" && remembered && !given && remembered !== advertiser.value) {
    location.replace(`/?${new URLSearchParams({ advertiser: remembered })}`);
  } else if (given) {
    localStorage.setItem(REMEMBERED, given);
  }
}

prepare();
