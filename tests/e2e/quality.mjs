// Measures what people see on bad paths, with Chromium, and says which targets are reached.
//   node quality.mjs [--short] [--json FILE] [part of a case's name]
import fs from 'node:fs';
import { launchChromium, servePage } from './lib/browser.mjs';
import { CASES } from './lib/quality.mjs';

const args = process.argv.slice(2);
const take = (name) => { const at = args.indexOf(name); return at < 0 ? null : args.splice(at, 2)[1]; };
const json = take('--json');
const short = args.includes('--short');
const filter = args.find((arg) => !arg.startsWith('--')) ?? '';
const rows = [];
const round = (value) => (Number.isFinite(value) ? Math.round(value * 100) / 100 : null);

const page = await servePage();
try {
  for (const one of CASES.filter(({ name }) => name.includes(filter))) {
    for (const control of [null, ...(one.control ? [one.control] : [])]) {
      const browser = await launchChromium();
      try {
        console.log(`${one.name}${control ? `, ${control}` : ''}: ${one.what}`);
        const measures = await one.run({ browser, page, seconds: short ? one.short : one.full, off: control });
        const isOpen = ({ measure }) => one.open?.includes(measure) ?? false;
        const promised = (row) => one.promised && !isOpen(row);
        // A control that nothing notices is as bad as a promise that isn't kept.
        const broken = control ? measures.every((row) => row.met || isOpen(row)) : measures.some((row) => promised(row) && !row.met);
        for (const row of measures) {
          const { measure, value, unit, target, met } = row;
          console.log(`  ${measure.padEnd(28)} ${value.toFixed(1).padStart(9)} ${unit.padEnd(6)} ${target.padEnd(12)} ${target ? (met ? 'met' : 'not met') : ''}`);
          rows.push({ case: one.name, what: one.what, where: one.name.endsWith('-firefox') ? 'Firefox' : 'Chromium', control, promised: promised(row), broken, measure, unit, target, worst: round(value), median: round(value), met });
        }
        if (broken) console.log('  FAILS');
      } finally {
        await browser.close();
      }
    }
  }
} finally {
  page.close();
}
if (json) fs.writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`);
process.exitCode = rows.some(({ broken }) => broken) ? 1 : 0;
