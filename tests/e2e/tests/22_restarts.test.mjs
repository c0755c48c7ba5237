// A restart of ICE: the call goes on while its paths are looked for anew.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

async function callOn(cluster, sessionId, options = {}) {
  const a = await enter({ cluster, browser, page, sessionId, name: 'a', color: COLORS.red, options });
  const b = await enter({ cluster, browser, page, sessionId, name: 'b', publish: false });
  await assertReceives(b, a, { color: COLORS.red });
  return { a, b, close: async () => { await a.close(); await b.close(); } };
}

describe('a restart of ICE', () => {
  let cluster, call;
  before(async () => { cluster = await startCluster({ impaired: true, workers: 1 }); call = await callOn(cluster, 'restart'); });
  after(async () => { await call?.close(); await cluster?.stop(); });
  const transports = async () => (await cluster.nodes[0].metrics()).sum('ringcast_node_transports');
  const handshakes = async () => (await cluster.nodes[0].metrics()).sum('ringcast_node_handshakes_total', { result: 'connected' });

  for (const [end, streamOf] of [['the publisher', () => null], ['the subscriber', () => call.a.streamId]]) {
    test(`by ${end}: the same connection, no handshake, and the picture goes on`, { timeout: 60_000 }, async (t) => {
      const who = end === 'the publisher' ? call.a : call.b;
      const stream = streamOf();
      const before = await who.call('transportOf', stream);
      const [made, shaken] = [await transports(), await handshakes()];
      await call.b.call('watchGaps', call.a.streamId);
      await sleep(500);
      await who.call('restartIce', stream);
      const after = await until('the new way is in use', async () => {
        const now = await who.call('transportOf', stream);
        return now.changes > before.changes && now;
      }, { timeout: 10_000 });
      await sleep(7_000);
      const { longest, frames } = await call.b.call('longestGap', call.a.streamId);
      t.diagnostic(`longest gap ${Math.round(longest)} ms among ${frames} pictures; ${JSON.stringify({ before, after })}`);
      assert.ok(frames > 60 && longest <= 1_000, `${frames} pictures, longest gap ${longest} ms`);
      assert.equal(after.connection, before.connection);
      assert.deepEqual([after.dtlsState, after.srtpCipher], ['connected', before.srtpCipher]);
      assert.ok(after.offered !== before.offered && after.remote !== before.remote, 'both sides have new credentials');
      assert.deepEqual([await transports(), await handshakes()], [made, shaken]);
      assert.equal(shaken, 2, 'one for each end, when the call began');
      await assertReceives(call.b, call.a, { color: COLORS.red });
    });
  }

  test('on a path that has died: the restarted connection finds another one within a second', { timeout: 60_000 }, async (t) => {
    // The old sockets of the publisher are dead from now on; those of the restart are not.
    const dead = cluster.impairer.clients.slice();
    await call.b.call('watchGaps', call.a.streamId);
    await sleep(500);
    const publishers = dead.filter((client) => client.up.passed > 0);
    for (const client of publishers) client.set({ up: { cut: true }, down: { cut: true } });
    // The subscriber's must go on, so both restart; each has new sockets then.
    await Promise.all([call.a.call('restartIce', null), call.b.call('restartIce', call.a.streamId)]);
    await sleep(4_000);
    const { longest, frames } = await call.b.call('longestGap', call.a.streamId);
    t.diagnostic(`longest gap ${Math.round(longest)} ms among ${frames} pictures`);
    assert.ok(frames > 20 && longest <= 1_000, `${frames} pictures, longest gap ${longest} ms`);
    assert.equal(await transports(), 2);
  });

  test('the control: without a restart a dead path stays dead', { timeout: 60_000 }, async () => {
    for (const client of cluster.impairer.clients) client.set({ up: { cut: true }, down: { cut: true } });
    await sleep(500);
    await call.b.call('watchGaps', call.a.streamId);
    await sleep(3_000);
    const { longest } = await call.b.call('longestGap', call.a.streamId);
    assert.ok(longest > 2_500, `a gap of ${longest} ms`);
  });
});

test('Firefox restarts ICE too, at either end', { timeout: 90_000, ...onlyWhole }, async (t) => {
  const cluster = await startCluster({ workers: 1 });
  const firefox = await launchFirefox();
  try {
    const a = await enter({ cluster, browser: firefox, page, sessionId: 'fox', name: 'a', color: COLORS.red });
    const b = await enter({ cluster, browser, page, sessionId: 'fox', name: 'b', color: COLORS.blue });
    await assertReceives(b, a, { color: COLORS.red, timeout: 30_000 });
    await assertReceives(a, b, { color: COLORS.blue, timeout: 30_000 });
    const handshakes = async () => (await cluster.nodes[0].metrics()).sum('ringcast_node_handshakes_total', { result: 'connected' });
    for (const [end, watcher, watched, stream] of [['publisher', b, a, null], ['subscriber', a, b, b.streamId]]) {
      await watcher.call('watchGaps', watched.streamId);
      await sleep(500);
      await a.call('restartIce', stream);
      // Longer than the old way is listened to.
      await sleep(7_000);
      const { longest, frames } = await watcher.call('longestGap', watched.streamId);
      t.diagnostic(`${end}: longest gap ${Math.round(longest)} ms among ${frames} pictures`);
      assert.ok(frames > 50 && longest <= 1_000, `${end}: ${frames} pictures, longest gap ${longest} ms`);
    }
    assert.equal(await handshakes(), 4, 'those of the beginning');
    await a.close(); await b.close();
  } finally {
    await firefox.close();
    await cluster.stop();
  }
});
