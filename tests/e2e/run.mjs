// Runs the test files: each starts its own cluster and browsers. Those that measure what people see have the machine for themselves; those that
// measure and need little of it share it with one of their kind; of the others several run side by side.
//   node run.mjs [--whole] [--lanes N] [part of a file name]
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const ALONE = ['18_runs', '19_quality', '23_priority', '25_cluster', '29_floods'];
const LIGHT = ['06_loss', '15_operators', '21_voice', '22_addresses', '22_paths', '22_restarts', '32_alerts'];
// What takes longest begins first, so that nobody waits for it alone in the end.
const LONG = ['22_paths', '21_voice', '20_simulcast', '34_everybody', '01_call', '26_nodes', '30_boards', '03_session'];

const here = path.dirname(new URL(import.meta.url).pathname);
const args = process.argv.slice(2);
if (args.includes('--whole')) process.env.RINGCAST_WHOLE = '1';
const at = args.indexOf('--lanes');
const lanes = at < 0 ? Math.max(1, Math.min(4, os.availableParallelism() + 1)) : Number(args.splice(at, 2)[1]);
const filter = args.find((arg) => !arg.startsWith('--')) ?? '';
const rank = (file) => { const at = LONG.findIndex((name) => file.startsWith(name)); return at < 0 ? LONG.length : at; };
const files = fs.readdirSync(path.join(here, 'tests')).filter((f) => f.endsWith('.test.mjs') && f.includes(filter)).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
if (files.length === 0 || !(lanes >= 1)) {
  console.error(files.length === 0 ? `no test file has "${filter}" in its name` : '--lanes wants a number');
  process.exit(2);
}

// What has not ended by then hangs: the longest file takes a few minutes.
const LIMIT = (process.env.RINGCAST_WHOLE ? 60 : 10) * 60_000;

const failed = [];
const running = new Set();

// One file, whose output is shown as it comes, or in one piece where others run beside it.
function run(file, { aside }) {
  const began = Date.now();
  if (!aside) console.log(`── ${file}`);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--test', '--test-reporter', 'spec', path.join(here, 'tests', file)], { stdio: aside ? ['ignore', 'pipe', 'pipe'] : 'inherit' });
    running.add(child);
    let output = '';
    for (const stream of aside ? [child.stdout, child.stderr] : []) stream.setEncoding('utf8').on('data', (text) => { output += text; });
    const late = setTimeout(() => {
      output += `it has not ended after ${LIMIT / 60_000} minutes and is ended now\n`;
      if (!aside) process.stdout.write(output);
      child.kill('SIGTERM');
      setTimeout(() => child.kill('SIGKILL'), 10_000).unref();
    }, LIMIT);
    child.on('close', (status) => {
      clearTimeout(late);
      running.delete(child);
      if (aside) console.log(`── ${file}\n${output.trimEnd()}`);
      console.log(`   ${file}: ${status === 0 ? 'ok' : 'FAILED'}, ${((Date.now() - began) / 1000).toFixed(1)} s`);
      if (status !== 0) failed.push(file);
      resolve();
    });
  });
}

// Whoever stops this stops what it started.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { for (const child of running) child.kill(signal); process.exit(130); });

const started = Date.now();
const isOneOf = (names) => (file) => names.some((name) => file.startsWith(name));
const [isAlone, isLight] = [isOneOf(ALONE), isOneOf(LIGHT)];

// Those files, `width` at a time.
async function runAll(files, width) {
  await Promise.all(Array.from({ length: width }, async () => { while (files.length > 0) await run(files.shift(), { aside: width > 1 }); }));
}

await runAll(files.filter(isAlone), 1);
// These measure ways and pictures, or wait: more of them side by side would keep two processors busy, and be what they measure.
await runAll(files.filter(isLight), Math.min(lanes, 2));
await runAll(files.filter((file) => !isAlone(file) && !isLight(file)), lanes);
console.log(`end-to-end: ${files.length - failed.length} of ${files.length} files ok, ${((Date.now() - started) / 1000).toFixed(0)} s`);
if (failed.length > 0) {
  console.log(`failed: ${failed.sort().join(', ')}`);
  process.exit(1);
}
