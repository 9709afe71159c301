// Draws the report's charts from the one block of data, to the width of the page, and again when that changes.
(async () => {
  const text = (id) => document.getElementById(id).textContent;
  const { charts, config, datasets } = JSON.parse(text("report"));
  if (!Object.keys(charts).length) return;

  // The library travels compressed: a third of its size.
  const packed = Uint8Array.from(atob(text("library")), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(stream).text();
  document.head.append(library);

  // Rows travel as lists under one list of their columns.
  const unpack = ({ columns, rows }) =>
    rows.map((row) => Object.fromEntries(row.map((value, place) => [columns[place], value])));
  const rows = Object.fromEntries(Object.entries(datasets).map(([name, data]) => [name, unpack(data)]));
  const longest = { gate: 1, depth: 1 };
  for (const row of rows.sweep) for (const key in longest) longest[key] = Math.max(longest[key], String(row[key]).length);

  const AXIS = 74, GAP = 24, NARROWEST = 190;
  const fitted = (chart, width) => {
    const spec = structuredClone(chart);
    delete spec.title; // the page has its own
    spec.datasets = rows;
    spec.background = null;
    spec.padding = { left: 0, right: 10, top: 4, bottom: 4 };
    const inside = width - AXIS - 10;
    if (spec.facet) {
      spec.columns = Math.max(1, Math.min(spec.columns, Math.floor((inside + GAP) / (NARROWEST + GAP))));
      spec.spec.width = Math.floor((inside - GAP * (spec.columns - 1)) / spec.columns);
    } else {
      spec.width = inside;
    }
    const entry = 40 + 7 * longest[spec.facet ? "depth" : "gate"];
    const legend = { ...config.legend, columns: Math.max(2, Math.floor(inside / entry)) };
    if (inside < 560) {
      legend.titleOrient = "top";
      legend.layout = { top: { direction: "vertical", anchor: "start", margin: 8 } };
    }
    spec.config = { ...config, legend };
    return spec;
  };

  const places = [...document.querySelectorAll("[data-chart]")];
  const views = new Map();
  const options = {
    mode: "vega-lite", renderer: "svg",
    actions: { export: true, source: false, compiled: false, editor: false },
  };
  const draw = async (place) => {
    views.get(place)?.finalize();
    const name = place.dataset.chart;
    views.set(place, await vegaEmbed(place, fitted(charts[name], place.clientWidth), { ...options, downloadFileName: name }));
  };
  let width = 0, waiting;
  const drawAll = async () => {
    width = document.body.clientWidth;
    for (const place of places) await draw(place);
    document.body.dataset.drawn = width;
  };
  addEventListener("resize", () => {
    clearTimeout(waiting);
    if (document.body.clientWidth !== width) waiting = setTimeout(drawAll, 150);
  });
  await drawAll();
})();
