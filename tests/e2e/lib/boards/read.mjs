// The boards of scripts/grafana, and what their panels ask of a Prometheus server.
import fs from 'node:fs';
import path from 'node:path';

const folder = path.join(path.dirname(new URL(import.meta.url).pathname), '../../../../scripts/grafana');

// All of them, as Grafana would import them.
export const boards = () => fs.readdirSync(folder).filter((file) => file.endsWith('.json')).map((file) => JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')));

// The panels of a board that show something: all but the headlines of rows.
export const panels = (board) => board.panels.filter((panel) => panel.type !== 'row');

// An expression with the board's variables filled in; `values` are those of variables of which several may be chosen, `rate` the time that a rate is taken over.
export function filled(expression, { values, rate }) {
  const chosen = Object.entries(values).reduce((text, [name, all]) => text.replaceAll(`$${name}`, all.join('|')), expression.replaceAll('$__rate_interval', rate));
  const left = /\$\w+/.exec(chosen);
  if (left) throw new Error(`nobody says what ${left[0]} is in ${expression}`);
  return chosen;
}

// What a legend says of a series: `{{node}} in`.
export const legend = (format, metric) => format.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');

// What a panel shows from `start` to `end`, in seconds since 1970: [{ name, ref, metric, points: [[time, value], …] }, …],
// `ref` being the query that asked for it. What asks for one number gets its last point alone.
export async function ask(prometheus, panel, { values, rate, start, end, step }) {
  const found = await Promise.all(panel.targets.map(async (target) => {
    const expression = filled(target.expr, { values, rate });
    const series = target.instant
      ? (await prometheus.query(expression)).map(({ metric, value }) => ({ metric, points: [[end, value]] }))
      : (await prometheus.range(expression, { start, end, step })).map(({ metric, values }) => ({ metric, points: values }));
    return series.map((one) => ({ ...one, name: legend(target.legendFormat, one.metric), ref: target.refId }));
  }));
  // Grafana shows a series that has no numbers as one that is not there.
  return found.flat().filter(({ points }) => points.some(([, value]) => Number.isFinite(value)));
}
