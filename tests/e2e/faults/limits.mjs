// A node has more to do than it may.
import assert from 'node:assert/strict';
import { until } from '../lib/wait.mjs';
import { COLORS } from '../lib/call.mjs';
import { call, endsOf, follow, paperSession, startWorld } from './scene.mjs';

export const name = 'limits';
export const what = 'a node over its limit refuses what is new, says why, keeps what it has, and takes more when there is room again';

// A call of two is more: sound alone is 50 packets a second, in and out.
const PACKETS_PER_SECOND = 100;

export async function run({ figure, log }) {
  const world = await startWorld({ nodes: 1, limits: { packets_per_second: PACKETS_PER_SECOND } });
  const { cluster, close } = world;
  try {
    const [node] = cluster.nodes;
    const ready = async () => { const answer = await fetch(`http://${node.admin}/healthz/ready`); return { status: answer.status, text: await answer.text() }; };
    assert.equal((await node.metrics()).sum('ringcast_node_capacity_packets_per_second'), PACKETS_PER_SECOND);
    assert.equal((await ready()).status, 200);
    const talking = await call(world, 'talk', COLORS.red);
    const reason = await until('it is not ready', async () => { const { status, text } = await ready(); return status === 503 && text; }, { timeout: 15_000 });
    assert.match(reason, new RegExp(`packets/s of at most ${PACKETS_PER_SECOND}`));
    log(reason.trim());
    const refusal = await paperSession(cluster, 'late', { publish: true }).then((who) => { who.close(); return null; }, (error) => error);
    assert.ok(refusal, 'nobody else gets in');
    log(`a newcomer is told: ${refusal.message}`);
    const page = await node.metrics();
    assert.equal(page.sum('ringcast_node_over_limit', { limit: 'packets_per_second' }), 1);
    assert.equal(page.sum('ringcast_node_ready'), 0);
    const watching = follow(talking.b, talking.a.streamId);
    for (const who of [talking.a, talking.b]) assert.deepEqual(await endsOf(who), []);
    const { still } = await watching.stop();
    assert.ok(still < 1_500, `the call goes on: ${still} ms`);
    for (const who of [talking.a, talking.b]) await who.call('leave');
    const left = Date.now();
    await until('it takes more', async () => (await ready()).status === 200, { timeout: 20_000 });
    figure('idle until it takes more', Date.now() - left, 'ms');
    const late = await until('somebody gets in', () => paperSession(cluster, `again${Date.now()}`, { publish: true }).catch(() => null), { timeout: 20_000, every: 500 });
    late.close();
    await talking.close();
  } finally {
    await close();
  }
}
