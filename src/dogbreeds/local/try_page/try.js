// Takes a photo by drop, choice, paste or camera, asks the model, and shows what it says.

const LIMIT_MB = 25; // of the model server, as of SageMaker's real-time endpoints
const RETRY_MS = 1000;
const at = (id) => document.getElementById(id);
const [stage, hint, photo, video, answer, state, prediction, bars, time] =
  ["stage", "hint", "photo", "video", "answer", "state", "prediction", "bars", "time"].map(at);
let asked = 0; // counts the questions: only the last one's answer is shown
let stream = null;

const readable = (name) => String(name).replaceAll("_", " ");
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function show(text, problem = false) {
  state.textContent = text;
  state.classList.toggle("problem", problem);
  answer.classList.remove("waiting");
  if (text) {
    prediction.textContent = time.textContent = "";
    bars.replaceChildren();
  }
}

async function ask(file) {
  const question = ++asked;
  stopCamera();
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  photo.hidden = false;
  hint.hidden = true;
  if (file.size > LIMIT_MB * 2 ** 20) {
    const size = (file.size / 2 ** 20).toFixed(1);
    return show(`This file is too large: ${size} MB. The model takes at most ${LIMIT_MB} MB.`, true);
  }
  answer.classList.add("waiting");
  if (!prediction.textContent) state.textContent = "Asking the model …";
  const begin = performance.now();
  let response;
  let body;
  try {
    response = await fetch("/invocations?top_k=5", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream", Accept: "application/json" } });
    body = await response.text();
  } catch {
    response = null;
  }
  if (question !== asked) return;
  const milliseconds = performance.now() - begin;
  if (!response || response.status === 502 || response.status === 503) return waitForServer(question, file, response && body);
  if (response.ok) return showAnswer(JSON.parse(body), milliseconds, response.headers.get("Server-Timing"));
  show(refusal(response.status, body), true);
}

// What a refused request is told, in the server's own words.
function refusal(status, body) {
  try {
    const { error, expected, got } = JSON.parse(body);
    const more = expected ? ` Expected ${expected}${got ? `, got ${got}` : ""}.` : "";
    return `The model refused this (${status}): ${error}.${more}`;
  } catch {
    return `The model server answered with status ${status}.`;
  }
}

// Says so, and asks again as soon as the server is back.
async function waitForServer(question, file, body) {
  let reason = "";
  try { reason = ` (${JSON.parse(body).error})`; } catch { /* no more is known */ }
  show(`The model server does not answer${reason.includes("does not answer") ? "" : reason}. Is it running? This page continues by itself as soon as it does.`, true);
  while (question === asked) {
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    const ping = await fetch("/ping").catch(() => null);
    if (ping?.ok && question === asked) return ask(file);
  }
}

function showAnswer({ class_name, top_k }, milliseconds, timing) {
  show("");
  prediction.textContent = readable(class_name);
  bars.replaceChildren(...top_k.map(({ class_name: name, probability }) => {
    const line = document.createElement("div");
    line.className = "line";
    const [label, share] = [document.createElement("span"), document.createElement("b")];
    label.textContent = readable(name);
    share.textContent = percent(probability);
    line.append(label, share);
    const bar = document.createElement("div");
    const filled = document.createElement("div");
    bar.className = "bar";
    filled.className = "fill";
    bar.append(filled);
    requestAnimationFrame(() => { filled.style.width = percent(probability); });
    const item = document.createElement("li");
    item.append(line, bar);
    return item;
  }));
  const inside = [...(timing ?? "").matchAll(/(decode|predict);dur=([\d.]+)/g)].map(([, what, ms]) => `${what} ${Number(ms).toFixed(0)} ms`);
  time.textContent = `${milliseconds.toFixed(0)} ms there and back${inside.length ? `, of which ${inside.join(" and ")}` : ""}`;
}

function chosen(event) {
  const [file] = event.target.files;
  if (file) ask(file);
  event.target.value = ""; // the same file may be chosen again
}

async function startCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return at("capture").click(); // phones, and pages that are not from this machine
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return show(error.name === "NotAllowedError" ? "The camera may not be used: allow it for this page." : "No camera was found: choose a photo instead.", true);
  }
  video.srcObject = stream;
  await video.play();
  setCamera(true);
}

function setCamera(on) {
  video.hidden = at("shoot").hidden = at("cancel").hidden = !on;
  at("choose").hidden = at("camera").hidden = on;
  photo.hidden = on || !photo.src;
  hint.hidden = on || Boolean(photo.src);
  if (on) at("shoot").focus();
}

function stopCamera() {
  if (!stream) return;
  stream.getTracks().forEach((track) => track.stop());
  stream = video.srcObject = null;
  setCamera(false);
}

function shoot() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((picture) => { ask(picture); at("camera").focus(); }, "image/jpeg", 0.92);
}

photo.addEventListener("error", () => { photo.hidden = true; hint.hidden = false; });
at("choose").addEventListener("click", () => at("file").click());
at("camera").addEventListener("click", startCamera);
at("shoot").addEventListener("click", shoot);
at("cancel").addEventListener("click", stopCamera);
at("file").addEventListener("change", chosen);
at("capture").addEventListener("change", chosen);
// The whole window takes a drop: a browser would otherwise open the file in place of this page.
addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
addEventListener("dragleave", () => stage.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file) ask(file);
});
addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0];
  if (file) ask(file);
});
