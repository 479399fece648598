// Lets a person look at one kind of finding at a time.

const kinds = [...document.querySelectorAll("section[data-kind]")];

function kindFilter() {
  const select = document.createElement("select");
  const option = (value, text) => select.append(new Option(text, value));
  const count = (section) => section.querySelector(".tag").textContent;
  option("", "all kinds");
  for (const section of kinds) option(section.dataset.kind, `${section.dataset.kind} (${count(section)})`);
  select.addEventListener("change", () => {
    for (const section of kinds) section.hidden = select.value !== "" && section.dataset.kind !== select.value;
  });
  const label = document.createElement("label");
  label.className = "kinds";
  label.append("Show ", select);
  kinds[0].before(label);
}

if (kinds.length > 1) kindFilter();
