"use strict";
// Presses keys on a page of many clusters, and writes down what it sees: in a run for the keys, and
// in one for the pictures, in which the browser's time is virtual.
const result = { error: null, most_elements: 0, slowest_page_ms: 0, slowest_mark_ms: 0,
  slowest_sort_ms: 0 };
const press = (key) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
};
const elements = () => document.getElementsByTagName("*").length;
/** Milliseconds of an act and of the layout that it needs. */
function timed(name, act) {
  const start = performance.now();
  act();
  document.body.offsetHeight;
  result[name] = Math.max(result[name], performance.now() - start);
  result.most_elements = Math.max(result.most_elements, elements());
}
const choose = (id, value) => {
  byId(id).value = value;
  byId(id).dispatchEvent(new Event("change"));
};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

/** Keys, pages, orders, filters, labels: all at once, so that milliseconds are real ones. */
function driveKeys() {
  result.clusters = order.length;
  result.pages = pages();
  // Verdicts by keys: a whole cluster, single rows, and one that is taken back.
  timed("slowest_mark_ms", () => press("R"));
  for (const key of ["r", "w", "w", "j", "r", "j", "w", "u", "ArrowRight", "w"]) {
    timed("slowest_mark_ms", () => press(key));
  }
  press("j");
  const before = marks.size;
  press("r");
  press("ArrowLeft");
  press("u");
  if (marks.size !== before) throw new Error("a verdict was not taken back");
  // Pages.
  for (let i = 0; i < 60; i++) timed("slowest_page_ms", () => press("n"));
  if (page !== 60) throw new Error("expected page 60, found " + page);
  for (let i = 0; i < 30; i++) timed("slowest_page_ms", () => press("j"));
  if (page !== 61 || at !== 6) throw new Error("expected item 6 of page 61: " + [page, at]);
  timed("slowest_page_ms", () => choose("page", 417));
  result.last_page_cards = document.querySelectorAll("[data-at]").length;
  if (turn(1)) throw new Error("there is a page after the last");
  // Orders and filters.
  for (const sort of ["edge", "duplicates", "freed", "weakest", "size"]) {
    timed("slowest_sort_ms", () => choose("sort", sort));
  }
  result.largest = document.querySelector("h2").firstChild.textContent;
  document.querySelectorAll("[data-low]")[30].dispatchEvent(new Event("click"));
  result.in_band = order.length;
  timed("slowest_sort_ms", () => byId("all").click());
  if (order.length !== result.clusters) throw new Error("a filter stays");
  choose("label", "same_pixels");
  if (order.length === 0 || order.length > result.clusters) throw new Error("labels do not filter");
  choose("label", "");
  // Labels.
  HTMLAnchorElement.prototype.click = function () { result.download = this.download; };
  press("s");
  keep();
  result.stored = JSON.parse(localStorage.getItem(STORE)).length;
  result.marks = marks.size;
  result.right = [...marks.values()].filter((one) => one.verdict === "right").length;
  result.csv = labels();
}
/** Pairs side by side, with their difference. */
async function drivePairs() {
  document.querySelector('[data-view="near"]').click();
  result.near = order.length;
  press("w");
  document.querySelector('[data-view="sample"]').click();
  result.sample = order.length;
  press("r");
  press("r");
  await wait(1000);
  const seen = [...document.querySelectorAll("canvas")].filter((canvas) => canvas.width > 1);
  const differs = (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, i) => i % 4 !== 3 && value > 8);
  };
  result.difference_is_drawn = seen.length > 3 && seen.some(differs) ? 1 : 0;
  press("Enter");
  const sides = document.querySelectorAll("dialog .side").length;
  result.compared = byId("compare").open && sides === 3 ? 1 : 0;
  byId("close").click();
  result.judged = marks.size;
}

function tell(error) {
  if (error) result.error = String(error.stack);
  unsaved = 0;
  const out = document.createElement("pre");
  out.id = "result";
  out.textContent = JSON.stringify(result);
  // Without the data, which would be written out again.
  document.body.replaceChildren(out);
}
if (location.hash === "#pairs") drivePairs().then(() => tell(null), tell);
else {
  try {
    driveKeys();
    tell(null);
  } catch (error) {
    tell(error);
  }
}
