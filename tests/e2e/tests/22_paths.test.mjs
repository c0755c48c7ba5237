// What is known of the paths of a call, and what users hear of it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

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
    await until('both round trips are short', async () => short(ways = await stats()), { timeout: 30_000, every: 1_000 }).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(ways)}`); });
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
    assert.ok(video(bad.up).lossRatio < 0.005 && bad.up.roundTripMs < bad.down.roundTripMs - 40, JSON.stringify(bad.up));

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
