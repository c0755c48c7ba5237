// What is known of the paths of a call, what users hear of it, and what becomes of a call whose paths change.
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

const video = (stats) => stats?.streams.find(({ kind }) => kind === 'video');

describe('statistics and network quality', () => {
  let cluster, call, publisherPath, subscriberPath;
  before(async () => {
    cluster = await startCluster({ impaired: true, workers: 1, master: { network_quality: true, network_quality_interval: '1s' } });
    const a = await enter({ cluster, browser, page, sessionId: 'paths', name: 'a', color: COLORS.red });
    publisherPath = cluster.impairer.clients.slice();
    const mark = cluster.impairer.mark();
    const b = await enter({ cluster, browser, page, sessionId: 'paths', name: 'b', publish: false });
    await assertReceives(b, a, { color: COLORS.red });
    subscriberPath = cluster.impairer.since(mark);
    call = { a, b };
  });
  after(async () => { await call?.a.close(); await call?.b.close(); await cluster?.stop(); });

  const stats = async () => {
    const of = async ({ connectionId }) => (await cluster.rest('GET', `/sessions/paths/connection/${connectionId}?webRtcStats=true`)).body;
    const [a, b] = [await of(call.a), await of(call.b)];
    return { up: a.publishers[0].serverStats, down: b.subscribers[0].serverStats };
  };
  const set = (clients, conditions) => { for (const client of clients) client.set({ up: conditions, down: conditions }); };

  test('REST tells of both ends what the browsers see', async (t) => {
    await sleep(3_000);
    const before = await call.b.call('received', call.a.streamId);
    const began = Date.now();
    await sleep(4_000);
    const now = await call.b.call('received', call.a.streamId);
    const { up, down } = await stats();
    const rate = (now.bytes - before.bytes) * 8_000 / (Date.now() - began);
    t.diagnostic(`the browser receives ${Math.round(rate / 1000)} kbit/s; ${JSON.stringify({ up, down })}`);
    for (const [which, of] of [['up', video(up)], ['down', video(down)]]) {
      assert.ok(of.bitsPerSecond > rate * 0.5 && of.bitsPerSecond < rate * 2, `${which}: ${of.bitsPerSecond} and ${rate} bit/s`);
      assert.equal(of.lossRatio, 0, which);
      assert.ok(of.packets > 100 && of.jitterMs < 60, JSON.stringify(of));
    }
    assert.ok(Math.abs(video(down).packets - now.packetsReceived) < 0.1 * now.packetsReceived, `${video(down).packets} and ${now.packetsReceived} packets`);
    // A busy browser answers late now and then: what counts is the way.
    let ways;
    const short = ({ up, down }) => up.roundTripMs < 50 && down.roundTripMs < 50;
    await until('both round trips are short', async () => short(ways = await stats()), { timeout: 10_000, every: 1_000 }).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(ways)}`); });
    assert.equal(up.streams.length, 2);

    set(subscriberPath, { loss: 0.1, delayMs: 40 });
    await sleep(8_000);
    // Of some twenty packets a second a few seconds say little.
    const ratios = [];
    for (let nth = 0; nth < 8; nth += 1) {
      ratios.push(video((await stats()).down).lossRatio);
      await sleep(1_000);
    }
    const bad = await stats();
    set(subscriberPath, { loss: 0, delayMs: 0 });
    t.diagnostic(`with 10 % loss and 80 ms: ${JSON.stringify(video(bad.down))}, round trip ${bad.down.roundTripMs} ms`);
    const loss = ratios.reduce((sum, ratio) => sum + ratio) / ratios.length;
    assert.ok(loss > 0.04 && loss < 0.2, `a tenth is lost: ${loss}`);
    assert.ok(video(bad.down).nacks > 5 && video(bad.down).packetsLost > 0);
    assert.ok(bad.down.roundTripMs > 70 && bad.down.roundTripMs < 160, `${bad.down.roundTripMs} ms`);
    // The control: the other end has a path of its own.
    assert.ok(video(bad.up).lossRatio < 0.005 && bad.up.roundTripMs < 50, JSON.stringify(bad.up));

    const plain = (await cluster.rest('GET', `/sessions/paths/connection/${call.a.connectionId}`)).body;
    assert.equal(plain.publishers[0].serverStats, undefined, 'nobody asked');
  });

  test('the published node client shows them', async () => {
    const { OpenVidu } = (await import('openvidu-node-client')).default;
    const openvidu = new OpenVidu(cluster.url, cluster.secret);
    const { changes } = await openvidu.fetchWebRtc();
    assert.equal(changes, true);
    const { connections } = openvidu.activeSessions.find(({ sessionId }) => sessionId === 'paths');
    const of = (who) => connections.find(({ connectionId }) => connectionId === who.connectionId);
    for (const shown of [of(call.a).publishers[0], of(call.b).subscribers[0]]) {
      const { serverStats } = shown.webRtc.kms;
      assert.ok(serverStats.timestamp > 0 && video(serverStats).packets > 100, JSON.stringify(shown));
    }
  });

  test('everybody hears when a path goes bad and when it is good again', { timeout: 90_000 }, async (t) => {
    const heard = async (who) => (await who.call('eventsOf', 'networkQualityLevelChanged')).map(({ connectionId, newValue, oldValue }) => ({ connectionId, newValue, oldValue }));
    const level = async (who, of) => (await heard(who)).filter((e) => e.connectionId === of.connectionId).at(-1)?.newValue;
    for (const who of [call.a, call.b]) for (const of of [call.a, call.b]) await until(`${who.name} hears that ${of.name} is fine`, async () => (await level(who, of)) === 5, { timeout: 30_000 });
    const count = (await heard(call.b)).length;
    // The control: a path that stays as it is is no news.
    await sleep(6_000);
    assert.equal((await heard(call.b)).length, count, JSON.stringify(await heard(call.b)));

    set(publisherPath, { loss: 0.15 });
    const at = Date.now();
    for (const who of [call.a, call.b]) await until(`${who.name} hears of the bad path`, async () => (await level(who, call.a)) <= 2, { timeout: 20_000 });
    t.diagnostic(`a loss of 15 % was told of after ${Date.now() - at} ms: ${JSON.stringify((await heard(call.b)).slice(count))}`);
    set(publisherPath, { loss: 0 });
    const healed = Date.now();
    await until('it is good again', async () => (await level(call.b, call.a)) === 5, { timeout: 40_000 });
    t.diagnostic(`and that it was over after ${Date.now() - healed} ms`);
    const all = (await heard(call.b)).filter((e) => e.connectionId === call.a.connectionId);
    for (let i = 1; i < all.length; i += 1) assert.equal(all[i].oldValue, all[i - 1].newValue, 'each change begins where the last one ended');
  });
});

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
