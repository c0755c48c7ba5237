// One node stands still for longer than the master waits, and wakes up again.
import assert from 'node:assert/strict';
import { until } from '../lib/wait.mjs';
import { SILENCE_MS, endsOf, follow, inState, startWorld, toldOf, twoCalls } from './scene.mjs';

export const name = 'freeze';
export const what = 'a node stands still too long: as if it had died; when it wakes up it serves nothing of what was declared dead';

export async function run({ short, figure, log }) {
  const world = await startWorld({ nodes: short ? 2 : 5 });
  const { cluster, hook, close } = world;
  try {
    const [hit, spared] = await twoCalls(world);
    const others = follow(spared.b, spared.a.streamId);
    hit.node.signal('SIGSTOP');
    const since = Date.now();
    await Promise.all([hit.a, hit.b].map((who) => toldOf(who, 'nodeCrashed', SILENCE_MS + 3_000)));
    figure('standstill until the browsers are told', Date.now() - since, 'ms', { target: '≤ 4500', met: Date.now() - since <= SILENCE_MS + 1_500 });
    await until('nodeCrashed', () => hook.named('nodeCrashed', { id: hit.node.id }).length === 1, { timeout: 5_000 });
    hit.node.signal('SIGCONT');
    const woken = Date.now();
    await until('the node is back', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 10_000 });
    figure('awake until it is used again', Date.now() - woken, 'ms');
    await until('nodeRecovered', () => hook.named('nodeRecovered', { id: hit.node.id }).length === 1, { timeout: 5_000 });
    const left = async () => { const page = await hit.node.metrics(); return page.sum('ringcast_node_transports') + page.sum('ringcast_node_publishers'); };
    await until('nothing of the dead session is on it', async () => (await left()) === 0, { timeout: 5_000 });
    const { still } = await others.stop();
    log(`meanwhile elsewhere at most ${still} ms without a picture`);
    figure('longest still picture on another node', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
    for (const who of [spared.a, spared.b]) assert.deepEqual(await endsOf(who), [], `${who.name} is not concerned`);
    for (const one of [hit, spared]) await one.close();
  } finally {
    await close();
  }
}
