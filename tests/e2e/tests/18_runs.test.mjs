// Chromium's pictures leave in long runs, because a byte of padding makes their packets equal and the worker waits a moment for the rest of a picture;
// Chromium and Firefox decode them happily. The control: without either the runs are shorter, and the pictures the same.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

let chromium, firefox, page;
before(async () => { [chromium, firefox, page] = await Promise.all([launchChromium(), launchFirefox(), servePage()]); });
after(async () => { await chromium?.close(); await firefox?.close(); page?.close(); });

const WARM_UP_SECONDS = 20; // Chromium begins at 300 kbit/s and finds out that there is room for more
const SECONDS = 12;

// How many packets left in bursts, by the length of the burst: all, and those in runs of three or more.
function runs(metrics) {
  const bursts = (le) => metrics.sum('ringcast_node_run_packets_bucket', { le });
  const all = metrics.sum('ringcast_node_run_packets_sum');
  const [ones, twos] = [bursts('1'), bursts('2') - bursts('1')];
  return { all, long: all - ones - 2 * twos, video: metrics.sum('ringcast_node_packets_total', { direction: 'out', kind: 'rtp' }) };
}

async function measure(padding, gather) {
  const cluster = await startCluster({ engine: { padding_max: padding }, media: { gather } });
  try {
    const options = { width: 640, height: 480, fps: 30, grain: true, audio: false };
    const source = await enter({ cluster, browser: chromium, page, sessionId: 'runs', name: 'source', color: COLORS.blue, options });
    const watchers = [];
    for (const browser of [chromium, firefox]) watchers.push(await enter({ cluster, browser, page, sessionId: 'runs', name: browser.kind, publish: false }));
    for (const watcher of watchers) await seen(watcher, source.streamId, { frames: 30 });
    await sleep(WARM_UP_SECONDS * 1_000);
    const look = async () => ({ at: Date.now(), runs: runs(await cluster.nodes[0].metrics()), shown: await Promise.all(watchers.map((w) => w.call('received', source.streamId))), sent: await source.call('sent') });
    const [start, end] = [await look(), await sleep(SECONDS * 1_000).then(look)];
    const seconds = (end.at - start.at) / 1_000;
    const gained = (key) => end.runs[key] - start.runs[key];
    const result = {
      share: gained('long') / gained('video'), video: gained('video'),
      encoded: (end.sent.framesEncoded - start.sent.framesEncoded) / seconds,
      packetsPerFrame: gained('video') / watchers.length / (end.sent.framesEncoded - start.sent.framesEncoded),
      watchers: watchers.map((w, i) => ({
        name: w.name, decoded: (end.shown[i].framesDecoded - start.shown[i].framesDecoded) / seconds,
        plis: end.shown[i].plis - start.shown[i].plis, freezes: end.shown[i].freezes - start.shown[i].freezes,
      })),
    };
    for (const who of [source, ...watchers]) await who.close();
    return result;
  } finally {
    await cluster.stop();
  }
}

// With padding; once more if the share falls short, for a machine that is busy tears pictures apart before they come to the node.
async function measureUntil(gather, share, tell) {
  const first = await measure(1, gather);
  tell(words(first));
  if (first.share >= share) return first;
  const second = await measure(1, gather);
  tell(`once more: ${words(second)}`);
  return second;
}

const words = (r) => `${(r.share * 100).toFixed(1)} % of ${r.video} video packets in runs of 3 or more; ${r.packetsPerFrame.toFixed(1)} packets a frame, ${r.encoded.toFixed(1)} frames/s encoded; `
  + r.watchers.map((w) => `${w.name} decodes ${w.decoded.toFixed(1)} frames/s, ${w.plis} PLI, ${w.freezes} freezes`).join('; ');

function assertHappy(result) {
  assert.ok(result.packetsPerFrame >= 4, `frames of several packets, not ${result.packetsPerFrame.toFixed(1)}`);
  for (const watcher of result.watchers) {
    assert.ok(watcher.decoded > 0.9 * result.encoded, `${watcher.name} decodes ${watcher.decoded.toFixed(1)} of ${result.encoded.toFixed(1)} frames/s`);
    assert.ok(watcher.plis <= 2, `${watcher.name} asks for ${watcher.plis} key frames`);
    assert.equal(watcher.freezes, 0, `${watcher.name} freezes`);
  }
}

test('four video packets of five leave in runs of three or more, and both browsers show the pictures', onlyWhole, async (t) => {
  const padded = await measureUntil('300us', 0.8, (words) => t.diagnostic(`padding, gathering: ${words}`));
  const usual = await measureUntil('0s', 0.7, (words) => t.diagnostic(`padding alone, as it is by default: ${words}`));
  const plain = await measure(0, '0s');
  t.diagnostic(`neither: ${words(plain)}`);
  assertHappy(padded);
  assertHappy(usual);
  assertHappy(plain);
  assert.ok(padded.share >= 0.8, `${(padded.share * 100).toFixed(1)} % in runs`);
  assert.ok(usual.share >= 0.7, `${(usual.share * 100).toFixed(1)} % in runs by default`);
  assert.ok(plain.share < usual.share && plain.share < padded.share, 'without them runs are shorter');
});
