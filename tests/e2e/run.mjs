// Runs the test files one after the other: each starts its own cluster and browsers, and two cores carry one at a time.
//   node run.mjs [part of a file name]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const here = path.dirname(new URL(import.meta.url).pathname);
const filter = process.argv[2] ?? '';
const files = fs.readdirSync(path.join(here, 'tests')).filter((f) => f.endsWith('.test.mjs') && f.includes(filter)).sort();
if (files.length === 0) {
  console.error(`no test file has "${filter}" in its name`);
  process.exit(2);
}
const failed = [];
const started = Date.now();
for (const file of files) {
  const at = Date.now();
  console.log(`── ${file}`);
  const { status } = spawnSync(process.execPath, ['--test', '--test-reporter', 'spec', path.join(here, 'tests', file)], { stdio: 'inherit' });
  console.log(`   ${file}: ${status === 0 ? 'ok' : 'FAILED'}, ${((Date.now() - at) / 1000).toFixed(1)} s`);
  if (status !== 0) failed.push(file);
}
console.log(`end-to-end: ${files.length - failed.length} of ${files.length} files ok, ${((Date.now() - started) / 1000).toFixed(0)} s`);
if (failed.length > 0) {
  console.log(`failed: ${failed.join(', ')}`);
  process.exit(1);
}
