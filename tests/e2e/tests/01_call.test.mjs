// Two and four people in Chromium see and hear each other, on both drivers; and a node that drops all RTP makes the same check fail.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { syscallsOnMediaPort } from '../lib/strace.mjs';
import { until } from '../lib/wait.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

for (const driver of ['uring', 'mmsg']) {
  describe(`driver ${driver}`, () => {
    let cluster;
    before(async () => { cluster = await startCluster({ driver }); });
    after(() => cluster?.stop());

    test('four people see and hear each other', async () => {
      const people = [];
      for (const [name, color] of Object.entries(COLORS)) people.push(Object.assign(await enter({ cluster, browser, page, sessionId: 'four', name, color }), { color }));
      for (const watcher of people) {
        for (const publisher of people) if (publisher !== watcher) await assertReceives(watcher, publisher, { color: publisher.color });
      }
      const metrics = await cluster.nodes[0].metrics();
      const carried = metrics.sum('ringcast_node_driver_packets_total', { driver });
      assert.ok(carried > 1000, `${driver} carried ${carried} packets`);
      const other = metrics.sum('ringcast_node_driver_packets_total', { driver: driver === 'uring' ? 'mmsg' : 'uring' });
      assert.equal(other, 0, 'the other driver carried nothing');
      const calls = await syscallsOnMediaPort(cluster.nodes[0], 5_000);
      if (driver === 'uring') assert.deepEqual(calls.datagram, {}, 'no recvmsg or sendmsg family call on the media sockets');
      else assert.ok(Object.keys(calls.datagram).length > 0, 'the control: mmsg is seen to use such calls');
      assert.ok(calls.total > 0, 'strace saw the workers at all');
      for (const person of people) await person.close();
    });
  });
}

for (const feedback of ['transport-cc', 'goog-remb']) {
  test(`a publisher leaves its start bitrate by ${feedback}`, async (t) => {
    const cluster = await startCluster({ master: { transport_cc: feedback === 'transport-cc' } });
    try {
      // The camera, not a plain colour: the encoder has to have something to spend bits on.
      const a = await enter({ cluster, browser, page, sessionId: 'rate', name: 'a', options: { width: 1280, height: 720 } });
      const b = await enter({ cluster, browser, page, sessionId: 'rate', name: 'b', publish: false });
      await seen(b, a.streamId);
      assert.equal(a.typeOfVideo, 'CAMERA');
      const offered = await a.page.evaluate(() => window.client.ownConnection().remoteDescription.sdp);
      assert.equal(offered.includes('transport-cc'), feedback === 'transport-cc');
      const sent = await until('the estimate is far above the start', async () => {
        const stats = await a.call('sent');
        return stats.availableOutgoingBitrate > 600_000 && stats; // it starts at 300 kbit/s
      }, { timeout: 20_000 });
      t.diagnostic(`estimate ${(sent.availableOutgoingBitrate / 1e6).toFixed(2)} Mbit/s, encoder target ${(sent.targetBitrate / 1e6).toFixed(2)} Mbit/s at ${sent.width} pixels`);
      await a.close(); await b.close();
    } finally {
      await cluster.stop();
    }
  });
}

test('a node that drops all RTP is found out', async () => {
  const cluster = await startCluster({ faults: ['drop-rtp'] });
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'dropped', name: 'a', color: COLORS.red });
    const b = await enter({ cluster, browser, page, sessionId: 'dropped', name: 'b', color: COLORS.blue });
    await assert.rejects(assertReceives(b, a, { color: COLORS.red, timeout: 8_000 }), /timed out/);
    const metrics = await cluster.nodes[0].metrics();
    assert.ok(metrics.sum('ringcast_node_packets_dropped_total', { reason: 'injected' }) > 0, 'the drops are counted under their reason');
    await a.close();
    await b.close();
  } finally {
    await cluster.stop();
  }
});
