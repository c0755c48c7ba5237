// Floods of signalling from one address: they are refused by name, cost a bounded amount, and others join meanwhile as if nothing were.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startCluster } from '../lib/cluster.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { sleep } from '../lib/wait.mjs';

const SECONDS = Number(process.env.RINGCAST_FLOOD_SECONDS ?? 4);
const TARGET = 500; // ms, of the slowest of a hundred joins

const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];

function flood(kind, port) {
  const child = spawn(process.execPath, [path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../lib/flood.mjs'), kind, String(port), String(SECONDS)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data) => { text += data; });
  return new Promise((resolve) => { child.on('close', () => resolve(JSON.parse(text || '{}'))); });
}

describe('while one address floods', () => {
  let cluster;
  // Nobody here is a proxy: every address counts for itself.
  before(async () => { cluster = await startCluster({ workers: 1, master: { trusted_proxies: [], sockets_per_address_max: 200 } }); });
  after(() => cluster?.stop());

  const memory = () => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${cluster.masterPid}/status`, 'utf8'))[1]) / 1024;

  // A token by REST, a socket, a join, and away again: what somebody who comes has to wait for.
  async function joinOnce(n) {
    const began = performance.now();
    const token = await cluster.token(`legit-${n % 8}`);
    const rpc = await rpcSocket(cluster, `legit-${n % 8}`);
    await rpc.join(token);
    const took = performance.now() - began;
    rpc.close();
    return took;
  }

  async function joinsDuring(attack) {
    const waits = [];
    let over = false;
    attack.then(() => { over = true; });
    for (let n = 0; !over; n += 1) { waits.push(await joinOnce(n)); await sleep(20); }
    return waits;
  }

  for (const [kind, expected] of [['connects', '429'], ['loris', 'closed'], ['frames', 'closed 1009'], ['json', 'answered'], ['joins', 'answered']]) {
    test(kind, { timeout: 60_000 }, async () => {
      const attack = flood(kind, cluster.httpPort);
      const waits = await joinsDuring(attack);
      const counts = await attack;
      const p99 = quantile(waits, 0.99);
      console.log(`${kind}: ${counts.sent} in ${SECONDS} s answered ${JSON.stringify(counts.answers)}; ${waits.length} joins, median ${quantile(waits, 0.5).toFixed(0)} ms, p99 ${p99.toFixed(0)} ms; master ${memory().toFixed(0)} MiB`);
      assert.ok(counts.sent > 0);
      // Slow heads are let go after ten seconds, those beyond the limit at once.
      if (kind !== 'loris' || counts.sent > 1000) assert.ok((counts.answers[expected] ?? 0) > 0, JSON.stringify(counts));
      if (kind === 'connects') assert.ok(counts.answers['101'] <= 200);
      assert.ok(waits.length >= 5, 'somebody joined meanwhile');
      assert.ok(p99 < TARGET, `the p99 of joins is ${p99.toFixed(0)} ms`);
      assert.ok(memory() < 300, `${memory()} MiB`);
    });
  }
});
