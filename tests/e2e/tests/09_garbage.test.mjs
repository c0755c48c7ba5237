// A hundred thousand datagrams of rubbish at the media port during a call: from strangers, and from the address of a live peer.
// The call is unharmed, memory flat, every datagram counted under a reason, and no answer is larger than its question.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { pelt } from '../lib/garbage.mjs';
import { sleep } from '../lib/wait.mjs';

let browser, page, cluster;
before(async () => { browser = await launchChromium(); page = await servePage(); cluster = await startCluster({ impaired: true }); });
after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

test('rubbish harms nobody', { timeout: 180_000 }, async (t) => {
  const a = await enter({ cluster, browser, page, sessionId: 'pelted', name: 'a', color: COLORS.red });
  const b = await enter({ cluster, browser, page, sessionId: 'pelted', name: 'b', color: COLORS.blue });
  await seen(b, a.streamId);
  await seen(a, b.streamId);
  const node = cluster.nodes[0];
  // Our own ufrag as the browser was told it: public to whoever sees the signalling, useless without the password.
  const ufrag = await b.page.evaluate((id) => {
    const subscriber = window.client.connectionOf(id);
    return /a=ice-ufrag:(\S+)/.exec(subscriber.remoteDescription.sdp)[1];
  }, a.streamId);
  // Every receive slot is touched once, so that what grows afterwards is not memory seen for the first time.
  await pelt({ address: node.address, ports: node.mediaPorts, count: 20_000, ufrag, perSecond: 8_000 });
  await sleep(1_000);
  const before = { memory: await node.residentMemory(), metrics: await node.metrics(), frames: (await b.call('received', a.streamId)).framesDecoded, at: Date.now() };

  const strangers = await pelt({ address: node.address, ports: node.mediaPorts, count: 60_000, ufrag });
  // From the address of a live peer: the impairer's own sockets are that address to the node.
  const injected = await pelt({ address: node.address, ports: node.mediaPorts, count: 40_000, ufrag, send: (datagram) => cluster.impairer.inject(datagram) });

  const after = { memory: await node.residentMemory(), metrics: await node.metrics(), frames: (await b.call('received', a.streamId)).framesDecoded, at: Date.now() };
  const fps = ((after.frames - before.frames) * 1000) / (after.at - before.at);
  const dropped = (m) => m.sum('ringcast_node_packets_dropped_total');
  t.diagnostic(`${fps.toFixed(1)} frames/s meanwhile; memory ${(before.memory / 2 ** 20).toFixed(1)} → ${(after.memory / 2 ** 20).toFixed(1)} MiB; ${dropped(after.metrics) - dropped(before.metrics)} drops counted; answers to strangers: ${strangers.datagrams}`);
  assert.ok(fps > 12, `${fps.toFixed(1)} frames per second during the rubbish`);
  assert.ok(after.memory - before.memory < 8 * 2 ** 20, 'memory is flat');
  assert.equal(strangers.amplified, 0, 'no answer without a question, none larger than its question');
  assert.ok(strangers.bytes <= strangers.sentBytes);
  assert.ok(dropped(after.metrics) - dropped(before.metrics) > 80_000, 'the rubbish is in the counters');
  const reasons = new Set(after.metrics.samples.filter((s) => s.name === 'ringcast_node_packets_dropped_total' && s.value > 0).map((s) => s.labels.reason));
  t.diagnostic(`reasons: ${[...reasons].join(', ')}`);
  assert.ok(reasons.size >= 6, 'under several names');
  assert.ok(cluster.impairer.injected > 30_000, 'the second half did come from the address of a peer');
  // And the call still is the call.
  await assertReceives(b, a, { color: COLORS.red, frames: after.frames + 10 });
  await assertReceives(a, b, { color: COLORS.blue });
  await a.close(); await b.close();
});
