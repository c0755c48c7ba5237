// Sound: who speaks and how loud, by REST; what is lost of it is hardly heard, for Chromium repeats it (RFC 2198).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, launchFirefox, servePage } from '../lib/browser.mjs';
import { assertReceives, enter } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';
import { onlyWhole } from '../lib/whole.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

const shown = async (cluster, sessionId) => {
  const { status, body } = await cluster.rest('GET', `/sessions/${sessionId}`);
  assert.equal(status, 200);
  return body;
};

// Waits until REST says that `who` speaks; how long that took.
async function speaks(cluster, sessionId, who, timeout = 3_000) {
  const began = Date.now();
  await until(`${who.name} speaks`, async () => (await shown(cluster, sessionId)).dominantSpeaker?.connectionId === who.connectionId, { timeout, every: 50 });
  return Date.now() - began;
}

async function conversation(cluster, t) {
  const sessionId = 'talk';
  const talker = (name, tone) => enter({ cluster, browser, page, sessionId, name, options: { video: false, tone } });
  const [a, b] = [await talker('a', 300), await talker('b', 500)];
  await until('both hear each other', async () => (await a.call('received', b.streamId))?.audioPackets > 50 && (await b.call('received', a.streamId))?.audioPackets > 50);
  // Somebody speaks, the other answers.
  assert.equal((await shown(cluster, sessionId)).dominantSpeaker, null, 'nobody has spoken');
  await a.call('loud', true);
  const first = await speaks(cluster, sessionId, a);
  await sleep(1_200);
  const { dominantSpeaker, audioLevels } = await shown(cluster, sessionId);
  assert.deepEqual(dominantSpeaker, { connectionId: a.connectionId, streamId: a.streamId });
  // A sine of 0.3 is at -13.5 dBov.
  assert.ok(Math.abs(audioLevels[a.streamId] + 13.5) < 5, `${JSON.stringify(audioLevels)}`);
  assert.ok((audioLevels[b.streamId] ?? -127) < -60, `${JSON.stringify(audioLevels)}`);
  await a.call('loud', false);
  await b.call('loud', true);
  const answer = await speaks(cluster, sessionId, b);
  t.diagnostic(`the first speaker was known after ${first} ms, the one who answered after ${answer} ms`);
  // A cough is no speech, and who is muted does not speak, however loud.
  await sleep(1_000);
  await b.call('loud', false);
  await a.call('loud', true, 150);
  await assert.rejects(speaks(cluster, sessionId, a, 2_000), /timed out/);
  await a.call('mute', false, null);
  await a.call('loud', true);
  await assert.rejects(speaks(cluster, sessionId, a, 2_000), /timed out/);
  await a.call('mute', true, null);
  await speaks(cluster, sessionId, a);
  // Who leaves speaks no more.
  await a.close();
  await until('nobody speaks', async () => (await shown(cluster, sessionId)).dominantSpeaker === null, { timeout: 15_000 });
  await b.close();
}

describe('who speaks', () => {
  test('is known soon, on one worker', async (t) => {
    const cluster = await startCluster();
    try { await conversation(cluster, t); } finally { await cluster.stop(); }
  });

  test('and on two', onlyWhole, async (t) => {
    const cluster = await startCluster({ workers: 2, media: { session_worker_transports: 1 } });
    try { await conversation(cluster, t); } finally { await cluster.stop(); }
  });
});

// Part of the sound that a viewer makes up in 15 s, with 5 % of all packets lost both ways on everybody's path.
async function concealed(master) {
  const cluster = await startCluster({ impaired: true, master });
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'loss', name: 'a', options: { video: false } });
    const b = await enter({ cluster, browser, page, sessionId: 'loss', name: 'b', publish: false });
    const heard = () => b.call('received', a.streamId);
    await until('b hears a', async () => (await heard())?.audioPackets > 50);
    const conditions = { loss: 0.05, delayMs: 30 };
    cluster.impairer.set({ up: conditions, down: conditions });
    // The first reports of a browser about sound alone come after up to 7 s.
    await sleep(10_000);
    const before = await heard();
    await sleep(15_000);
    const after = await heard();
    const grown = (name) => after[name] - before[name];
    const recovered = (await cluster.nodes[0].metrics()).sum('ringcast_node_sound_recovered_total');
    await a.close(); await b.close();
    return { percent: 100 * (grown('concealed') - grown('silentConcealed')) / Math.max(1, grown('audioSamples')), recovered, samples: grown('audioSamples') };
  } finally {
    await cluster.stop();
  }
}

describe('5 % loss on both paths, 120 ms round trip', { concurrency: 2 }, () => {
  test('is hardly heard', async (t) => {
    const { percent, recovered, samples } = await concealed({});
    t.diagnostic(`${percent.toFixed(2)} % concealed, ${recovered} packets restored by the node`);
    assert.ok(samples > 10 * 48_000, `${samples} samples`);
    assert.ok(percent <= 3, `${percent} %`);
    assert.ok(recovered > 10, `${recovered} restored`);
  });

  test('the control: it is without repetitions', async (t) => {
    const { percent, recovered } = await concealed({ audio_redundancy: false });
    t.diagnostic(`${percent.toFixed(2)} % concealed`);
    assert.ok(percent > 3, `${percent} %`);
    assert.equal(recovered, 0);
  });
});

test('Firefox, which knows no repetitions, hears Chromium, and Chromium Firefox', async () => {
  const cluster = await startCluster();
  const firefox = await launchFirefox();
  try {
    const a = await enter({ cluster, browser, page, sessionId: 'both', name: 'a' });
    const b = await enter({ cluster, browser: firefox, page, sessionId: 'both', name: 'b' });
    await assertReceives(b, a, { cipher: null });
    await assertReceives(a, b);
    await a.close(); await b.close();
  } finally {
    await firefox.close();
    await cluster.stop();
  }
});
