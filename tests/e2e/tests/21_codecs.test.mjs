// Every codec that browsers have is forwarded, also when only the ends can read it; and browsers keep to ceilings.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, participant, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

let browser, page, cluster;
before(async () => { browser = await launchChromium(); page = await servePage(); cluster = await startCluster(); });
after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

// Somebody in a session, after `prepare` has changed how the page's browser behaves.
async function enter(sessionId, name, { prepare = [], publish = null, connection = {} } = {}) {
  const who = await participant(browser, page.url, name);
  for (const [method, ...args] of prepare) await who.call(method, ...args);
  await who.call('join', await cluster.token(sessionId, connection), { name });
  if (publish) Object.assign(who, await who.call('publish', publish));
  return who;
}

for (const [codec, prepare] of [['VP9', []], ['H264', []], ['AV1', [['offerOnly', 'video/AV1']]]]) {
  test(`${codec} is forwarded`, async (t) => {
    const sessionId = `codec-${codec}`;
    const forcedVideoCodec = codec === 'AV1' ? 'NONE' : codec;
    const made = await cluster.rest('POST', '/sessions', { customSessionId: sessionId, forcedVideoCodec });
    assert.equal(made.status, 200, JSON.stringify(made.body));
    const a = await enter(sessionId, 'a', { prepare, publish: { color: COLORS.red } });
    const b = await enter(sessionId, 'b');
    const shown = await assertReceives(b, a, { color: COLORS.red });
    assert.equal(shown.codec, `video/${codec}`);
    // Who comes later begins with a key frame that is asked for.
    const c = await enter(sessionId, 'c');
    await assertReceives(c, a, { color: COLORS.red });
    const { plis, nacks } = await b.call('received', a.streamId);
    t.diagnostic(`${plis} PLI, ${nacks} NACK`);
    for (const who of [a, b, c]) await who.close();
  });
}

for (const simulcast of [true, false]) {
  test(`what only the ends can read is forwarded, ${simulcast ? 'in three encodings' : 'in one'}`, async () => {
    const sessionId = `scrambled-${simulcast}`;
    // Chromium itself looks at the lowest bit of VP8's first octet, which says what is a key frame.
    const options = simulcast ? { width: 960, height: 540, simulcast } : { simulcast };
    const prepare = [['scramble', 0xaa]];
    const a = await enter(sessionId, 'a', { prepare, publish: { color: COLORS.blue, ...options } });
    const b = await enter(sessionId, 'b', { prepare });
    await assertReceives(b, a, { color: COLORS.blue });
    if (simulcast) {
      await until('b sees the top encoding', async () => (await b.call('received', a.streamId)).width === 960, { timeout: 30_000 });
      await assertReceives(b, a, { color: COLORS.blue });
    }
    const c = await enter(sessionId, 'c');
    await sleep(3_000);
    assert.ok((await c.call('received', a.streamId)).framesDecoded < 5, 'the control: without the mask it is nothing');
    for (const who of [a, b, c]) await who.close();
  });
}

test('a browser keeps to the ceiling of its connection', onlyWhole, async (t) => {
  const publish = { width: 960, height: 540, grain: true, color: COLORS.green, simulcast: false };
  const connection = { kurentoOptions: { videoMaxRecvBandwidth: 300 } };
  const rates = [];
  for (const [name, options] of [['limited', { publish, connection }], ['free', { publish }]]) {
    const a = await enter(`ceiling-${name}`, 'a', options);
    const b = await enter(`ceiling-${name}`, 'b');
    await seen(b, a.streamId);
    await sleep(8_000);
    const first = await a.call('sent');
    await sleep(4_000);
    const last = await a.call('sent');
    rates.push((last.bytesSent - first.bytesSent) * 8 / 4_000);
    await a.close(); await b.close();
  }
  t.diagnostic(`${rates.map(Math.round).join(' and ')} kbit/s with and without`);
  assert.ok(rates[0] < 330, `${rates[0]} kbit/s with a ceiling of 300`);
  assert.ok(rates[0] > 100, `${rates[0]} kbit/s with a ceiling of 300`);
  assert.ok(rates[1] > 450, `the control: ${rates[1]} kbit/s without`);
  const metrics = await cluster.nodes[0].metrics();
  assert.equal(metrics.sum('ringcast_node_packets_dropped_total', { reason: 'above_ceiling' }), 0);
});
