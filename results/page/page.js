"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

/* Everything generated goes in as text, never as markup. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function draw(tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

/* Sorting: numbers by value, empty cells last, text alphabetically. */
const valueOf = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
function sort(table, column, head) {
  const down = head.getAttribute("aria-sort") === "ascending" || (!head.hasAttribute("aria-sort") && head.classList.contains("number"));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  const empty = (value) => value === "" || value === "–";
  rows.sort((a, b) => {
    const [x, y] = [valueOf(a, column), valueOf(b, column)];
    if (empty(x) || empty(y)) return empty(x) - empty(y);
    const numbers = [parseFloat(x), parseFloat(y)];
    const order = numbers.some(Number.isNaN) ? x.localeCompare(y, undefined, { numeric: true }) : numbers[0] - numbers[1];
    return down ? -order : order;
  });
  table.tBodies[0].append(...rows);
}
for (const table of document.querySelectorAll("table.sortable"))
  [...table.tHead.rows[0].cells].forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => sort(table, column, head)));

/* Filtering. */
const boards = [...document.querySelectorAll("table.board")];
const shots = new Set(boards.flatMap((table) => [...table.tBodies[0].rows].map((row) => row.dataset.shots)));
for (const value of [...shots].sort((a, b) => b - a)) byId("filter-shots").append(make("option", {}, value));
function filter() {
  const [name, method] = [byId("filter-data").value, byId("filter-method").value].map((text) => text.trim().toLowerCase());
  let shown = 0, all = 0;
  for (const table of boards) {
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.dataset.name.toLowerCase().includes(name)
        || (byId("filter-setting").value && row.dataset.setting !== byId("filter-setting").value)
        || (byId("filter-shots").value && row.dataset.shots !== byId("filter-shots").value);
      all += 1;
      shown += !row.hidden;
    }
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const hide = head.dataset.method !== undefined && !head.dataset.method.toLowerCase().includes(method);
      for (const row of table.rows) row.cells[column].hidden = hide;
    });
  }
  byId("shown").textContent = shown === all ? "" : `${shown} of ${all} rows`;
}
for (const id of ["filter-data", "filter-method", "filter-setting", "filter-shots"]) byId(id).addEventListener("input", filter);
filter();

/* Details of a record: the data holds records as lists of numbers, see page/content.py. */
function recordAt(place) {
  const [key, method, dataset, protocol, error, values, kinds, config, thumbs, scored] = data.records[place];
  const text = (number) => data.texts[number];
  return {
    key, title: `${text(method)} on ${text(dataset)}`, protocol: text(protocol), status: error < 0 ? "ok" : "failed",
    error: error < 0 ? "" : text(error), values: data.values.map((name, index) => [name, values[index]]),
    kinds: kinds.flatMap((_, index) => (index % 2 ? [] : [[text(kinds[index]), kinds[index + 1]]])),
    config: text(config), thumbs: text(thumbs), ...(scored || {}),
  };
}
const dialog = byId("details"), chooser = byId("record");
document.addEventListener("click", (event) => {
  const cell = event.target.closest("button.cell");
  if (!cell) return;
  const keys = cell.dataset.keys.split(" ");
  const records = new Map(keys.map((key) => [key, recordAt(key)]));
  keys.sort((a, b) => records.get(a).protocol.localeCompare(records.get(b).protocol, undefined, { numeric: true }));
  byId("details-title").textContent = records.get(keys[0]).title;
  chooser.replaceChildren(...keys.map((key) => {
    const record = records.get(key);
    const auc = record.status === "ok" ? `AUROC ${record.values[0][1].toFixed(4)}` : "failed";
    return make("option", { value: key }, `${record.title}, ${record.protocol}: ${auc}`);
  }));
  show(keys[0]);
  dialog.showModal();
});
chooser.addEventListener("input", () => show(chooser.value));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

function show(key) {
  const record = recordAt(key), body = byId("record-body");
  body.replaceChildren(make("p", {}, record.protocol));
  if (record.error) body.append(make("p", { class: "error" }, record.error));
  const charts = make("div", { class: "charts" });
  if (record.scores) charts.append(histogram(record), roc(record));
  charts.append(facts(record));
  body.append(charts);
  if (record.scores) {
    body.append(make("h3", {}, "Worst mistakes"), mistakes(record), make("h3", {}, "All scores"), scoreTable(record));
  } else if (record.status === "ok") {
    body.append(make("p", { class: "note" }, "The scores of this record are not part of this page."));
  }
  body.append(make("p", { class: "note" }, `Configuration ${record.config}; record ${record.key}…`));
}

function facts(record) {
  const table = make("table"), rows = table.createTBody();
  const line = (name, value) => rows.append(make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "number" }, String(value))));
  for (const [name, value] of record.values) if (value !== null) line(name, value);
  for (const [kind, value] of record.kinds) line(`AUROC on ${kind}`, value);
  return table;
}

const height = 210, margin = 28;
function frame(label, x, y, width) {
  const svg = draw("svg", { width, height, role: "img", "aria-label": label });
  svg.append(
    draw("path", { d: `M${margin} 8V${height - margin}H${width - 8}`, fill: "none", stroke: "var(--faint)" }),
    draw("text", { x: width / 2, y: height - 4, "text-anchor": "middle" }, x),
    draw("text", { x: 10, y: height / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${height / 2})` }, y));
  return svg;
}
function histogram(record) {
  const { labels } = data.images[record.images], width = 330;
  const sorted = Float64Array.from(record.scores).sort(), at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const low = at(0.01), high = at(0.95), bins = 30, step = (high - low) / bins || 1;  /* a few extreme scores would squeeze the rest */
  const counts = [new Array(bins).fill(0), new Array(bins).fill(0)], totals = [0, 0];
  record.scores.forEach((score, place) => {
    counts[labels[place]][Math.max(0, Math.min(bins - 1, Math.floor((score - low) / step)))] += 1;
    totals[labels[place]] += 1;
  });
  const shares = counts.map((one, label) => one.map((count) => count / (totals[label] || 1)));
  const most = Math.max(...shares.flat());
  const svg = frame(`Histogram of ${totals[0]} normal and ${totals[1]} anomalous scores`, `score, ${low.toPrecision(3)} to ${high.toPrecision(3)} (end bars: beyond)`, "share", width);
  const bar = (width - margin - 8) / bins, tall = height - margin - 12;
  shares.forEach((one, label) => one.forEach((share, bin) => share && svg.append(draw("rect", {
    x: margin + bin * bar + (label ? bar / 2 : 0), y: height - margin - tall * share / most, width: bar / 2, height: tall * share / most,
    fill: label ? "var(--anomaly)" : "var(--normal)" }))));
  return make("div", {}, svg, make("div", { class: "legend" },
    make("i", { style: "background:var(--normal)" }), "normal", make("i", { style: "background:var(--anomaly)" }), "anomaly"));
}
function roc(record) {
  const { labels } = data.images[record.images];
  const order = record.scores.map((_, place) => place).sort((a, b) => record.scores[b] - record.scores[a]);
  const positives = labels.reduce((sum, label) => sum + label, 0), negatives = labels.length - positives;
  const side = height - margin - 8, x0 = margin, y0 = height - margin;
  let path = `M${x0} ${y0}`, tp = 0, fp = 0;
  order.forEach((place, index) => {
    if (labels[place]) tp += 1; else fp += 1;
    if (index + 1 === order.length || record.scores[order[index + 1]] !== record.scores[place])
      path += `L${(x0 + side * fp / negatives).toFixed(1)} ${(y0 - side * tp / positives).toFixed(1)}`;
  });
  const svg = frame("ROC curve", "false positive rate", "true positive rate", margin + side + 8);
  svg.append(draw("path", { d: `M${x0} ${y0}L${x0 + side} ${y0 - side}`, stroke: "var(--line)", "stroke-dasharray": "3 3" }),
    draw("path", { d: path, fill: "none", stroke: "var(--link)", "stroke-width": 2 }));
  return svg;
}
function mistakes(record) {
  const images = data.images[record.images];
  if (!record.worst.length) return make("p", {}, "None: every anomaly scores above every normal.");
  return make("ol", { class: "mistakes" }, ...record.worst.map(([place, share]) => {
    const name = data.names[images.ids[place]], anomalous = images.labels[place] === 1;
    const what = anomalous ? `anomaly (${images.kinds[images.kind[place]]})` : "normal";
    const than = anomalous ? "of the normals score higher" : "of the anomalies score lower";
    const item = make("li");
    const picture = data.thumbs[`${record.thumbs}/${name}`];
    if (picture && picture.startsWith("data:image/")) item.append(make("img", { src: picture, alt: `${what}: ${name}` }));
    item.append(make("b", {}, what), make("div", {}, name), make("div", {}, `score ${record.scores[place]}; ${(100 * share).toFixed(1)} % ${than}`));
    return item;
  }));
}
function scoreTable(record) {
  const images = data.images[record.images], table = make("table"), body = table.createTBody();
  table.createTHead().append(make("tr", {}, ...["score", "image", "kind"].map((name) => make("th", { scope: "col" }, name))));
  const order = record.scores.map((_, place) => place).sort((a, b) => record.scores[b] - record.scores[a]);
  for (const place of order) body.append(make("tr", {}, make("td", { class: "number" }, String(record.scores[place])),
    make("td", {}, data.names[images.ids[place]]), make("td", {}, images.labels[place] ? images.kinds[images.kind[place]] : "normal")));
  return make("details", {}, make("summary", {}, `${order.length} test images, highest score first`), table);
}
