// A sixth node is added, and another one drained, while people come and go.
import assert from 'node:assert/strict';
import { until } from '../lib/wait.mjs';
import { settledOrder } from '../lib/webhook.mjs';
import { COLORS } from '../lib/call.mjs';
import { addNode } from './spread.mjs';
import { call, endsOf, follow, inflow, spread, startWorld } from './scene.mjs';

export const name = 'grow';
export const what = 'a node is added and another one drained under load';

export async function run({ short, figure, log }) {
  const world = await startWorld({ nodes: short ? 2 : 5 });
  const { cluster, hook, close } = world;
  try {
    const talking = await call(world, 'talk', COLORS.red);
    const watching = follow(talking.b, talking.a.streamId);
    const flow = inflow(cluster, { every: short ? 150 : 100 });
    const later = async (count) => { const now = flow.outcomes.length; await until(`${count} more have come`, () => flow.outcomes.length >= now + count, { timeout: 60_000 }); };
    await later(10);
    const begun = Date.now();
    const sixth = await addNode(cluster);
    figure('POST /media-nodes until it runs', Date.now() - begun, 'ms');
    await later(short ? 20 : 60);
    const onSixth = (await spread(cluster))[cluster.nodes.indexOf(sixth)];
    log(`sessions by node: ${(await spread(cluster)).join(' ')}`);
    assert.ok(onSixth > 0, 'the new node gets its share');
    const told = () => hook.named('mediaNodeStatusChanged', { id: sixth.id }).map((e) => e.newStatus);
    await until('its statuses are told', () => String(told()) === 'launching,running', { timeout: 5_000 }).catch(() => assert.equal(String(told()), 'launching,running'));

    // The one where people talk is drained: they stay, nobody else comes.
    const drained = talking.node;
    const { status } = await cluster.rest('PATCH', `/media-nodes/${drained.id}`, { status: 'waiting-idle-to-terminate' });
    assert.equal(status, 200);
    await until('those who were on their way are there', () => flow.outcomes.length > 0, { timeout: 1_000 });
    const known = new Set((await cluster.rest('GET', '/sessions')).body.content.map((s) => s.sessionId));
    await later(short ? 15 : 40);
    const fresh = await spread(cluster, (id) => !known.has(id));
    log(`new sessions while ${drained.id} drains: ${fresh.join(' ')}`);
    assert.equal(fresh[cluster.nodes.indexOf(drained)], 0, 'a node that drains gets nothing new');
    const outcomes = await flow.stop();
    const failed = outcomes.filter((o) => o.error);
    figure('joins that failed meanwhile', failed.length, `of ${outcomes.length}`, { target: '0', met: failed.length === 0 });
    assert.deepEqual(failed, []);
    const { frames, still } = await watching.stop();
    log(`the call: ${frames} frames, at most ${still} ms without one`);
    figure('longest still picture meanwhile', still, 'ms', { target: '≤ 1500', met: still <= 1_500 });
    assert.deepEqual(await endsOf(talking.b), []);
    // When the last have gone it ends.
    flow.leave();
    for (const who of [talking.a, talking.b]) await who.call('leave');
    const gone = () => hook.named('mediaNodeStatusChanged', { id: drained.id, newStatus: 'terminated' }).length === 1;
    await until('the drained node is terminated', gone, { timeout: 30_000 });
    assert.equal((await cluster.rest('GET', `/media-nodes/${drained.id}`)).status, 404);
    const { disordered, missing } = await settledOrder(hook);
    assert.deepEqual([disordered, missing], [[], 0]);
    await talking.close();
  } finally {
    await close();
  }
}
