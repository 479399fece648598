// How far probabilities can be trusted, and what a threshold would answer. bins: for each of N equal
// ranges of confidence, [photos, right answers, sum of confidences].

const RELIABILITY_BINS = 10;

function merged(bins, into) {
  const size = bins.length / into;
  return Array.from({ length: into }, (_, i) => bins.slice(i * size, (i + 1) * size).reduce((a, b) => a.map((v, k) => v + b[k]), [0, 0, 0]));
}

// Expected calibration error with ten bins: Naeini et al., 2015.
function calibrationError(bins) {
  const all = sum(bins.map(([photos]) => photos));
  return sum(merged(bins, RELIABILITY_BINS).map(([, right, confidence]) => Math.abs(right - confidence))) / Math.max(1, all);
}

// What is answered, and how much of it is right, where answers below a confidence are withheld.
function coverage(bins, threshold) {
  const above = bins.slice(Math.round(threshold * bins.length));
  const [answered, right] = [sum(above.map(([photos]) => photos)), sum(above.map(([, hits]) => hits))];
  return { answered: answered / Math.max(1, sum(bins.map(([photos]) => photos))), right: answered ? right / answered : null };
}

function calibration(bins) {
  const points = merged(bins, RELIABILITY_BINS).filter(([photos]) => photos).map(([photos, right, confidence]) => [confidence / photos, right / photos]);
  const share = (value) => percent(value, 0);
  const chart = lineChart("Accuracy by confidence", [
    { name: "model", color: 0, points },
    { name: "perfectly calibrated", color: 1, dash: "4 4", points: [[0, 0], [1, 1]] },
  ], { xLabel: "confidence", yLabel: "accuracy", formatX: share, format: share, zero: true, most: 1 });
  const steps = bins.map((_, i) => i / bins.length);
  const covered = lineChart("Where answers below a threshold are withheld", [
    { name: "answered", color: 0, points: steps.map((t) => [t, coverage(bins, t).answered]) },
    { name: "of these right", color: 1, points: steps.filter((t) => coverage(bins, t).right !== null).map((t) => [t, coverage(bins, t).right]) },
  ], { xLabel: "threshold", yLabel: "share of photos", formatX: share, format: (y) => percent(y), zero: true, most: 1 });
  const reading = h("output", { "aria-live": "polite" });
  const slider = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0.8, "aria-label": "Threshold", input: () => tell() });
  function tell() {
    const { answered, right } = coverage(bins, Number(slider.value));
    reading.textContent = `at ${percent(Number(slider.value), 0)}: ${percent(answered)} answered, ${right === null ? "none" : percent(right)} of them right`;
  }
  tell();
  const safe = steps.find((t) => (coverage(bins, t).right ?? 0) >= 0.99);
  return section("calibration", "Confidence",
    note(`Expected calibration error: ${percent(calibrationError(bins))}. `, safe === undefined ? "No threshold makes 99 % of the answers right."
      : safe === 0 ? "99 % of the answers are right without any threshold."
      : `A threshold of ${percent(safe, 0)} makes 99 % of the answers right and gives ${percent(coverage(bins, safe).answered)} of the photos an answer.`),
    h("div", { class: "toolbar" }, h("label", { class: "choice" }, "Threshold ", slider), reading),
    h("div", { class: "grid" }, chart, covered));
}
