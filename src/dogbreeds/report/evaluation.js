// What a model makes of one split: matrix, calibration, worst mistakes with photos, classes.

const FIRST_PHOTOS = 24;

function evaluationSections(split, name) {
  return [
    split.classes.length > 1 ? section("confusion", "Confusion matrix",
      note(`One row per right class, one column per predicted class, on the ${name} photos. Green is right, red is wrong.`), confusionMatrix(split)) : null,
    split.confidence ? calibration(split.confidence) : null,
    split.worst.length ? mistakes(split.worst) : null,
    classTable(split),
  ];
}

// Of the right class: the loss is its negative logarithm.
const rightProbability = ({ loss }) => (isNumber(loss) ? Math.exp(-loss) : null);
const mistakeText = (mistake) => `said ${readable(mistake.predicted)}, ${percent(mistake.probability, 0)}`;
const rightText = (mistake) => `right class ${percent(rightProbability(mistake), rightProbability(mistake) < 0.01 ? 2 : 0)}`;

function mistakePhoto(mistake, enlarge, looked) {
  const [is, said] = [readable(mistake.class_name), readable(mistake.predicted)];
  if (!mistake.thumbnail) return h("div", { class: "missing" }, "no picture");
  const image = h("img", { src: pictureOf(mistake, looked), alt: enlarge ? "" : `${is}, taken for ${said}`, title: shortPath(mistake.file), decoding: "async" });
  return enlarge
    ? h("button", { type: "button", class: "enlarge", "aria-label": `Enlarge ${is}, taken for ${said}`, click: () => enlarge(mistake) }, image)
    : image;
}

// The picture of a mistake: the photo, or what the model looked at (Grad-CAM), if that is asked for.
const pictureOf = (mistake, looked) => (looked && mistake.grad_cam) || mistake.thumbnail;

// A dialog with one of the photos at a time; arrow keys and buttons lead to its neighbours.
function lightbox(photos, looked) {
  const picture = h("img", { alt: "" });
  const text = h("p", { "aria-live": "polite" });
  let at = 0;
  const show = (index) => {
    const mistake = photos[(at = (index + photos.length) % photos.length)];
    picture.src = pictureOf(mistake, looked());
    picture.alt = `${readable(mistake.class_name)}, taken for ${readable(mistake.predicted)}`;
    text.replaceChildren(h("b", null, readable(mistake.class_name)), ` ${mistakeText(mistake)}; ${rightText(mistake)}`, h("br"), h("span", { class: "muted" }, shortPath(mistake.file)));
  };
  const dialog = h("dialog", { class: "lightbox", "aria-label": "Photo", keydown: (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) show(at + step);
  }, click: (event) => { if (event.target === dialog) dialog.close(); } },
  picture, text, h("div", { class: "toolbar" },
    h("button", { type: "button", click: () => show(at - 1) }, "Previous"),
    h("button", { type: "button", click: () => show(at + 1) }, "Next"),
    h("button", { type: "button", class: "primary", click: () => dialog.close() }, "Close")));
  return { dialog, open: (mistake) => { show(photos.indexOf(mistake)); dialog.showModal(); } };
}

// What training sees of a few photos: the photo itself, and what augmentation makes of it.
function augmentedPhotos(found, settings) {
  if (!found.length) return null;
  return section("augmentation", "Augmentation",
    note(`Six training photos as the model may see them (augmentation=${settings?.augmentation ?? "?"}). The first picture of each is the photo itself: if one could no longer tell its class from the others, choose a weaker augmentation.`),
    h("div", { class: "grid strips" }, found.map(({ file, pictures }) => h("figure", { class: "strip panel" },
      h("div", null, pictures.map((address, i) => h("img", { src: address, alt: i ? `augmented, ${i}` : "the photo itself" }))),
      h("figcaption", { class: "muted" }, shortPath(file))))));
}

function mistakes(worst) {
  const grid = h("div", { class: "photos" });
  const more = h("button", { type: "button", click: () => add(worst.length) });
  const look = h("input", { type: "checkbox", change: () => {
    const shown = next;
    next = 0;
    grid.replaceChildren();
    add(shown);
  } });
  const looked = () => look.checked;
  const { dialog, open } = lightbox(worst.filter(({ thumbnail }) => thumbnail), looked);
  let next = 0;
  function add(number) {
    grid.append(...worst.slice(next, next + number).map((mistake) => h("figure", null,
      mistakePhoto(mistake, open, looked()),
      h("figcaption", null,
        h("span", { class: "is" }, readable(mistake.class_name)),
        h("span", { class: "for" }, mistakeText(mistake)),
        h("span", { class: "muted right" }, rightText(mistake)),
        h("span", { class: "file" }, shortPath(mistake.file))))));
    next += number;
    more.hidden = next >= worst.length;
    more.textContent = `Show ${worst.length - next} more`;
  }
  add(FIRST_PHOTOS);
  return section("mistakes", "Worst mistakes",
    note("The right class was furthest from the model's mind here. A photo may also show something else than its folder says."),
    worst.some((mistake) => mistake.grad_cam) ? h("p", { class: "toolbar left" }, h("label", { class: "choice" }, look, " Where the model looked (Grad-CAM; bright parts speak for the predicted class)")) : null,
    grid, h("p", { class: "toolbar" }, more), dialog);
}

function classTable(split) {
  const name = (index) => readable(split.classes[index].class_name);
  const takenFor = split.classes.map(() => null);
  for (const [row, column, photos] of split.confusion) {
    if (row !== column && photos > (takenFor[row]?.photos ?? 0)) takenFor[row] = { column, photos };
  }
  const rows = split.classes.map((entry, index) => ({ ...entry, index })).sort((a, b) => (a.recall ?? 2) - (b.recall ?? 2));
  const made = table([
    { label: "class", cell: (row) => readable(row.class_name), value: (row) => row.class_name },
    { label: "id", cell: (row) => row.class_id },
    { label: "photos", number: true, cell: (row) => count(row.photos), value: (row) => row.photos },
    { label: "recall", number: true, cell: (row) => bar(row.recall), value: (row) => row.recall },
    { label: "precision", number: true, cell: (row) => bar(row.precision), value: (row) => row.precision },
    { label: "F1", number: true, cell: (row) => bar(row.f1), value: (row) => row.f1 },
    { label: "most often taken for", cell: (row) => (takenFor[row.index] ? `${name(takenFor[row.index].column)} (${takenFor[row.index].photos})` : ""), value: (row) => takenFor[row.index]?.photos },
  ], rows, { sortable: true });
  const search = h("input", { type: "search", input: () => {
    const query = search.value.trim().toLowerCase();
    for (const row of made.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(query);
  } });
  return section("classes", "Classes",
    note("Recall: of this class's photos, the share that is recognized. Precision: of those predicted as it, the share that is. F1: their harmonic mean."),
    h("div", { class: "toolbar" }, h("label", { class: "choice" }, "Find ", search)),
    h("div", { class: "panel" }, scroller("Classes", made, "tall")));
}
