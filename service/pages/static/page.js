// What the pages of people who decide share: find, complain, remember a name, ask the service.

const REMEMBERED = "augrank.who";
const token = document.querySelector('meta[name="csrf-token"]').content;

export const $ = (id) => document.getElementById(id);

export function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// The field with the person's name, which the browser remembers; null with a key, which has a holder.
export function personField() {
  const who = $("who");
  if (who) {
    who.value ||= localStorage.getItem(REMEMBERED) || "";
    who.addEventListener("change", () => localStorage.setItem(REMEMBERED, who.value.trim()));
  }
  return who;
}

// The error of an answer; without a status, the service was not reached.
export function refused(error, status) {
  const problem = new Error(error?.message || `The service answered ${status}; try again.`);
  problem.status = status;
  return problem;
}

export async function call(method, path, body) {
  const options = { method, headers: { "X-CSRF-Token": token } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch("/v1" + path, options);
  } catch {
    throw new Error("The service cannot be reached. Nothing was changed; try again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw refused(answer.error, response.status);
  return answer;
}
