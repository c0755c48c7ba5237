// What is wrong with a page by OpenMetrics 1.0, as far as our pages go: counters, gauges and histograms without times and exemplars.
const SUFFIXES = { counter: ['_total'], gauge: [''], histogram: ['_bucket', '_sum', '_count'] };
const NUMBER = /^(?:[+-]Inf|NaN|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;
const LABELS = /^\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"(?:,(?!\})|(?=\})))*\}$/;

export function complaintsOf(page) {
  const wrong = [];
  if (!page.endsWith('\n# EOF\n')) wrong.push('it has no end');
  const families = new Map();
  const series = new Set();
  let family = null;
  for (const line of page.split('\n').slice(0, -1)) {
    if (line === '# EOF') { family = null; continue; }
    const [, what, name, text] = /^# (HELP|TYPE|UNIT) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line) ?? [];
    if (what) {
      if (name !== family?.name) {
        if (families.has(name)) wrong.push(`${name} comes again`);
        family = { name, has: new Set(), samples: 0, buckets: new Map() };
        families.set(name, family);
      }
      if (family.has.has(what)) wrong.push(`${what} of ${name} comes again`);
      if (family.samples > 0) wrong.push(`${what} of ${name} comes after samples`);
      family.has.add(what);
      if (what === 'TYPE') family.type = text;
      if (what === 'UNIT' && !name.endsWith(`_${text}`)) wrong.push(`${name} does not end in its unit ${text}`);
      continue;
    }
    const [, sample, labels = '', value] = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$/.exec(line) ?? [];
    if (!sample) { wrong.push(`what is ${line}?`); continue; }
    if (!family || !(SUFFIXES[family.type] ?? []).some((suffix) => sample === family.name + suffix)) { wrong.push(`${sample} is no sample of ${family?.name}`); continue; }
    family.samples += 1;
    if (labels && !LABELS.test(labels)) wrong.push(`labels of ${line}`);
    if (!NUMBER.test(value)) wrong.push(`value of ${line}`);
    if (family.type === 'counter' && !(Number(value) >= 0)) wrong.push(`${line} counts down`);
    if (series.has(sample + labels)) wrong.push(`${sample}${labels} comes again`);
    series.add(sample + labels);
    if (sample.endsWith('_bucket')) bucket(family, labels, value, wrong);
  }
  for (const { name, type, has, buckets } of families.values()) {
    if (!type || !has.has('HELP')) wrong.push(`${name} has no type or no help`);
    for (const [labels, { bound }] of buckets) if (bound !== Infinity) wrong.push(`${name}${labels} does not end in +Inf`);
  }
  return wrong;
}

// Buckets of one series come in order and only grow.
function bucket(family, labels, value, wrong) {
  const [, text] = /le="([^"]*)"/.exec(labels) ?? [];
  const bound = text === '+Inf' ? Infinity : Number(text);
  if (text !== '+Inf' && !/[.e]/.test(text ?? '')) wrong.push(`le="${text}" of ${family.name} is no canonical number`);
  const of = labels.replace(/,?le="[^"]*"/, '');
  const before = family.buckets.get(of) ?? { bound: -Infinity, value: 0 };
  if (!(bound > before.bound && Number(value) >= before.value)) wrong.push(`${family.name}${labels} is out of order`);
  family.buckets.set(of, { bound, value: Number(value) });
}
