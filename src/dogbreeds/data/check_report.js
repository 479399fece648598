// Builds the page about a photos directory from the report of `dogbreeds data check`.

const MOST_ROWS = 1000; // of classes

const card = (label, value) => h("div", { class: "card" }, h("div", { class: "label" }, label), h("div", { class: "value" }, count(value)));

function picture(address, name) {
  return address ? h("img", { src: address, alt: visible(name), loading: "lazy" }) : h("div", { class: "missing" }, "no picture");
}

// A name with its control codes shown, and with "?" for bytes that are no text.
const visible = (name) => String(name).replace(/[\u0000-\u001f\u007f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`).toWellFormed();

function finding({ photo, like, detail }, thumbnails) {
  const photos = [photo, like].filter((name) => name !== undefined);
  return h("figure", null,
    h("div", { class: photos.length > 1 ? "pair" : "one" }, photos.map((name) => picture(thumbnails[name], name))),
    h("figcaption", null, visible(photo), h("br"), h("span", { class: "muted" }, visible(detail))));
}

function kindSection(kind, { kinds, findings, counts, thumbnails, offences, left_out: leftOut }) {
  const tone = [...offences, ...leftOut].includes(kind) ? "bad" : "warn";
  const more = counts[kind] - findings[kind].length;
  return h("section", { "data-kind": kind },
    h("h2", null, `${kind[0].toUpperCase()}${kind.slice(1)} `, h("span", { class: `tag ${tone}` }, count(counts[kind]))),
    h("p", { class: "note" }, kinds[kind]),
    h("div", { class: "photos" }, findings[kind].map((one) => finding(one, thumbnails))),
    more ? h("p", { class: "note" }, `and ${count(more)} more: see `, h("code", null, "--json")) : null);
}

// Numbers by name; the last of each row is shown as a bar, too.
function numbers(title, columns, rows) {
  const most = Math.max(1, ...rows.map((row) => row.at(-1)));
  const made = table([
    { label: columns[0], cell: ([name]) => visible(name) },
    ...columns.slice(1).map((label, i) => ({ label, number: true, cell: (row) => count(row[i + 1]), value: (row) => row[i + 1] })),
    { label: "Compared", value: (row) => row.at(-1), cell: (row) => h("meter", { max: most, value: row.at(-1), "aria-label": visible(row[0]) }) },
  ], rows, { sortable: true });
  return h("section", null, h("h2", null, title),
    h("div", { class: "panel" }, scroller(title, made, "tall")));
}

function classes(splits) {
  const counts = Object.values(splits);
  const labels = [...new Set(counts.flatMap(Object.keys))].sort(collator.compare).slice(0, MOST_ROWS);
  const rows = labels.map((label) => {
    const found = counts.map((one) => one[label] ?? 0);
    return [label, ...found, found.reduce((a, b) => a + b, 0)];
  });
  return numbers("Classes", ["Class", ...Object.keys(splits).map((split) => split || "photos"), "All"], rows);
}

// Lets a person look at one kind of finding at a time.
function filter(sections, counts) {
  const select = h("select", { change: () => {
    for (const section of sections) section.hidden = select.value !== "" && section.dataset.kind !== select.value;
  } }, h("option", { value: "" }, "all kinds"), Object.entries(counts).map(([kind, all]) => h("option", { value: kind }, `${kind} (${count(all)})`)));
  return h("label", { class: "kinds" }, "Show ", select);
}

function build(report) {
  const splits = Object.entries(report.splits).filter(([split]) => split);
  const sections = Object.keys(report.counts).map((kind) => kindSection(kind, report));
  const toMend = report.offences.reduce((all, kind) => all + (report.counts[kind] ?? 0), 0);
  document.getElementById("page").append(
    h("header", { class: "top" }, h("h1", null, `Photos of ${visible(report.folder)}`),
      h("p", { class: `lead ${report.clean ? "good" : "bad"}` }, visible(report.verdict))),
    h("main", null,
      h("section", null,
        h("div", { class: "cards" }, card("Photos", report.photos), card("To mend", toMend),
          splits.map(([split, found]) => card(split, Object.values(found).reduce((a, b) => a + b, 0)))),
        report.problems.map((problem) => h("p", { class: "bad" }, visible(problem))),
        report.notes.map((one) => h("p", { class: "warn" }, visible(one)))),
      sections.length > 1 ? filter(sections, report.counts) : null,
      sections,
      classes(report.splits)));
}

build(JSON.parse(document.getElementById("data").textContent));
