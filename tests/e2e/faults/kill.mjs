// One node of five dies in the middle of calls.
import assert from 'node:assert/strict';
import { until } from '../lib/wait.mjs';
import { settledOrder } from '../lib/webhook.mjs';
import { SILENCE_MS, call, endsOf, follow, inState, startWorld, toldOf, twoCalls } from './scene.mjs';
import { COLORS } from '../lib/call.mjs';

export const name = 'kill';
export const what = 'a node is killed: its calls end with nodeCrashed and can begin again elsewhere, all others go on';

export async function run({ short, figure, log }) {
  const world = await startWorld({ nodes: short ? 2 : 5 });
  const { cluster, hook, close } = world;
  try {
    const [hit, spared] = await twoCalls(world);
    const others = follow(spared.b, spared.a.streamId);
    const since = Date.now();
    await hit.node.kill();
    await Promise.all([hit.a, hit.b].map((who) => toldOf(who, 'nodeCrashed', SILENCE_MS + 3_000)));
    figure('death until the browsers are told', Date.now() - since, 'ms', { target: '≤ 4500', met: Date.now() - since <= SILENCE_MS + 1_500 });
    const destroyed = await until('sessionDestroyed', () => hook.named('sessionDestroyed', { sessionId: hit.sessionId })[0], { timeout: 5_000 });
    const [crashed] = hook.named('nodeCrashed', { id: hit.node.id });
    assert.deepEqual(crashed.sessionIds, [hit.sessionId]);
    assert.equal(crashed.nodeRole, 'medianode');
    assert.ok(crashed.timestamp - crashed.timeOfDisconnection >= SILENCE_MS - 500, 'it was silent for a while');
    // Everything that ended did so for this reason, in the documented order.
    const ended = hook.events.filter((e) => e.sessionId === hit.sessionId && e.reason);
    assert.ok(ended.every((e) => e.reason === 'nodeCrashed'), JSON.stringify(ended));
    assert.equal(ended.at(-1).event, 'sessionDestroyed');
    assert.deepEqual(ended.map((e) => e.event).filter((e) => e === 'participantLeft').length, 2);
    assert.equal(destroyed.reason, 'nodeCrashed');
    // The application begins it again, under the same name.
    const again = await call(world, hit.sessionId, COLORS.green);
    assert.notEqual(again.node.id, hit.node.id);
    const { frames, still } = await others.stop();
    log(`meanwhile elsewhere: ${frames} frames, at most ${still} ms without one`);
    figure('longest still picture on another node', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
    for (const who of [spared.a, spared.b]) assert.deepEqual(await endsOf(who), [], `${who.name} is not concerned`);
    await hit.node.launch();
    await until('the node is back', async () => (await inState(cluster, 'up')) === cluster.nodes.length, { timeout: 15_000 });
    const { disordered, missing } = await settledOrder(hook);
    assert.deepEqual([disordered, missing], [[], 0]);
    for (const one of [again, spared, hit]) await one.close();
  } finally {
    await close();
  }
}
