// The line between master and node is bad: it loses a third of everything, or takes two seconds.
import assert from 'node:assert/strict';
import { COLORS } from '../lib/call.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { call, endsOf, follow, inState, median, most, paperSession, startWorld } from './scene.mjs';

export const name = 'line';
export const what = 'the line between master and node loses 30 %, then takes two seconds each way: calls go on, and all is well when it is good again';

export async function run({ short, figure, log }) {
  const world = await startWorld({ nodes: 1, isolated: false, relayed: true, master: { node_silence: '15s' } });
  const { cluster, hook, close } = world;
  try {
    const [{ relay }] = cluster.nodes;
    const talking = await call(world, 'talk', COLORS.red);
    const watching = follow(talking.b, talking.a.streamId);
    const usual = await joins(cluster, 'usual', short ? 3 : 10);

    relay.set({ loss: 0.3 });
    await sleep(short ? 3_000 : 30_000);
    const before = { ...relay.counts };
    const lossy = await joins(cluster, 'lossy', short ? 5 : 20);
    const lost = (relay.counts.lost - before.lost) / (relay.counts.all - before.all);
    log(`${(lost * 100).toFixed(0)} % of ${relay.counts.all - before.all} datagrams were lost meanwhile`);
    assert.ok(lost > 0.1, 'the line really lost');
    log(`joining and publishing: ${median(usual)} ms usually, ${median(lossy)} ms (at most ${most(lossy)}) where 30 % are lost`);
    figure('joining and publishing where 30 % are lost, median', median(lossy), 'ms');
    figure('joining and publishing where 30 % are lost, most', most(lossy), 'ms', { target: '≤ 10000', met: most(lossy) <= 10_000 });
    assert.equal(hook.named('nodeCrashed').length, 0, 'loss alone is no crash');

    relay.set({ delayMs: 2_000 });
    await until('the node is suspect', async () => (await inState(cluster, 'suspect')) === 1, { timeout: 10_000 });
    await sleep(short ? 3_000 : 10_000);
    const late = await paperSession(cluster, 'late', { publish: true }).then((who) => { who.close(); return 'came in'; }, (error) => error.message);
    log(`two seconds each way: somebody new ${late}`);
    relay.set({});
    const since = Date.now();
    await until('the node is up', async () => (await inState(cluster, 'up')) === 1, { timeout: 20_000 });
    figure('good again until the node is up', Date.now() - since, 'ms', { target: '≤ 10000', met: Date.now() - since <= 10_000 });
    assert.equal(hook.named('nodeCrashed').length, 0, 'it came back in time');
    const { still } = await watching.stop();
    figure('longest still picture meanwhile', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
    for (const who of [talking.a, talking.b]) assert.deepEqual(await endsOf(who), [], `${who.name} is still in`);

    // This would have been noticed: a line that carries nothing is a crash.
    relay.set({ loss: 1 });
    await until('nodeCrashed', () => hook.named('nodeCrashed').length === 1, { timeout: 25_000 });
    await talking.close();
  } finally {
    await close();
  }
}

// How long each took to join and publish, one after the other. Where so much is lost the only node may be suspect for a moment: then they come again.
async function joins(cluster, name, count) {
  const took = [];
  for (let n = 0; n < count; n += 1) {
    const at = Date.now();
    const who = await until('the node takes a session', () => paperSession(cluster, `${name}${n}`, { publish: true }).catch((error) => {
      if (!error.message.includes('no media node is available')) throw error;
    }), { timeout: 10_000 });
    took.push(Date.now() - at);
    who.close();
  }
  return took;
}
