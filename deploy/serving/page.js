"use strict";

const AT_ONCE = 4; // photos on their way
const SHOWN = 5; // classes of a photo
const TRIES = 30; // of a server that is busy

const $ = (id) => document.getElementById(id);
const waiting = [];
let token = sessionStorage.getItem("token") || "";
let sending = 0, done = 0, failed = 0;

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

/* The run: its name, and what it can tell apart. The photos need none of it. */
async function introduce() {
  const answer = await fetch("v2/model", { headers: headers() });
  if (answer.status === 401) return lock();
  if (answer.status === 503) { await pause(1); return introduce(); }
  if (!answer.ok) return;
  const run = await answer.json();
  const { class_names: names, accuracy } = run.parameters;
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  $("run").textContent = names.length <= 4
    ? `${names.slice(0, -1).join(", ")} or ${names.at(-1)}?`
    : `Which of ${names.length} classes is it?`;
  $("meta").textContent = `${run.name}: right for ${percent(accuracy.value)} of the photos it was scored on ` +
    `(${percent(accuracy.low)} to ${percent(accuracy.high)})`;
}

function lock() {
  $("lock").hidden = false;
  $("give").hidden = true;
}

$("lock").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = $("token").value;
  const answer = await fetch("v2/model", { headers: headers() });
  if (answer.status === 401) {
    $("wrong").textContent = "That is not the token.";
    return;
  }
  sessionStorage.setItem("token", token);
  $("wrong").textContent = "";
  $("token").value = "";
  $("lock").hidden = true;
  $("give").hidden = false;
  introduce();
  next();
});

/* Photos in */
function take(files) {
  const cards = [];
  for (const file of files) {
    const card = $("card").content.firstElementChild.cloneNode(true);
    const image = card.querySelector("img");
    card.querySelector("bdi").textContent = file.name;
    card.querySelector(".path").title = file.name;
    card.querySelector(".label").textContent = "…";
    image.addEventListener("error", () => {
      image.hidden = true;
      card.querySelector(".gone").hidden = false;
    });
    image.src = URL.createObjectURL(file);
    cards.push(card);
    waiting.push({ file, card });
  }
  $("cards").prepend(...cards);
  if (files.length) $("found").hidden = false;
  next();
}

function next() {
  while (sending < AT_ONCE && waiting.length && $("lock").hidden) {
    sending += 1;
    const one = waiting.shift();
    send(one).catch(() => fail(one.card, "The server cannot be reached.")).finally(() => {
      sending -= 1;
      tell();
      next();
    });
  }
  tell();
}

async function send(one) {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const form = new FormData();
    form.append("files", one.file, one.file.name);
    const answer = await fetch("predict", { method: "POST", body: form, headers: headers() });
    if (answer.status === 503) {
      await pause(Number(answer.headers.get("Retry-After")) || 1);
      continue;
    }
    const told = await answer.json();
    if (answer.status === 401) {
      waiting.unshift(one);
      lock();
    } else if (answer.ok) show(one.card, told.predictions[0], told.reject);
    else fail(one.card, told.detail);
    return;
  }
  fail(one.card, "The server is too busy.");
}

/* Predictions out */
function show(card, said, rejection) {
  if (said.error) {
    fail(card, said.error);
    return;
  }
  done += 1;
  const names = Object.keys(said.probabilities);
  const isUnknown = !names.includes(said.label);
  const strange = isUnknown && rejection && rejection.strangers !== null && said.stranger !== null &&
    said.stranger <= rejection.strangers;
  card.classList.toggle("unknown", isUnknown);
  card.querySelector(".label").textContent =
    said.label + (isUnknown ? (strange ? ": like nothing it learned from" : ": not sure enough") : "");
  names.sort((a, b) => said.probabilities[b] - said.probabilities[a]);
  for (const name of names.slice(0, SHOWN)) {
    const share = said.probabilities[name];
    const row = document.createElement("li");
    row.className = name === said.label ? "chosen" : "";
    const [title, value, bar] = ["span", "span", "progress"].map((kind) => row.appendChild(document.createElement(kind)));
    title.className = "name";
    title.textContent = name;
    value.className = "p";
    value.textContent = `${(100 * share).toFixed(1)}%`;
    bar.max = 1;
    bar.value = share;
    bar.setAttribute("aria-label", name);
    card.querySelector(".bars").append(row);
  }
}

function fail(card, why) {
  failed += 1;
  card.classList.add("failed");
  card.querySelector(".label").textContent = why;
}

function tell() {
  const left = waiting.length + sending;
  const parts = [`${done} predicted`];
  if (failed) parts.push(`${failed} failed`);
  if (left) parts.push(`${left} to go`);
  $("status").textContent = parts.join(", ");
}

for (const id of ["files", "camera"]) {
  $(id).addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
}
const isFiles = (event) => [...event.dataTransfer.types].includes("Files");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  $("drop").classList.remove("over");
  take([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) take(files);
});
$("clear").addEventListener("click", () => {
  waiting.length = 0;
  for (const image of document.querySelectorAll("#cards img")) URL.revokeObjectURL(image.src);
  $("cards").replaceChildren();
  done = failed = 0;
  $("found").hidden = true;
});

introduce();
