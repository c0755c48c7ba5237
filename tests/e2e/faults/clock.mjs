// The clock of the master's host is set while people talk: an hour forward, two back, and to where it was.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { COLORS } from '../lib/call.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { checkOrder } from '../lib/webhook.mjs';
import { call, endsOf, follow, inState, paperSession, startWorld } from './scene.mjs';

export const name = 'clock';
export const what = 'the clock jumps an hour forward and back: nobody is put out, no node crashes, no deadline comes early, a restart is understood by the nodes';

// Debian's package libfaketime, whatever the processor.
const library = () => fs.readdirSync('/usr/lib').map((one) => `/usr/lib/${one}/faketime/libfaketimeMT.so.1`).find((one) => fs.existsSync(one));

export async function run({ short, figure, log }) {
  const preloaded = library();
  if (!preloaded) throw new Error('libfaketime is missing: apt-get install faketime');
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'ringcast-clock-')), 'time');
  fs.writeFileSync(file, '+0\n');
  // Time that passes stays as it is: that is what clocks of this kind do when somebody sets the other one.
  const inside = ['env', `LD_PRELOAD=${preloaded}`, `FAKETIME_TIMESTAMP_FILE=${file}`, 'FAKETIME_NO_CACHE=1', 'DONT_FAKE_MONOTONIC=1', 'FAKETIME_DONT_FAKE_MONOTONIC=1'];
  const world = await startWorld({ nodes: 2, isolated: false, masterInside: inside });
  const { cluster, hook, close } = world;
  try {
    const talking = await call(world, 'talk', COLORS.red);
    const watching = follow(talking.b, talking.a.streamId);
    const held = await paperSession(cluster, 'held', { publish: true });
    // A deadline half an hour away.
    const drained = (await cluster.rest('GET', '/sessions/held')).body.mediaNodeId;
    const ordered = await cluster.rest('PATCH', `/media-nodes/${drained}`, { status: 'waiting-idle-to-terminate', deadline: '30m' });
    assert.equal(ordered.status, 200, JSON.stringify(ordered.body));
    for (const offset of ['+3600', '-3600', '+0']) {
      fs.writeFileSync(file, `${offset}\n`);
      await sleep(short ? 4_000 : 15_000);
      const made = (await cluster.rest('POST', '/sessions', {})).body.createdAt;
      log(`the clock says ${Math.round((made - Date.now()) / 1_000)} s from now`);
      assert.ok(Math.abs(made - Date.now() - Number(offset) * 1_000) < 5_000, 'the clock was really set');
      assert.equal(await inState(cluster, 'up'), 2, `all nodes are up at ${offset}`);
      assert.equal((await cluster.rest('GET', '/sessions/held')).status, 200, 'no deadline has come');
    }
    // A master that starts with its clock an hour back is still the later one.
    fs.writeFileSync(file, '-3600\n');
    await cluster.killMaster();
    await cluster.launchMaster();
    await until('all nodes obey it', async () => (await inState(cluster, 'up')) === 2, { timeout: 10_000 });
    const { still } = await watching.stop();
    figure('longest still picture meanwhile', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
    for (const who of [talking.a, talking.b]) assert.deepEqual(await endsOf(who), [], `${who.name} is still in`);
    assert.equal(hook.named('nodeCrashed').length, 0);
    assert.deepEqual(checkOrder(hook.events).disordered, []);
    held.close();
    await talking.close();
  } finally {
    await close();
    fs.rmSync(path.dirname(file), { recursive: true, force: true });
  }
}
