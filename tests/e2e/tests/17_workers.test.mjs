// Sessions larger than a worker: users on different workers of one node see and hear each other, with loss too; and with a high limit nothing crosses.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

const crossed = (metrics, direction = 'out') => metrics.sum('ringcast_node_crossed_packets_total', { direction });
const spread = (metrics) => metrics.sum('ringcast_node_sessions', { workers: 'several' });

// One who publishes, and two who watch.
async function audience(cluster, sessionId, color) {
  const a = await enter({ cluster, browser, page, sessionId, name: 'a', color });
  const watchers = [];
  for (const name of ['b', 'c']) watchers.push(await enter({ cluster, browser, page, sessionId, name, publish: false }));
  return [a, watchers];
}

for (const driver of ['uring', 'mmsg']) {
  describe(`driver ${driver}`, driver === 'uring' ? {} : onlyWhole, () => {
    let cluster;
    before(async () => { cluster = await startCluster({ driver, workers: 2, media: { session_worker_transports: 1 } }); });
    after(() => cluster?.stop());

    test('four people on two workers see and hear each other', async () => {
      const people = [];
      for (const [name, color] of Object.entries(COLORS)) people.push(Object.assign(await enter({ cluster, browser, page, sessionId: 'four', name, color }), { color }));
      for (const watcher of people) {
        for (const publisher of people) if (publisher !== watcher) await assertReceives(watcher, publisher, { color: publisher.color });
      }
      const metrics = await cluster.nodes[0].metrics();
      assert.equal(spread(metrics), 1);
      assert.equal(metrics.sum('ringcast_node_crossing_taps', { direction: 'out' }), 4, 'each stream goes to the other worker once, whoever watches there');
      assert.ok(crossed(metrics) > 500, `${crossed(metrics)} packets crossed`);
      assert.equal(metrics.sum('ringcast_node_publishers'), 4, 'what crosses is not counted twice');
      assert.equal(metrics.sum('ringcast_node_packets_dropped_total', { reason: 'no_loan' }), 0, 'there were always slots, once there were any');
      // Who leaves takes its stream from both workers, and who comes again is seen again.
      const [first, ...others] = people;
      await first.call('leave');
      await until('its stream crosses no more', async () => (await cluster.nodes[0].metrics()).sum('ringcast_node_crossing_taps', { direction: 'out' }) === 3, { timeout: 5_000 });
      await first.close();
      const again = await enter({ cluster, browser, page, sessionId: 'four', name: 'again', color: COLORS.red });
      for (const watcher of others) await assertReceives(watcher, again, { color: COLORS.red });
      for (const person of [again, ...others]) { await person.call('leave'); await person.close(); }
      await until('nothing is left', async () => {
        const left = await cluster.nodes[0].metrics();
        return left.sum('ringcast_node_crossing_taps') + left.sum('ringcast_node_crossing_slots_lent') + left.sum('ringcast_node_transports') === 0;
      }, { timeout: 5_000 });
    });
  });
}

describe('the limit', () => {
  test('set high, nothing crosses', async () => {
    const cluster = await startCluster({ workers: 2 });
    try {
      const [a, watchers] = await audience(cluster, 'small', COLORS.green);
      for (const watcher of watchers) await assertReceives(watcher, a, { color: COLORS.green });
      const metrics = await cluster.nodes[0].metrics();
      assert.deepEqual([crossed(metrics), crossed(metrics, 'in'), spread(metrics)], [0, 0, 0]);
      for (const person of [a, ...watchers]) await person.close();
    } finally {
      await cluster.stop();
    }
  });
});

describe('loss towards subscribers', () => {
  test('is repaired by their own worker', async (t) => {
    const cluster = await startCluster({ workers: 2, impaired: true, media: { session_worker_transports: 1 } });
    try {
      const [a, watchers] = await audience(cluster, 'lossy', COLORS.blue);
      for (const watcher of watchers) await seen(watcher, a.streamId);
      cluster.impairer.set({ down: { loss: 0.05 } });
      const before = await cluster.nodes[0].metrics();
      for (const watcher of watchers) {
        const { framesDecoded } = await watcher.call('received', a.streamId);
        await seen(watcher, a.streamId, { frames: framesDecoded + 60, timeout: 20_000 });
      }
      const after = await cluster.nodes[0].metrics();
      const resent = (m) => m.sum('ringcast_node_retransmissions_total', { direction: 'out' });
      t.diagnostic(`${crossed(after) - crossed(before)} packets crossed, ${resent(after) - resent(before)} were sent again`);
      assert.ok(crossed(after) > crossed(before) && resent(after) > resent(before));
      for (const person of [a, ...watchers]) await person.close();
    } finally {
      await cluster.stop();
    }
  });
});
