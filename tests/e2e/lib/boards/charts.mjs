// Panels as pictures: each takes a panel of a board's JSON, what it shows, and a place, and gives SVG and HTML. As Grafana 10 draws them in its dark theme.
import { format } from './units.mjs';

// Grafana's classic palette, in its dark theme.
const PALETTE = ['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#705da0', '#37872d', '#fade2a', '#447ebc', '#c15c17', '#890f02', '#0a437c', '#6d1f62', '#584477',
  '#b7dbab', '#f4d598', '#70dbed', '#f9ba8f', '#f29191', '#82b5d8', '#e5a8e2', '#aea2e0', '#629e51', '#e5ac0e', '#64b0c8', '#e0752d', '#bf1b00', '#0a50a1', '#962d82', '#614d93',
  '#9ac48a', '#f2c96d', '#65c5db', '#f9934e', '#ea6460', '#5195ce', '#d683ce', '#806eb7', '#3f6833', '#967302', '#2f575e', '#99440a', '#58140c', '#052b51', '#511749', '#3f2b5b',
  '#e0f9d7', '#fceaca', '#cffaff', '#f9e2d2', '#fce2de', '#badff4', '#f9d9f9', '#dedaf7'];
const NAMED = { green: '#73bf69', orange: '#ff9830', red: '#f2495c', yellow: '#fade2a', blue: '#5794f2' };
const [AXIS_WIDTH, TIME_HEIGHT, LEGEND_ROW] = [64, 20, 21];
// A legend below a graph takes so much of the panel at most; the rest of it is reached by scrolling.
const LEGEND_MAX = 0.35;
const TICKS = 5;

export const text = (value) => String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

// Each kind of panel that the boards have. `place` is { width, height, start, end, step }.
export const KINDS = { timeseries, stat, heatmap, bargauge, table };

function timeseries(panel, found, place) {
  const { custom, unit, thresholds, max: top } = panel.fieldConfig.defaults;
  const series = coloured(panel, found);
  const rows = legendRows(series.length, place.height);
  const frame = { left: AXIS_WIDTH, right: place.width - 8, top: 6, bottom: place.height - TIME_HEIGHT - (rows.shown + 1) * LEGEND_ROW - 6 };
  const isStacked = custom.stacking.mode === 'normal';
  const layers = isStacked ? stacked(series, place) : series.map(({ points }) => points.map(([time, value]) => [time, 0, value]));
  const highest = Math.max(custom.axisSoftMax ?? 0, ...layers.flat().map(([, , value]) => value).filter(Number.isFinite));
  const axis = ticks(top ?? highest, unit, top !== undefined);
  const x = (time) => frame.left + ((time - place.start) / (place.end - place.start)) * (frame.right - frame.left);
  const y = (value) => frame.bottom - (Math.min(value, axis.max) / axis.max) * (frame.bottom - frame.top);
  const lines = layers.map((layer, at) => {
    const { colour } = series[at];
    return pieces(layer, place.step).map((piece) => {
      const upper = piece.map(([time, , value]) => `${x(time).toFixed(1)},${y(value).toFixed(1)}`);
      const lower = [...piece].reverse().map(([time, base]) => `${x(time).toFixed(1)},${y(base).toFixed(1)}`);
      return `<polygon points="${[...upper, ...lower].join(' ')}" fill="${colour}" fill-opacity="${custom.fillOpacity / 100}"/><polyline points="${upper.join(' ')}" fill="none" stroke="${colour}" stroke-width="${custom.lineWidth + 0.3}"/>`;
    }).join('');
  });
  const limits = custom.thresholdsStyle.mode === 'line' ? thresholds.steps.filter(({ value }) => value !== null && value <= axis.max) : [];
  const marks = limits.map(({ value, color }) => `<line x1="${frame.left}" x2="${frame.right}" y1="${y(value)}" y2="${y(value)}" stroke="${NAMED[color]}" stroke-dasharray="6 5" stroke-opacity=".8"/>`);
  return `${svg(place, [grid(frame, axis, unit, y), clock(frame, place, x), ...lines, ...marks])}${legendTable(series, panel, rows)}`;
}

// How many rows of a legend are seen, and how many are not.
function legendRows(count, height) {
  const shown = Math.min(count, Math.max(1, Math.floor((height * LEGEND_MAX) / LEGEND_ROW) - 1));
  return { shown, hidden: count - shown };
}

function legendTable(series, panel, { shown, hidden }) {
  const { unit } = panel.fieldConfig.defaults;
  const { sortBy, sortDesc } = panel.options.legend;
  const lines = series.map(({ name, colour, points }) => {
    const values = points.map(([, value]) => value).filter(Number.isFinite);
    return { name, colour, 'Last *': values.at(-1), Max: Math.max(...values) };
  });
  if (sortBy) lines.sort((a, b) => (a[sortBy] - b[sortBy]) * (sortDesc ? -1 : 1));
  const line = ({ name, colour, 'Last *': last, Max }) => `<tr><th><i style="background:${colour}"></i>${text(name)}</th><td>${format(last, unit)}</td><td>${format(Max, unit)}</td></tr>`;
  const more = hidden > 0 ? `<b class="hidden">${hidden} more below</b>` : '';
  return `<table class="legend"><thead><tr><th>Name ${more}</th><td>Last *</td><td>Max</td></tr></thead><tbody>${lines.slice(0, shown).map(line).join('')}</tbody></table>`;
}

// Series on each other: [time, from, to], one list for each.
function stacked(series, { start, end, step }) {
  const sums = new Map();
  const times = Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, at) => start + at * step);
  return series.map(({ points }) => {
    const values = new Map(points.map(([time, value]) => [Math.round((time - start) / step), value]));
    return times.flatMap((time, at) => {
      const value = values.get(at);
      if (!Number.isFinite(value)) return [];
      const base = sums.get(at) ?? 0;
      sums.set(at, base + value);
      return [[time, base, base + value]];
    });
  });
}

// A line in pieces: where points are missing nothing is drawn.
function pieces(points, step) {
  const found = [[]];
  let before = null;
  for (const point of points) {
    if (!Number.isFinite(point[2])) continue;
    if (before !== null && point[0] - before > 1.5 * step) found.push([]);
    found.at(-1).push(point);
    before = point[0];
  }
  return found.filter((piece) => piece.length > 0);
}

// Round figures from 0 to `highest` or a little above; `fixed`: not above.
function ticks(highest, unit, fixed) {
  const most = highest > 0 ? highest : 1;
  const base = unit === 'bytes' ? 1024 ** Math.floor(Math.log(most) / Math.log(1024)) : 1;
  const rough = most / base / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = base * power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999));
  const max = fixed ? most : Math.ceil(most / step - 1e-6) * step;
  return { max, step, values: Array.from({ length: Math.floor(max / step + 1e-6) + 1 }, (_, at) => at * step) };
}

function grid(frame, axis, unit, y) {
  return axis.values.map((value) => `<line x1="${frame.left}" x2="${frame.right}" y1="${y(value)}" y2="${y(value)}" class="grid"/><text x="${frame.left - 8}" y="${y(value) + 4}" text-anchor="end">${format(value, unit, axis.step)}</text>`).join('');
}

function clock(frame, { start, end }, x) {
  const gap = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find((seconds) => (end - start) / seconds <= 5);
  const times = [];
  for (let time = Math.ceil(start / gap) * gap; time <= end; time += gap) times.push(time);
  const word = (time) => new Date(time * 1000).toISOString().slice(11, gap < 60 ? 19 : 16);
  return times.filter((time) => x(time) < frame.right - 20).map((time) => `<line x1="${x(time)}" x2="${x(time)}" y1="${frame.top}" y2="${frame.bottom}" class="grid"/><text x="${x(time)}" y="${frame.bottom + 15}" text-anchor="middle">${word(time)}</text>`).join('');
}

const svg = ({ width, height }, parts) => `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${parts.join('')}</svg>`;

// Series with the colours that the panel gives to their names, or else those of the palette: in turn, or by their names.
function coloured(panel, series) {
  const fixed = new Map(panel.fieldConfig.overrides.map(({ matcher, properties }) => [matcher.options, properties.find(({ id }) => id === 'color').value.fixedColor]));
  const byName = panel.fieldConfig.defaults.color.mode === 'palette-classic-by-name';
  return series.map((one, at) => ({ ...one, colour: NAMED[fixed.get(one.name)] ?? PALETTE[(byName ? hash(one.name) : at) % PALETTE.length] }));
}

const hash = (name) => Math.abs([...name].reduce((sum, letter) => ((sum << 5) - sum + letter.charCodeAt(0)) | 0, 0));

// The colour of the last threshold that a value reaches.
const judged = (value, { steps }) => NAMED[steps.filter((step) => step.value === null || value >= step.value).at(-1).color];

function stat(panel, series, place) {
  const { unit, thresholds } = panel.fieldConfig.defaults;
  const byName = panel.options.textMode === 'name';
  const size = Math.max(15, Math.min(place.height / series.length / (series.length > 1 ? 2.2 : 1.7), 46));
  const values = series.map(({ name, points }) => {
    const value = points.at(-1)[1];
    const [large, small] = byName ? [name, ''] : [format(value, unit), series.length > 1 || name ? name : ''];
    const room = Math.min(size, (1.4 * place.width) / Math.max(3, large.length));
    return `<p style="color:${judged(value, thresholds)};font-size:${room}px">${small ? `<small>${text(small)}</small>` : ''}${text(large)}</p>`;
  });
  return `<div class="stat">${values.join('')}</div>`;
}

// A bar for each series, as long as its last value says.
function bargauge(panel, series, place) {
  const { unit, thresholds, max } = panel.fieldConfig.defaults;
  const most = max ?? Math.max(...series.map(({ points }) => points.at(-1)[1]));
  const rows = series.map(({ name, points }) => {
    const value = points.at(-1)[1];
    const colour = judged(value, thresholds);
    const share = most > 0 ? Math.max(0, Math.min(1, value / most)) : 0;
    return `<tr style="height:${Math.min(40, place.height / series.length)}px"><th>${text(name)}</th><td class="bar"><i style="width:${100 * share}%;background:${colour}40;border-right:2px solid ${colour}"></i></td><td style="color:${colour}">${format(value, unit)}</td></tr>`;
  });
  return `<table class="bars">${rows.join('')}</table>`;
}

// The rows of all queries, joined by a label, with the columns that are left and as they are called.
function table(panel, series) {
  const step = (id) => {
    const found = panel.transformations.find((one) => one.id === id);
    if (!found) throw new Error(`${panel.title}: a table without ${id}`);
    return found.options;
  };
  const [{ byField }, { excludeByName: hidden, renameByName: titles }] = [step('joinByField'), step('organize')];
  const columns = new Set([byField]);
  const rows = new Map();
  for (const { ref, metric, points } of series) {
    const { [byField]: key, ...labels } = metric;
    const cells = { ...labels, [`Value #${ref}`]: points.at(-1)[1] };
    for (const column of Object.keys(cells)) if (!hidden[column]) columns.add(column);
    rows.set(key, { [byField]: key, ...rows.get(key), ...cells });
  }
  const { unit } = panel.fieldConfig.defaults;
  const units = new Map(panel.fieldConfig.overrides.map(({ matcher, properties }) => [matcher.options, properties.find(({ id }) => id === 'unit')?.value]));
  const title = (column) => titles[column] ?? column;
  const cell = (row, column) => (typeof row[column] === 'number' ? format(row[column], units.get(title(column)) ?? unit) : row[column] ?? '');
  const [{ displayName, desc }] = panel.options.sortBy;
  const first = [...columns].find((column) => title(column) === displayName);
  const sorted = [...rows.values()].sort((a, b) => (a[first] < b[first] ? -1 : 1) * (desc ? -1 : 1));
  const head = [...columns].map((column) => `<th>${text(title(column))}</th>`).join('');
  const body = sorted.map((row) => `<tr>${[...columns].map((column) => `<td>${text(cell(row, column))}</td>`).join('')}</tr>`).join('');
  return `<table class="rows"><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
}

function heatmap(panel, series, place) {
  const unit = panel.options.yAxis.unit;
  const frame = { left: AXIS_WIDTH, right: place.width - 8, top: 6, bottom: place.height - TIME_HEIGHT - 34 };
  const rows = buckets(series);
  const most = Math.max(...rows.flatMap(({ cells }) => [...cells.values()]), 1e-9);
  const [shown, wide] = [rows.length, ((frame.right - frame.left) * place.step) / (place.end - place.start)];
  const tall = (frame.bottom - frame.top) / shown;
  const x = (time) => frame.left + ((time - place.start) / (place.end - place.start)) * (frame.right - frame.left);
  const { exponent } = panel.options.color;
  const cells = rows.flatMap(({ cells }, at) => [...cells].filter(([, count]) => count > 0).map(([time, count]) => `<rect x="${(x(time) - wide).toFixed(1)}" y="${(frame.bottom - (at + 1) * tall + 0.5).toFixed(1)}" width="${Math.max(1, wide - 0.5).toFixed(1)}" height="${Math.max(1, tall - 1).toFixed(1)}" fill="${orange((count / most) ** exponent)}"/>`));
  const every = Math.ceil((shown * 14) / (frame.bottom - frame.top));
  const labels = rows.map(({ le }, at) => (at % every ? '' : `<text x="${frame.left - 8}" y="${frame.bottom - (at + 1) * tall + 4}" text-anchor="end">${le === Infinity ? '+Inf' : format(le, unit)}</text>`));
  const scale = Array.from({ length: 40 }, (_, at) => `<rect x="${frame.left + at * 4}" y="${place.height - 20}" width="4" height="9" fill="${orange(at / 39)}"/>`);
  const ends = `<text x="${frame.left - 8}" y="${place.height - 12}" text-anchor="end">0</text><text x="${frame.left + 168}" y="${place.height - 12}">${format(most, 'short')}</text>`;
  return svg(place, [clock(frame, place, x), ...cells, ...labels, ...scale, ends]);
}

// Cumulative buckets as those that each hold what is between two bounds, from the first to the last that ever held anything.
function buckets(series) {
  const sorted = series.map(({ metric, points }) => ({ le: metric.le === '+Inf' ? Infinity : Number(metric.le), points: new Map(points) })).sort((a, b) => a.le - b.le);
  const rows = sorted.map(({ le, points }, at) => ({ le, cells: new Map([...points].map(([time, value]) => [time, Math.max(0, value - (sorted[at - 1]?.points.get(time) ?? 0))])) }));
  const holds = ({ cells }) => [...cells.values()].some((count) => count > 0);
  return rows.slice(Math.max(0, rows.findIndex(holds) - 1), rows.findLastIndex(holds) + 2);
}

const orange = (share) => `hsl(${38 - 22 * share} 90% ${14 + 56 * share}%)`;
