// What becomes of a cluster of real processes when its parts fail, with figures.
//   node faults.mjs [--short] [--json FILE] [part of a scenario's name]
import fs from 'node:fs';
import { SCENARIOS, perform } from './faults/all.mjs';
import { canIsolate } from './lib/netns.mjs';

const args = process.argv.slice(2);
const take = (name) => { const at = args.indexOf(name); return at < 0 ? null : args.splice(at, 2)[1]; };
const json = take('--json');
const short = args.includes('--short');
const filter = args.find((arg) => !arg.startsWith('--')) ?? '';

if (!(await canIsolate())) {
  console.error('nodes get network namespaces of their own, for which this must run as root');
  process.exit(2);
}
const chosen = SCENARIOS.filter(({ name }) => name.includes(filter));
if (chosen.length === 0) {
  console.error(`no scenario has "${filter}" in its name: ${SCENARIOS.map((s) => s.name).join(', ')}`);
  process.exit(2);
}
const rows = [];
let failed = 0;
for (const scenario of chosen) {
  console.log(`${scenario.name}: ${scenario.what}`);
  const began = Date.now();
  const outcome = await perform(scenario, { short, log: (line) => console.log(`  ${line}`) });
  rows.push(...outcome.rows);
  const broken = outcome.error || outcome.rows.some((row) => row.met === false);
  if (broken) failed += 1;
  if (outcome.error) console.log(`  ${outcome.error.stack}`);
  console.log(`  ${broken ? 'FAILED' : 'ok'}, ${((Date.now() - began) / 1_000).toFixed(0)} s`);
}
console.log('\n| scenario | figure | value | target | |\n|---|---|---|---|---|');
for (const { scenario, measure, value, unit, target, met } of rows) {
  console.log(`| ${scenario} | ${measure} | ${Number.isInteger(value) ? value : value.toFixed(1)} ${unit} | ${target} | ${target ? (met ? 'met' : 'NOT MET') : ''} |`);
}
if (json) fs.writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`);
console.log(`\n${chosen.length - failed} of ${chosen.length} scenarios ok`);
process.exitCode = failed ? 1 : 0;
