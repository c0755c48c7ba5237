// Chromium publishes three encodings; a subscriber sees the highest that there is, without a break in what it decodes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, near, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { until } from '../lib/wait.mjs';
import { whole } from '../lib/whole.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

// The smallest picture that has three encodings.
const OPTIONS = { width: 960, height: 540, fps: 15, simulcast: true };
const WIDTHS = [240, 480, 960];
const ROUNDS = whole ? 5 : 2;

async function allEncoded(publisher, { timeout = 30_000 } = {}) {
  return until('three encodings are on their way', async () => {
    const encodings = await publisher.call('encodings');
    return encodings.length === 3 && encodings.every((e) => e.frames > 20) && encodings;
  }, { timeout });
}

// Waits until `watcher` sees pictures of that width, and says how long that took.
async function showsWidth(watcher, publisher, width, { timeout = 10_000 } = {}) {
  const at = Date.now();
  let last;
  await until(`${watcher.name} sees ${width} pixels`, async () => {
    last = await watcher.call('received', publisher.streamId);
    return last?.width === width;
  }, { timeout, every: 20 }).catch((error) => { throw new Error(`${error.message}; last: ${JSON.stringify(last)}`); });
  return Date.now() - at;
}

test('the highest encoding that arrives is shown, whichever that is', async (t) => {
  const cluster = await startCluster();
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'simulcast', name: 'a', color: COLORS.red, options: OPTIONS });
    const b = await enter({ cluster, browser, page, sessionId: 'simulcast', name: 'b', publish: false });
    const encodings = await allEncoded(a);
    assert.deepEqual(encodings.map((e) => e.rid), ['rdiv4', 'rdiv2', 'rdiv1']);
    assert.deepEqual(encodings.map((e) => e.width), WIDTHS);
    await showsWidth(b, a, 960);
    await assertReceives(b, a, { color: COLORS.red });
    const start = await b.call('received', a.streamId);
    const [took, up] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      for (const top of [1, 0, 2]) {
        await a.call('activate', [true, top >= 1, top >= 2]);
        (top === 2 ? up : took).push(await showsWidth(b, a, WIDTHS[top]));
        const { framesDecoded } = await b.call('received', a.streamId);
        const shown = await seen(b, a.streamId, { frames: framesDecoded + 10 });
        assert.ok(near(shown.color, COLORS.red), `shown ${shown.color}`);
        assert.equal(shown.width, WIDTHS[top]);
      }
    }
    const end = await b.call('received', a.streamId);
    t.diagnostic(`${took.length} switches down took ${Math.min(...took)} to ${Math.max(...took)} ms, ${up.length} up ${Math.min(...up)} to ${Math.max(...up)} ms; decoded ${end.framesDecoded - start.framesDecoded} frames, ${end.keyFrames - start.keyFrames} of them key frames; freezes ${end.freezes - start.freezes} of ${(end.frozen - start.frozen).toFixed(2)} s; dropped ${end.dropped - start.dropped}, PLI ${end.plis - start.plis}, NACK ${end.nacks - start.nacks}`);
    // Chromium says what it switched off; without that it takes twice as long to notice (0.8 s was seen).
    assert.ok(Math.max(...took) < 1_000, `a switch took ${Math.max(...took)} ms`);
    // An encoding must have come for a second; then a key frame of it is asked for.
    assert.ok(Math.max(...up) < 4_000, `a switch up took ${Math.max(...up)} ms`);
    // A decoder that is led astray asks for a picture.
    assert.equal(end.plis - start.plis, 0, 'the decoder never lost its way');
    assert.equal(end.nacks - start.nacks, 0, 'no sequence number was missing');
    await a.close(); await b.close();
  } finally {
    await cluster.stop();
  }
});

test('from another worker only what is watched there crosses, and switches all the same', async (t) => {
  const cluster = await startCluster({ workers: 2, media: { session_worker_transports: 1 } });
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'crossing', name: 'a', color: COLORS.green, options: OPTIONS });
    const watchers = [];
    for (const name of ['b', 'c']) watchers.push(await enter({ cluster, browser, page, sessionId: 'crossing', name, publish: false }));
    await allEncoded(a);
    for (const top of [2, 0, 2, 1]) {
      await a.call('activate', [true, top >= 1, top >= 2]);
      for (const watcher of watchers) {
        await showsWidth(watcher, a, WIDTHS[top]);
        await assertReceives(watcher, a, { color: COLORS.green, frames: 10 });
      }
    }
    const metrics = await cluster.nodes[0].metrics();
    const crossed = metrics.sum('ringcast_node_crossed_packets_total', { direction: 'out' });
    t.diagnostic(`${crossed} packets crossed`);
    assert.ok(crossed > 200, 'somebody watched on the other worker');
    for (const watcher of watchers) assert.equal((await watcher.call('received', a.streamId)).plis, 0, `${watcher.name} never lost its way`);
    await a.close();
    for (const watcher of watchers) await watcher.close();
  } finally {
    await cluster.stop();
  }
});

test('Firefox publishes encodings too', async (t) => {
  const cluster = await startCluster();
  const firefox = await launchFirefox();
  try {
    const a = await enter({ cluster, browser: firefox, page, sessionId: 'firefox', name: 'a', color: COLORS.blue, options: OPTIONS });
    const b = await enter({ cluster, browser, page, sessionId: 'firefox', name: 'b', publish: false });
    await allEncoded(a);
    await showsWidth(b, a, 960, { timeout: 20_000 });
    const took = [];
    for (const top of [1, 0, 2]) {
      await a.call('activate', [true, top >= 1, top >= 2]);
      took.push(await showsWidth(b, a, WIDTHS[top]));
      await assertReceives(b, a, { color: COLORS.blue, audio: false, frames: 10 });
    }
    t.diagnostic(`switches took ${took.join(', ')} ms`);
    await a.close(); await b.close();
  } finally {
    await firefox.close();
    await cluster.stop();
  }
});

test('the control: without simulcast there is one encoding, and the check for three fails', async () => {
  const cluster = await startCluster({ mediaServer: 'kurento' });
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'single', name: 'a', color: COLORS.red, options: OPTIONS });
    const b = await enter({ cluster, browser, page, sessionId: 'single', name: 'b', publish: false });
    await seen(b, a.streamId);
    await assert.rejects(allEncoded(a, { timeout: 5_000 }), /timed out/);
    assert.equal((await a.call('encodings')).length, 1);
    await a.close(); await b.close();
  } finally {
    await cluster.stop();
  }
});
