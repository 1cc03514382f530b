// Promote and roll back: a dialog asks first, and the answer is shown when the page is there again.
"use strict";

const dialog = document.getElementById("confirm");
const message = document.getElementById("message");
const NAME = "augrank-who", DONE = "augrank-models-message";

function say(text, isProblem) {
  message.textContent = text;
  message.classList.toggle("problem", isProblem);
  message.hidden = false;
  message.scrollIntoView({ block: "nearest" });
}

function ask(button) {
  const { action, name, force } = button.dataset;
  const promote = action === "promote";
  const go = document.getElementById("confirm-go");
  document.getElementById("confirm-title").textContent = (promote ? "Promote " : "Roll back to ") + name + "?";
  document.getElementById("confirm-text").textContent =
    (force ? "The gate has refused it: say why it shall be live all the same. " : "") +
    "It is loaded beside the live one, and answers from then on. No request fails, and fixes hold.";
  document.getElementById("confirm-why").required = Boolean(force);
  go.textContent = promote ? "Promote" : "Roll back";
  go.className = promote && !force ? "" : "danger";
  const who = document.getElementById("confirm-who");
  if (who) who.value = sessionStorage.getItem(NAME) || "";
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue === "go") change(button);
    button.focus();
  };
  dialog.showModal();
}

async function change(button) {
  const { action, id, task, force, name, expected } = button.dataset;
  const promote = action === "promote";
  // What this page shows as live: whoever decides the same a moment later is told, and changes nothing.
  const body = { why: document.getElementById("confirm-why").value, expected: expected || null };
  const who = document.getElementById("confirm-who");
  if (who) {
    body.who = who.value;
    sessionStorage.setItem(NAME, who.value);
  }
  if (promote) body.force = Boolean(force);
  else body.task = task;
  const buttons = document.querySelectorAll("button[data-action]");
  buttons.forEach((each) => { each.disabled = true; });
  say((promote ? "Promoting " : "Rolling back to ") + name + " …", false);
  try {
    const answer = await fetch(promote ? "/v1/models/" + id + "/promote" : "/v1/models/rollback", {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-CSRF-Token": document.querySelector('meta[name="csrf-token"]').content,
      },
      body: JSON.stringify(body),
    });
    if (answer.ok) {
      sessionStorage.setItem(DONE, name + " is live now.");
      location.reload();
      return;
    }
    const content = await answer.json().catch(() => ({}));
    say(content.error ? content.error.message : "The service answered " + answer.status + ".", true);
  } catch {
    say("The service does not answer. Look at the list again before you repeat it.", true);
  }
  buttons.forEach((each) => { each.disabled = false; });
}

document.querySelectorAll("button[data-action]").forEach((button) => {
  button.addEventListener("click", () => ask(button));
});
document.getElementById("confirm-cancel")?.addEventListener("click", () => dialog.close(""));
const done = sessionStorage.getItem(DONE);
if (done) {
  sessionStorage.removeItem(DONE);
  say(done, false);
}
