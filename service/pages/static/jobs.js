// Load the page again every two seconds while a job runs, and put its middle into the one that is there.

const EVERY_MS = 2000;
const problem = document.getElementById("problem");

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

async function refresh() {
  const live = document.getElementById("live");
  if (live.dataset.running === "0") return;
  if (document.hidden || live.contains(document.activeElement)) { // it would take the focus away
    setTimeout(refresh, EVERY_MS);
    return;
  }
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(`The service answered ${response.status}.`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.getElementById("live");
    if (!fresh) throw new Error("The page cannot be read: load it again.");
    live.replaceWith(fresh);
    complain("");
  } catch (error) {
    complain(error instanceof TypeError ? "The service cannot be reached; trying again." : error.message);
  }
  setTimeout(refresh, EVERY_MS);
}

setTimeout(refresh, EVERY_MS);
