// Builds the report from the data in the page.

function report({ jobs, tunings }) {
  const title = [...jobs, ...tunings].map((entry) => entry.name).join(" and ");
  document.getElementById("title").textContent = title || "Nothing to report";
  document.getElementById("lead").textContent = lead(jobs);
  const details = h("div");
  const main = document.getElementById("report");
  main.append(...[
    jobs.length === 1 ? summary(jobs[0]) : comparison(jobs),
    curves(jobs),
    chooser(jobs, details),
    details,
    ...tunings.map(tuningSection),
    settings(jobs),
  ].filter(Boolean));
  linkSections();
}

function lead(jobs) {
  if (jobs.length !== 1) return jobs.length ? plural(jobs.length, "training job") : "";
  const [{ job, splits }] = jobs;
  const classes = job.classes ?? Object.values(splits)[0]?.classes.length;
  return [job.hyperparameters?.model, classes && plural(classes, "class", "classes"), job.train_photos && plural(job.train_photos, "training photo"), job.started]
    .filter(Boolean).join(" · ");
}

// Selects for the job and the split that the detailed sections are about; without a choice,
// nothing but those sections.
function chooser(jobs, details) {
  if (!jobs.length) return null;
  const select = (label, names, change) => {
    const made = h("select", { change, "aria-label": label.trim() }, names.map((name, value) => h("option", { value }, name)));
    return [made, names.length > 1 ? h("label", { class: "choice" }, label, made) : null];
  };
  const [job, jobChoice] = select("Job ", jobs.map((one) => one.name), () => showJob());
  const place = h("span");
  const title = h("h2", null, "A closer look");
  function showJob() {
    const chosen = jobs[job.value || 0];
    const names = Object.keys(chosen.splits);
    const [split, splitChoice] = select("Split ", names, () => showSplit());
    const rest = [inspection(chosen.photos), augmentedPhotos(chosen.augmented, chosen.job.hyperparameters), system(chosen.system), debuggerFindings(chosen.findings)];
    function showSplit() {
      const name = names[split.value || 0];
      details.replaceChildren(...[...(name ? evaluationSections(chosen.splits[name], name) : []), ...rest].filter(Boolean));
      linkSections();
    }
    place.replaceChildren(...[splitChoice].filter(Boolean));
    showSplit();
  }
  showJob();
  const choices = [jobChoice, place].filter(Boolean);
  return jobChoice || place.childElementCount ? h("section", { class: "closer" }, title, h("div", { class: "toolbar" }, choices)) : null;
}

function linkSections() {
  document.getElementById("links").replaceChildren(...[...document.querySelectorAll("main > section[id], main > div > section[id]")]
    .map((one) => h("a", { href: `#${one.id}` }, one.querySelector("h2").textContent)));
}

report(JSON.parse(document.getElementById("data").textContent));
