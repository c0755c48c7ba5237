// The network between master and node fails, in both directions or in one, while that between browsers and node is sound.
import assert from 'node:assert/strict';
import { sleep, until } from '../lib/wait.mjs';
import { SILENCE_MS, endsOf, follow, inState, paperSession, spread, startWorld, toldOf, twoCalls } from './scene.mjs';

export const name = 'cut';
export const what = 'a node is cut off from the master: shortly, for long, in one direction, or from its metrics alone';

const LINK = 7443;
const ADMIN = 9090;

export async function run({ short, figure, log }) {
  const world = await startWorld({ nodes: short ? 2 : 5 });
  const { cluster, hook, close } = world;
  try {
    const [hit, spared] = await twoCalls(world);
    const { host } = hit.node;
    // Shorter than the silence: nobody notices, and media go on without a master.
    const media = follow(hit.b, hit.a.streamId);
    await host.drop('udp', LINK);
    await until('the node is suspect', async () => (await inState(cluster, 'suspect')) === 1, { timeout: SILENCE_MS });
    await sleep(300);
    await host.mend();
    await until('all is well', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 5_000 });
    const { still } = await media.stop();
    figure('longest still picture while the link was cut', still, 'ms', { target: '≤ 1000', met: still <= 1_000 });
    assert.deepEqual(await endsOf(hit.b), []);
    assert.equal(hook.named('nodeCrashed').length, 0, 'nothing was told');

    // Without metrics it is soon too old to be judged, and gets nothing new; what it has goes on.
    await host.drop('tcp', ADMIN, 'in');
    await until('its load is old', async () => (await cluster.masterMetrics()).samples.some((s) => s.name === 'ringcast_master_node_load_age_seconds' && s.labels.node === hit.node.id && s.value > 12), { timeout: 30_000, every: 500 });
    const people = [];
    for (let n = 0; n < 6; n += 1) people.push(await paperSession(cluster, `blind${n}`));
    const counts = await spread(cluster, (id) => id.startsWith('blind'));
    log(`with ${hit.node.id} unseen, new sessions went ${counts.join(' ')}`);
    assert.equal(counts[cluster.nodes.indexOf(hit.node)], 0, 'a node that is not seen gets nothing');
    assert.deepEqual(await endsOf(hit.b), [], 'its calls go on');
    await host.mend();
    for (const who of people) who.close();

    // Longer, and in one direction only: as good as dead.
    for (const direction of short ? ['in'] : ['in', 'out']) {
      const before = hook.named('nodeCrashed').length;
      const one = direction === 'in' ? hit : spared;
      const since = Date.now();
      await one.node.host.drop('udp', LINK, direction);
      // Who is not heard by the node still hears it, until it gives the link up; only then there is silence.
      const most = direction === 'in' ? 2 * SILENCE_MS + 1_500 : SILENCE_MS + 1_500;
      await Promise.all([one.a, one.b].map((who) => toldOf(who, 'nodeCrashed', most + 2_000)));
      figure(`cut ${direction === 'in' ? 'towards' : 'from'} the node until the browsers are told`, Date.now() - since, 'ms', { target: `≤ ${most}`, met: Date.now() - since <= most });
      await until('nodeCrashed', () => hook.named('nodeCrashed').length === before + 1, { timeout: 5_000 });
      // The master can't reach it; it forwards on until it hears better.
      await one.node.host.mend();
      await until('it is back', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 15_000 });
      await until('nothing of the dead session is on it', async () => (await one.node.metrics()).sum('ringcast_node_transports') === 0, { timeout: 5_000 });
    }
    for (const one of [hit, spared]) await one.close();
  } finally {
    await close();
  }
}
