// What becomes of a call whose addresses change, or whose connections are made anew.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

describe('addresses that change, and subscriptions that are made anew', () => {
  let cluster, call, paths;
  before(async () => {
    cluster = await startCluster({ impaired: true, workers: 1 });
    const a = await enter({ cluster, browser, page, sessionId: 'anew', name: 'a', color: COLORS.blue });
    const mark = cluster.impairer.mark();
    const b = await enter({ cluster, browser, page, sessionId: 'anew', name: 'b', publish: false });
    await assertReceives(b, a, { color: COLORS.blue });
    paths = { publisher: cluster.impairer.clients.slice(0, mark), subscriber: cluster.impairer.since(mark) };
    call = { a, b };
  });
  after(async () => { await call?.a.close(); await call?.b.close(); await cluster?.stop(); });
  const metrics = () => cluster.nodes[0].metrics();
  const connectionOf = async (who, stream) => (await who.call('transportOf', stream)).connection;

  for (const end of ['publisher', 'subscriber']) {
    test(`the ${end}'s address changes: the picture is back within a second of its first check`, { timeout: 60_000 }, async (t) => {
      const { a, b } = call;
      const same = [await connectionOf(a, null), await connectionOf(b, a.streamId)];
      await b.call('watchGaps', a.streamId);
      await sleep(1_000);
      cluster.impairer.rebind(paths[end]);
      const [path] = paths[end];
      await until('a check from the new address', () => path.checkedAt, { timeout: 6_000, every: 5 });
      const shown = async () => (await b.call('received', a.streamId)).framesDecoded;
      const stopped = await shown();
      await until('the picture moves again', async () => (await shown()) > stopped, { timeout: 5_000, every: 5 });
      const back = performance.now() - path.checkedAt;
      await sleep(5_000);
      const { longest, frames } = await b.call('longestGap', a.streamId);
      t.diagnostic(`a picture ${Math.round(back)} ms after the first check; longest gap ${Math.round(longest)} ms among ${frames} pictures`);
      // Chromium checks a working pair every 2.5 s, and only a check tells of the new address.
      assert.ok(back <= 1_000, `${back} ms`);
      assert.ok(frames > 40 && longest < 3_500, `${frames} pictures, longest gap ${longest} ms`);
      assert.deepEqual([await connectionOf(a, null), await connectionOf(b, a.streamId)], same, 'the same connections');
      assert.equal((await metrics()).sum('ringcast_node_transports'), 2);
      await assertReceives(b, a, { color: COLORS.blue });
    });
  }

  test('forciblyReconnectSubscriber: the published client answers, and has another connection', { timeout: 60_000 }, async (t) => {
    const { a, b } = call;
    const before = await connectionOf(b, a.streamId);
    const own = await connectionOf(a, null);
    const events = (await b.call('events')).length;
    await b.call('watchGaps', a.streamId);
    const told = await cluster.rest('POST', `/sessions/anew/stream/${a.streamId}/reconnect`, { connection: b.connectionId });
    assert.deepEqual([told.status, told.body.numberOfElements], [200, 1]);
    await until('there is another connection', async () => (await connectionOf(b, a.streamId).catch(() => before)) !== before);
    const shown = await assertReceives(b, a, { color: COLORS.blue });
    const { longest } = await b.call('longestGap', a.streamId);
    t.diagnostic(`longest gap ${Math.round(longest)} ms; ${shown.framesDecoded} frames on the new connection`);
    assert.equal(await connectionOf(a, null), own, 'the publisher is none of it');
    await until('the old transport is gone', async () => (await metrics()).sum('ringcast_node_transports') === 2, { timeout: 5_000 });
    const since = (await b.call('events')).slice(events).map(({ type }) => type);
    assert.deepEqual(since.filter((type) => type !== 'networkQualityLevelChanged'), [], 'the application does not notice');
    // The controls: who does not receive the stream, and what is not there.
    assert.equal((await cluster.rest('POST', `/sessions/anew/stream/${a.streamId}/reconnect`, { connection: a.connectionId })).status, 404);
    assert.equal((await cluster.rest('POST', '/sessions/anew/stream/str_none/reconnect', {})).status, 404);
    assert.equal((await cluster.rest('POST', `/sessions/none/stream/${a.streamId}/reconnect`, {})).status, 400);
  });

  test('reconnectStream: both ends make their connections anew while the other one stays', { timeout: 60_000 }, async (t) => {
    const { a, b } = call;
    const [own, theirs] = [await connectionOf(a, null), await connectionOf(b, a.streamId)];
    await a.call('reconnectOwn');
    assert.notEqual(await connectionOf(a, null), own);
    await assertReceives(b, a, { color: COLORS.blue });
    assert.equal(await connectionOf(b, a.streamId), theirs, 'the subscriber stays');
    await b.call('reconnectTo', a.streamId);
    assert.notEqual(await connectionOf(b, a.streamId), theirs);
    const shown = await assertReceives(b, a, { color: COLORS.blue });
    t.diagnostic(`${shown.framesDecoded} frames on the new connection`);
    await until('the old transports are gone', async () => (await metrics()).sum('ringcast_node_transports') === 2, { timeout: 5_000 });
  });
});
