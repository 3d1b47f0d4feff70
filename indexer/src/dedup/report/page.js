"use strict";
// Data lies in blocks of JSON, which are read when a page needs them.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const HEAD = read("head");
const INDEX = read("index");
const LABELS = ["same_file", "same_pixels", "copy", "near"];
const WORDS = ["same file", "same pixels", "copy", "near"];
const PAGE_CLUSTERS = 24;
const PAGE_PAIRS = 12;
const blocks = new Map();
const byId = (id) => document.getElementById(id);

/** An item of a list of blocks; a few blocks stay in memory. */
function item(kind, at) {
  const size = kind === "c" ? HEAD.cluster_block : HEAD.pair_block;
  const id = kind + Math.floor(at / size);
  let block = blocks.get(id);
  if (block === undefined) {
    block = read(id);
    blocks.set(id, block);
    if (blocks.size > 40) blocks.delete(blocks.keys().next().value);
  }
  return block[at % size];
}

// ---- Text and elements ----
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const number = (n) => n.toLocaleString("en-US");
const score = (s) => (s === null ? "not known" : s.toFixed(3));
function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  for (; n >= 1000 && unit < 5; unit++) n /= 1000;
  return (unit === 0 ? number(n) : n.toFixed(1)) + " " + units[unit];
}
const counted = (n, noun) => number(n) + " " + noun + (n === 1 ? "" : "s");
// Names may hold anything: nothing of it moves a line or its direction.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const plain = (name) => name.replace(CONTROLS, "\ufffd");
const nameOf = (row) => (row.key === "" ? "id " + row.id : plain(row.key));
/** The end of a long name, which tells it from others. */
const ending = (name) => (name.length > 24 ? "…" + name.slice(-23) : name);

// ---- Verdicts ----
const STORE = "ocelli-dedup-" + HEAD.run;
let marks = new Map();
let unsaved = 0;
try {
  marks = new Map(JSON.parse(localStorage.getItem(STORE) || "[]"));
} catch (error) {
  byId("note").textContent = "This browser keeps nothing for the page: save before you close it.";
}
const pairKey = (a, b) => a.row < b.row ? a.row + "-" + b.row : b.row + "-" + a.row;
const verdict = (a, b) => (marks.get(pairKey(a, b)) || {}).verdict || "";
function mark(a, b, of, what) {
  const key = pairKey(a, b);
  if (what === "") marks.delete(key);
  else {
    const [first, second] = a.row < b.row ? [a, b] : [b, a];
    marks.set(key, {
      id_a: first.id, id_b: second.id, key_a: first.key, key_b: second.key,
      old_a: first.old, old_b: second.old, score: of.score,
      label: of.label, verdict: what, band: of.band || "", band_pairs: of.band_pairs || "",
    });
  }
  unsaved++;
  clearTimeout(mark.waits);
  mark.waits = setTimeout(keep, 300);
  showMarks();
}
function keep() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...marks]));
  } catch (error) {
    byId("note").textContent = "This browser keeps no more: save the labels.";
  }
}
function showMarks() {
  let right = 0;
  for (const one of marks.values()) right += one.verdict === "right";
  byId("marks").textContent =
    counted(right, "pair") + " right, " + number(marks.size - right) + " wrong" +
    (unsaved > 0 ? ", not saved" : "");
  byId("save").disabled = marks.size === 0;
}
const COLUMNS =
  ["id_a", "id_b", "key_a", "key_b", "old_a", "old_b", "score", "label", "verdict", "band",
    "band_pairs"];
function labels() {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const lines = [...marks].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([, one]) => COLUMNS.map((name) => cell(one[name])).join(","));
  return [COLUMNS.join(","), ...lines].join("\n") + "\n";
}
function save() {
  if (marks.size === 0) return;
  const url = URL.createObjectURL(new Blob([labels()], { type: "text/csv" }));
  make("a", { href: url, download: "labels.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  unsaved = 0;
  showMarks();
}

// ---- What is shown ----
let view = "clusters";
let order = [];
let page = 0;
let at = 0; // Item on the page.
let member = 1; // Row of the cluster.
const pageSize = () => (view === "clusters" ? PAGE_CLUSTERS : PAGE_PAIRS);
const pages = () => Math.max(1, Math.ceil(order.length / pageSize()));

function sortAndFilter() {
  const [low, high] = [Number(byId("low").value), Number(byId("high").value)];
  const label = byId("label").value;
  const outside = (s) => s !== null && (s < low || s > high);
  order = [];
  if (view === "clusters") {
    const { size, weakest, edge, freed, duplicates, labels: masks } = INDEX;
    const wanted = label === "" ? -1 : 1 << LABELS.indexOf(label);
    for (let i = 0; i < size.length; i++) {
      if (!outside(weakest[i]) && (wanted === -1 || masks[i] & wanted)) order.push(i);
    }
    const nothing = (value) => (value === null ? -Infinity : value);
    const by = {
      size: (a, b) => size[b] - size[a],
      weakest: (a, b) => nothing(weakest[a]) - nothing(weakest[b]),
      edge: (a, b) => nothing(edge[a]) - nothing(edge[b]),
      freed: (a, b) => freed[b] - freed[a],
      duplicates: (a, b) => duplicates[b] - duplicates[a],
    }[byId("sort").value];
    order.sort((a, b) => by(a, b) || a - b);
  } else {
    const kind = view === "sample" ? 1 : 0;
    const { pair_score: of, pair_label: labelOf, pair_kind: kinds } = INDEX;
    for (let i = 0; i < of.length; i++) {
      const fits = label === "" || labelOf[i] === LABELS.indexOf(label);
      if (kinds[i] === kind && fits && !outside(of[i])) order.push(i);
    }
    const far = (i) => Math.abs(of[i] - HEAD.threshold);
    order.sort((a, b) => (kind === 1 ? 0 : far(a) - far(b)) || a - b);
  }
  [page, at, member] = [0, 0, 1];
  show();
}

function picture(row, size) {
  if (row.t === null) {
    return make("div", { class: "none", role: "img", "aria-label": nameOf(row) }, row.why);
  }
  const src = "data:image/jpeg;base64," + row.t;
  return make("img", { src, alt: nameOf(row), decoding: "async", class: size || "" });
}
const facts = (row) =>
  [row.w === null ? null : row.w + " × " + row.h, row.bytes === null ? null : bytes(row.bytes)]
    .filter((fact) => fact !== null).join(", ");

function figure(cluster, number) {
  const row = cluster.rows[number];
  const first = cluster.rows[0];
  const goes = row.duplicate_of !== null;
  const chips = make("span", { class: "chips" });
  if (row.label !== null) chips.append(make("span", { class: "chip" }, WORDS[row.label]));
  chips.append(make("span", { class: "chip " + (goes ? "goes" : "stays") },
    goes ? "goes" : row.old ? "stays, old" : "stays"));
  const said = number > 0 ? verdict(first, row) : "";
  return make("figure", {
    class: (goes ? "goes " : "stays ") + said, "data-member": number, title: nameOf(row),
  },
  picture(row),
  make("figcaption", {},
    make("span", { class: "score" }, number === 0 ? "representative" : score(row.similarity)),
    " ", chips, make("span", { class: "key" }, ending(nameOf(row))),
    make("span", { class: "soft" }, facts(row))));
}

function clusterCard(place, index) {
  const cluster = item("c", index);
  const shown = cluster.rows.map((row, number) => figure(cluster, number));
  const hidden = INDEX.size[index] - cluster.rows.length;
  return make("section", { class: "card", "data-at": place },
    make("h2", {}, "Cluster " + number(INDEX.number[index]), make("span", { class: "soft" },
      counted(INDEX.size[index], "row") + ", " + counted(INDEX.duplicates[index], "duplicate") +
      "; weakest similarity " + score(INDEX.weakest[index]) +
      ", weakest link " + score(INDEX.edge[index]) +
      (INDEX.freed[index] > 0 ? "; frees " + bytes(INDEX.freed[index]) : ""))),
    make("div", { class: "row" }, ...shown),
    hidden > 0 ? make("p", { class: "soft" }, counted(hidden, "more row") +
      " of this cluster in clusters.parquet") : null);
}

/** Both pictures, and where they differ: brightness three times as strong. */
function difference(a, b) {
  const canvas = make("canvas", { class: "difference", width: 1, height: 1 });
  if (a.t === null || b.t === null) return make("div", { class: "none" }, "nothing to compare");
  const load = (row) => new Promise((done, failed) => {
    const image = new Image();
    image.onload = () => done(image);
    image.onerror = failed;
    image.src = "data:image/jpeg;base64," + row.t;
  });
  Promise.all([load(a), load(b)]).then(([one, two]) => {
    const [width, height] = [one.naturalWidth, one.naturalHeight];
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const pixels = (image) => {
      context.drawImage(image, 0, 0, width, height);
      return context.getImageData(0, 0, width, height);
    };
    const [left, right] = [pixels(one), pixels(two)];
    for (let i = 0; i < left.data.length; i++) {
      if (i % 4 !== 3) left.data[i] = Math.min(255, 3 * Math.abs(left.data[i] - right.data[i]));
    }
    context.putImageData(left, 0, 0);
  }, () => canvas.replaceWith(make("div", { class: "none" }, "nothing to compare")));
  return canvas;
}
function sides(a, b) {
  const side = (row, name) => make("figure", { class: "side" }, picture(row, "large"),
    make("figcaption", {}, make("b", {}, name), " ", make("span", { class: "key" }, nameOf(row)),
      make("span", { class: "soft" }, facts(row))));
  return make("div", { class: "sides" }, side(a, "A"), side(b, "B"),
    make("figure", { class: "side" }, difference(a, b),
      make("figcaption", {}, make("b", {}, "difference"), " ",
        make("span", { class: "soft" }, "black: equal; B is stretched to the shape of A"))));
}
function pairCard(place, index) {
  const pair = item("p", index);
  const below = pair.score < HEAD.threshold;
  return make("section", { class: "card pair " + verdict(pair.a, pair.b), "data-at": place },
    make("h2", {}, score(pair.score) + " ",
      make("span", { class: "chip" }, WORDS[pair.label]),
      make("span", { class: "soft" },
        (below ? "below" : "above") + " the threshold" +
        (pair.phash === null ? "" : "; " + counted(pair.phash, "bit") + " of 64 differ") +
        (pair.agreement === null ? "" : "; " + (100 * pair.agreement).toFixed(0) + " % agree"))),
    sides(pair.a, pair.b));
}

function show() {
  const list = byId("list");
  const start = page * pageSize();
  const card = view === "clusters" ? clusterCard : pairCard;
  const cards = order.slice(start, start + pageSize()).map((index, place) => card(place, index));
  list.replaceChildren(...cards);
  if (cards.length === 0) list.append(make("p", { class: "soft" }, "Nothing to show."));
  byId("page").value = page + 1;
  byId("page").max = pages();
  byId("pages").textContent = "of " + number(pages()) + "; " +
    counted(order.length, view === "clusters" ? "cluster" : "pair");
  byId("back").disabled = page === 0;
  byId("next").disabled = page + 1 >= pages();
  for (const tab of document.querySelectorAll("[data-view]")) {
    tab.setAttribute("aria-selected", String(tab.dataset.view === view));
  }
  byId("sort").disabled = view !== "clusters";
  select(false);
}

function shownPair() {
  const index = order[page * pageSize() + at];
  if (index === undefined) return null;
  if (view !== "clusters") {
    const pair = item("p", index);
    return { a: pair.a, b: pair.b, of: { ...pair, label: LABELS[pair.label] } };
  }
  const { rows } = item("c", index);
  if (rows[member] === undefined) return null;
  const { similarity, label } = rows[member];
  const of = { score: similarity, label: label === null ? "" : LABELS[label] };
  return { a: rows[0], b: rows[member], of };
}

function select(scroll) {
  for (const old of document.querySelectorAll(".selected")) old.classList.remove("selected");
  const card = document.querySelector('[data-at="' + at + '"]');
  if (card === null) return;
  card.classList.add("selected");
  const figure = card.querySelector('[data-member="' + member + '"]');
  if (view === "clusters" && figure !== null) figure.classList.add("selected");
  if (scroll) (figure || card).scrollIntoView({ block: "nearest" });
  if (scroll && figure === null) card.scrollIntoView({ block: "nearest" });
}

function turn(by) {
  const to = Math.min(Math.max(page + by, 0), pages() - 1);
  if (to === page) return false;
  [page, at, member] = [to, 0, 1];
  show();
  window.scrollTo(0, byId("list").offsetTop - byId("tools").offsetHeight - 8);
  return true;
}
function move(by) {
  const to = at + by;
  const last = Math.min(pageSize(), order.length - page * pageSize()) - 1;
  if (to > last) return turn(1);
  if (to < 0) {
    if (!turn(-1)) return false;
    at = pageSize() - 1;
  } else at = to;
  member = 1;
  select(true);
  return true;
}
function step(by) {
  if (view !== "clusters") return move(by);
  const { rows } = item("c", order[page * pageSize() + at]);
  if (member + by < 1) return move(-1);
  if (member + by >= rows.length) return move(1);
  member += by;
  select(true);
  return true;
}
function judge(what, all) {
  const pair = shownPair();
  if (pair === null) return;
  if (all && view === "clusters") {
    const { rows } = item("c", order[page * pageSize() + at]);
    rows.slice(1).forEach((row) => mark(rows[0], row,
      { score: row.similarity, label: row.label === null ? "" : LABELS[row.label] }, what));
  } else mark(pair.a, pair.b, pair.of, what);
  paint();
  if (what !== "") all ? move(1) : step(1);
  if (byId("compare").open) compare();
}
/** Shows the verdicts of the selected card. */
function paint() {
  const card = document.querySelector('[data-at="' + at + '"]');
  const set = (element, said) => {
    element.classList.toggle("right", said === "right");
    element.classList.toggle("wrong", said === "wrong");
  };
  const index = order[page * pageSize() + at];
  if (view !== "clusters") {
    const pair = item("p", index);
    set(card, verdict(pair.a, pair.b));
    return;
  }
  const { rows } = item("c", index);
  for (const figure of card.querySelectorAll("[data-member]")) {
    const number = Number(figure.dataset.member);
    if (number > 0) set(figure, verdict(rows[0], rows[number]));
  }
}
function compare() {
  const pair = shownPair();
  if (pair === null) return;
  const said = verdict(pair.a, pair.b);
  byId("compared").replaceChildren(
    make("h2", { class: said },
      score(pair.of.score) + " " + (pair.of.label || "").replace("_", " ")),
    sides(pair.a, pair.b));
  if (!byId("compare").open) byId("compare").showModal();
}

// ---- Events ----
const KEYS = {
  j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1),
  ArrowRight: () => step(1), ArrowLeft: () => step(-1),
  n: () => turn(1), p: () => turn(-1),
  r: () => judge("right", false), w: () => judge("wrong", false), u: () => judge("", false),
  R: () => judge("right", true), W: () => judge("wrong", true), U: () => judge("", true),
  s: save, Enter: compare, c: compare,
};
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName);
  const pressing = event.target.tagName === "BUTTON" && event.key === "Enter";
  if (typing || pressing || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = KEYS[event.key];
  if (act === undefined) return;
  event.preventDefault();
  act();
  if (byId("compare").open) compare();
});
byId("list").addEventListener("click", (event) => {
  const card = event.target.closest("[data-at]");
  if (card === null) return;
  const figure = event.target.closest("[data-member]");
  const again = figure !== null && figure.classList.contains("selected");
  at = Number(card.dataset.at);
  if (figure !== null) member = Math.max(1, Number(figure.dataset.member));
  select(false);
  if (again) compare();
});
for (const tab of document.querySelectorAll("[data-view]")) {
  tab.addEventListener("click", () => {
    view = tab.dataset.view;
    tab.blur();
    sortAndFilter();
  });
}
for (const id of ["sort", "low", "high", "label"]) {
  byId(id).addEventListener("change", (event) => {
    event.target.blur();
    sortAndFilter();
  });
}
for (const bar of document.querySelectorAll("[data-low]")) {
  bar.addEventListener("click", () => {
    byId("low").value = bar.dataset.low;
    byId("high").value = bar.dataset.high;
    sortAndFilter();
  });
}
byId("all").addEventListener("click", () => {
  [byId("low").value, byId("high").value, byId("label").value] = [HEAD.least, HEAD.most, ""];
  sortAndFilter();
});
byId("back").addEventListener("click", () => turn(-1));
byId("next").addEventListener("click", () => turn(1));
byId("page").addEventListener("change", (event) => {
  turn(Math.floor(Number(event.target.value)) - 1 - page);
  event.target.blur();
});
byId("save").addEventListener("click", save);
byId("close").addEventListener("click", () => byId("compare").close());
for (const button of document.querySelectorAll("[data-judge]")) {
  button.addEventListener("click", () => {
    judge(button.dataset.judge, false);
    button.blur();
  });
}
window.addEventListener("beforeunload", (event) => {
  keep();
  if (unsaved > 0) event.preventDefault();
});
showMarks();
sortAndFilter();
