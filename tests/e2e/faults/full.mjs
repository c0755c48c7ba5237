// The disk of the master's state is full for a while.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { COLORS } from '../lib/call.mjs';
import { paperParticipant } from '../lib/paper.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { call, endsOf, follow, millisUntil, startWorld } from './scene.mjs';

export const name = 'full';
export const what = 'the disk of the master is full: calls go on, changes are refused with the cause, nothing is wrong or missing afterwards';

const run_ = promisify(execFile);

export async function run({ short, figure, log }) {
  const disk = fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-disk-'));
  await run_('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk]);
  try {
    const world = await startWorld({ nodes: 1, master: { data_dir: path.join(disk, 'master') } });
    try {
      await scene(world, disk, short ? 5_000 : 420_000, { figure, log });
    } finally {
      await world.close();
    }
  } finally {
    await run_('umount', ['-l', disk]);
    fs.rmdirSync(disk);
  }
}

async function scene(world, disk, millis, { figure, log }) {
  const { cluster, hook } = world;
  const health = async (which) => (await fetch(`http://${cluster.admin}/healthz/${which}`)).status;
  const make = (id) => cluster.rest('POST', '/sessions', { customSessionId: id });
  const talking = await call(world, 'talk', COLORS.red);
  assert.equal((await make('before')).status, 200);
  const waiting = await cluster.token('before');
  const watching = follow(talking.b, talking.a.streamId);
  const ballast = path.join(disk, 'ballast');
  fill(ballast);
  let refused = null;
  const accepted = [];
  for (let n = 0; !refused && n < 5_000; n += 1) {
    const answer = await make(`filling${n}`);
    if (answer.status === 200) accepted.push(`filling${n}`);
    else refused = answer;
    fill(ballast);
  }
  assert.equal(refused?.status, 503, JSON.stringify(refused));
  assert.match(refused.body.message, /disk is full/);
  log(`${accepted.length} more were accepted, then: ${refused.body.message}`);
  const since = Date.now();
  const join = await paperParticipant(cluster, 'before', { token: waiting }).then((who) => { who.close(); return null; }, (error) => error);
  assert.match(String(join), /disk is full/, 'whoever joins is told');
  assert.equal(await health('live'), 200, 'it lives');
  assert.equal(await health('ready'), 503, 'it is not ready');
  assert.equal((await cluster.masterMetrics()).sum('ringcast_master_store_failing'), 1);
  assert.equal((await cluster.rest('GET', '/sessions/before')).status, 200, 'who only looks is answered');
  await sleep(millis);
  figure('the disk was full for', (Date.now() - since) / 1_000, 's');
  fs.rmSync(ballast);
  const back = await millisUntil('changes are taken again', async () => (await make(`after${Date.now()}`)).status === 200, { timeout: 20_000, every: 50 });
  figure('room until changes are taken again', back, 'ms', { target: '≤ 10000', met: back <= 10_000 });
  assert.equal(await health('ready'), 200);
  const late = await paperParticipant(cluster, 'before', { token: await cluster.token('before') });
  const { still } = await watching.stop();
  figure('longest still picture meanwhile', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
  for (const who of [talking.a, talking.b]) assert.deepEqual(await endsOf(who), [], `${who.name} is still in`);
  // What was accepted is known to the next master, and told to applications.
  await cluster.killMaster();
  await cluster.launchMaster();
  const known = new Set((await cluster.rest('GET', '/sessions?pendingConnections=true')).body.content.map((s) => s.sessionId));
  for (const id of ['talk', 'before', ...accepted]) assert.ok(known.has(id), `${id} is known`);
  await until('all are told', () => accepted.every((id) => hook.named('sessionCreated', { sessionId: id }).length > 0), { timeout: 30_000 });
  late.close();
  await talking.close();
}

// Writes until nothing more fits.
function fill(file) {
  const out = fs.openSync(file, 'a');
  for (let size = 1 << 20; size >= 4096;) {
    try { fs.writeSync(out, Buffer.alloc(size)); } catch { size >>= 1; }
  }
  fs.closeSync(out);
}
