// What operators see in Prometheus: the rules and alerts of scripts/prometheus do what they say.
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { onlyWhole } from '../lib/whole.mjs';

const root = path.join(path.dirname(new URL(import.meta.url).pathname), '../../..');
const folder = path.join(root, 'scripts/prometheus');
const run = promisify(execFile);

const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8');
const yaml = (name) => fs.readdirSync(path.join(folder, name)).map((file) => path.join(name, file));
const alerts = [...read('rules/alerts.yml').matchAll(/- alert: (\w+)\n(?: {8}.*\n)+/g)].map(([text, name]) => ({ name, text }));

// What promtool says of files, in `cwd`: { ok, text }.
const promtool = (args, cwd = folder) => run('promtool', args, { cwd, encoding: 'utf8' }).then(({ stdout, stderr }) => ({ ok: true, text: `${stdout}${stderr}` }), (error) => ({ ok: false, text: `${error.stdout}${error.stderr}` }));

// Runs `task` in a copy of the folder with other alerts.
async function changed(text, task) {
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-rules-'));
  try {
    fs.cpSync(folder, copy, { recursive: true });
    fs.writeFileSync(path.join(copy, 'rules/alerts.yml'), text);
    return await task(copy);
  } finally { fs.rmSync(copy, { recursive: true, force: true }); }
}

before(() => {
  const installed = spawnSync('bash', ['-c', 'source scripts/lib.sh && need prometheus prometheus && need promtool prometheus'], { cwd: root, encoding: 'utf8' });
  assert.equal(installed.status, 0, installed.stderr);
});

describe('rules', () => {
  test('promtool takes the rules and the configuration', async () => {
    for (const args of [['check', 'rules', '--lint-fatal', ...yaml('rules')], ['check', 'config', 'prometheus.yml']]) {
      const { ok, text } = await promtool(args);
      assert.ok(ok, text);
    }
    const broken = await changed(read('rules/alerts.yml').replace('> 10\n', '> > 10\n'), (copy) => promtool(['check', 'rules', 'rules/alerts.yml'], copy));
    assert.ok(!broken.ok, 'the control: it does not take everything');
  });

  test('every alert comes when it should, and does not when it should not', async () => {
    const { ok, text } = await promtool(['test', 'rules', ...yaml('tests')]);
    assert.ok(ok, text);
    // The control: a node that is silent for longer than nodes ever are.
    const deaf = read('rules/alerts.yml').replace('ringcast_master_link_lag_seconds > 10\n', 'ringcast_master_link_lag_seconds > 1e9\n');
    assert.ok(!(await changed(deaf, (copy) => promtool(['test', 'rules', 'tests/nodes.yml'], copy))).ok);
  });

  test('every alert has a severity, words, a section of the runbook and a test', () => {
    const sections = [...read('RUNBOOK.md').matchAll(/^### (\w+)\n\*\*Means:\*\* .{20}[^]*?\n\*\*Do:\*\* .{20}/gm)].map((found) => found[1]);
    const tests = yaml('tests').map(read).join('\n');
    assert.ok(alerts.length > 30, `${alerts.length} alerts were found`);
    assert.deepEqual(alerts.map((a) => a.name).sort(), sections.sort());
    for (const { name, text } of alerts) {
      assert.match(text, /severity: (critical|warning)/, name);
      assert.match(text, /\n {10}summary: ".+"\n {10}description: ".+"\n/, name);
      assert.ok(text.includes(`runbook: scripts/prometheus/RUNBOOK.md#${name.toLowerCase()}\n`), name);
      // A label that words speak of is there when the alert comes.
      const comes = new RegExp(`alertname="${name}",alertstate="firing"\\}\\)\\n +eval_time: .+\\n +exp_samples:(?: \\[\\{|\\n +- \\{) labels: '\\{(.+?)\\}'`).exec(tests);
      assert.ok(comes, `${name}: no test has it come`);
      const spoken = new Set([...text.matchAll(/\$labels\.(\w+)/g)].map((found) => found[1]));
      // All series of a cluster have the label of their target.
      for (const label of ['cluster', 'instance']) spoken.delete(label);
      assert.deepEqual([...spoken].filter((label) => !comes[1].includes(`${label}="`)), [], `${name}: labels that it does not have`);
    }
  });

  test('the tests notice of every alert whether it never comes, or comes too early', onlyWhole, async () => {
    const all = read('rules/alerts.yml');
    for (const { name, text } of alerts) {
      const tests = yaml('tests').filter((file) => read(file).includes(name));
      for (const other of [text.replace(/expr: (.*)/, 'expr: ($1) and vector(0) == 1'), text.replace(/\n {8}for: .*/, '')]) {
        if (other === text) continue;
        const { ok } = await changed(all.replace(text, () => other), (copy) => promtool(['test', 'rules', ...tests], copy));
        assert.ok(!ok, `${name}: nobody noticed\n${other}`);
      }
    }
  });
});
