// Takes photos by drop, choice, paste or camera, asks the model about one after the other, shows what
// it says of the newest, and lists all answers in a table.

const LIMIT_MB = 25; // of the model server, as of SageMaker's real-time endpoints
const RETRY_MS = 1000;
const at = (id) => document.getElementById(id);
const [stage, hint, photo, video, answer, state, prediction, bars, time] =
  ["stage", "hint", "photo", "video", "answer", "state", "prediction", "bars", "time"].map(at);
const { model, url, examples } = JSON.parse(at("data").textContent);
const queue = []; // of files that were not asked about yet
const answers = []; // a row of the table per photo
let working = false;
let stream = null;

const readable = (name) => String(name).replaceAll("_", " ");
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function show(text, problem = false) {
  state.textContent = text;
  state.classList.toggle("problem", problem);
  answer.classList.remove("waiting");
  if (text) {
    prediction.textContent = time.textContent = "";
    bars.replaceChildren();
  }
}

async function askAll(files) {
  queue.push(...files);
  stopCamera();
  if (working) return;
  working = true;
  while (queue.length) {
    const done = answers.length + 1;
    at("progress").textContent = queue.length > 1 ? `photo ${done} of ${done - 1 + queue.length}` : "";
    await ask(queue.shift());
  }
  at("progress").textContent = "";
  working = false;
}

async function ask(file) {
  const address = URL.createObjectURL(file);
  photo.src = address;
  photo.hidden = false;
  hint.hidden = true;
  const refused = (text) => {
    show(text, true);
    addRow({ file: file.name, problem: text }, address);
  };
  if (file.size > LIMIT_MB * 2 ** 20) {
    const size = (file.size / 2 ** 20).toFixed(1);
    return refused(`This file is too large: ${size} MB. The model takes at most ${LIMIT_MB} MB.`);
  }
  answer.classList.add("waiting");
  if (!prediction.textContent) state.textContent = "Asking the model …";
  while (true) {
    const begin = performance.now();
    const response = await fetch("/invocations?top_k=5", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream", Accept: "application/json" } }).catch(() => null);
    const body = await response?.text().catch(() => "");
    if (!response || response.status === 502 || response.status === 503) {
      await waitForServer(response && body);
      continue;
    }
    if (!response.ok) return refused(refusal(response.status, body));
    const found = JSON.parse(body);
    showAnswer(found, performance.now() - begin, response.headers.get("Server-Timing"));
    return addRow({ file: file.name, class: found.class_name, label: found.predicted_label, probability: found.probability, version: found.model_version }, address);
  }
}

function addRow(row, address) {
  answers.push(row);
  at("answers").hidden = false;
  const picture = make("img", { src: address, alt: `Photo ${row.file}` });
  picture.addEventListener("error", () => picture.remove());
  const right = make("td", {}, row.problem ? "" : make("button", { type: "button", click: () => correct(row, right) }, "This is wrong"));
  at("rows").prepend(make("tr", {},
    make("td", {}, picture), make("td", {}, row.file),
    row.problem ? make("td", { class: "problem" }, row.problem) : make("td", {}, readable(row.class)),
    make("td", { class: "number" }, row.problem ? "" : percent(row.probability)), right));
}

// Asks for the right class, which the server of this page keeps in a file.
function correct(row, cell) {
  const input = make("input", { list: "classes", "aria-label": `Right class of ${row.file}`, placeholder: "right class, if known" });
  const form = make("form", { submit: async (event) => {
    event.preventDefault();
    const wrong = { file: row.file, said: row.label, probability: row.probability, right: input.value, model_version: row.version };
    const kept = await fetch("/wrong", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wrong) }).catch(() => null);
    row.right = input.value;
    cell.replaceChildren(kept?.ok ? `No${input.value ? `, ${input.value}` : ""}: noted in ${await kept.text()}` : `It could not be noted: ${(await kept?.text()) ?? "the server of this page is gone"}`);
  } }, input, make("button", { type: "submit" }, "Note it"));
  cell.replaceChildren(form);
  input.focus();
}

// A cell of a CSV file (RFC 4180).
const quoted = (value) => (/[",\r\n]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));

function download() {
  const columns = ["file", "class", "label", "probability", "version", "right", "problem"];
  const lines = [columns, ...answers.map((row) => columns.map((name) => row[name]))];
  const table = new Blob([lines.map((line) => `${line.map(quoted).join(",")}\n`).join("")], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(table), download: "answers.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
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

// Says so, and waits until the server is back.
async function waitForServer(body) {
  let reason = "";
  try { reason = ` (${JSON.parse(body).error})`; } catch { /* no more is known */ }
  show(`The model server does not answer${reason.includes("does not answer") ? "" : reason}. Is it running? This page continues by itself as soon as it does.`, true);
  do await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  while (!(await fetch("/ping").catch(() => null))?.ok);
}

function showAnswer({ class_name, top_k }, milliseconds, timing) {
  show("");
  prediction.textContent = readable(class_name);
  bars.replaceChildren(...top_k.map(({ class_name: name, probability }) => {
    const filled = make("div", { class: "fill" });
    requestAnimationFrame(() => { filled.style.width = percent(probability); });
    return make("li", {},
      make("div", { class: "line" }, make("span", {}, readable(name)), make("b", {}, percent(probability))),
      make("div", { class: "bar" }, filled));
  }));
  const inside = [...(timing ?? "").matchAll(/(decode|predict);dur=([\d.]+)/g)].map(([, what, ms]) => `${what} ${Number(ms).toFixed(0)} ms`);
  time.textContent = `${milliseconds.toFixed(0)} ms there and back${inside.length ? `, of which ${inside.join(" and ")}` : ""}`;
}

function chosen(event) {
  askAll(event.target.files);
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
  canvas.toBlob((picture) => { askAll([new File([picture], "camera.jpg", { type: picture.type })]); at("camera").focus(); }, "image/jpeg", 0.92);
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
  const { files } = event.dataTransfer;
  if (files.length) askAll(files);
  else if (event.dataTransfer.getData("text/uri-list")) show("This is a link, which the page may not follow: save the photo, and drop the file.", true);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) askAll(event.clipboardData.files);
});
at("download").addEventListener("click", download);

function introduce({ version, architecture, classes, metrics }) {
  const split = "test_accuracy" in metrics ? "test" : "valid";
  const accuracy = metrics[`${split}_accuracy`];
  const facts = [`Model ${version}`, architecture, `${classes.length} classes`];
  if (accuracy !== undefined) facts.push(`right on ${percent(accuracy)} of the ${split} photos`);
  at("model").textContent = facts.join(" · ");
  at("classes").append(...classes.map(([, name]) => make("option", { value: name })));
}

// A photo that the server of this page offers, e.g. of the test split.
async function tryExample(index, name) {
  const response = await fetch(`/examples/${index}`).catch(() => null);
  if (!response?.ok) return show("This photo is gone: choose another.", true);
  askAll([new File([await response.blob()], name)]);
}

if (model) introduce(model);
at("examples").hidden = !examples.length;
at("examples").append(...examples.map(({ file, thumbnail }, index) =>
  make("button", { type: "button", "aria-label": `Try ${file}`, click: () => tryExample(index, file) }, make("img", { src: thumbnail ?? "", alt: "" }))));
at("curl").textContent = `curl -H 'Content-Type: application/octet-stream' --data-binary '@PHOTO.jpg' ${url}/invocations`;
at("python").textContent = `import json
import urllib.request

with open("PHOTO.jpg", "rb") as photo:
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request("${url}/invocations", photo.read(), headers)
with urllib.request.urlopen(request) as response:
    print(json.load(response)["class_name"])
`;
