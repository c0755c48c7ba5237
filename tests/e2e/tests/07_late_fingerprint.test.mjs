// The subscriber's answer, and with it its fingerprint, is a second late: no media before it, media right after.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, participant, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { until } from '../lib/wait.mjs';

let browser, page, cluster;
before(async () => { browser = await launchChromium(); page = await servePage(); cluster = await startCluster({ mediaServer: 'mediasoup' }); });
after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

// Holds back the one message that carries the answer; the client itself is untouched.
const holdBackAnswer = (millis) => {
  const { send } = WebSocket.prototype;
  window.answer = { madeAt: 0, sentAt: 0 };
  WebSocket.prototype.send = function held(text) {
    if (!String(text).includes('"receiveVideoFrom"')) return send.call(this, text);
    window.answer.madeAt = performance.now();
    setTimeout(() => { window.answer.sentAt = performance.now(); send.call(this, text); }, millis);
  };
};

async function run({ millis }) {
  const sessionId = `late${millis}`;
  const a = await enter({ cluster, browser, page, sessionId, name: 'a', color: COLORS.red });
  const b = await participant(browser, page.url, 'b');
  await b.page.evaluate(holdBackAnswer, millis);
  await b.call('join', await cluster.token(sessionId), { name: 'b' });
  await until('b subscribes', async () => (await b.call('streams')).includes(a.streamId), { every: 10 });
  const early = [];
  await until('the answer is sent', async () => {
    const [stats, sentAt] = [await b.call('received', a.streamId), await b.page.evaluate(() => window.answer.sentAt)];
    if (stats && !sentAt) early.push(stats);
    return sentAt;
  }, { every: 20 });
  const after = await seen(b, a.streamId, { frames: 5 });
  const { madeAt, sentAt } = await b.page.evaluate(() => window.answer);
  await a.close(); await b.close();
  return { early, firstFrameAfterAnswer: after.firstFrameAt - sentAt, firstFrameAfterMade: after.firstFrameAt - madeAt };
}

test('no media before the fingerprint, media right after', async (t) => {
  const { early, firstFrameAfterAnswer } = await run({ millis: 1_000 });
  t.diagnostic(`${early.length} readings before the answer; DTLS states ${[...new Set(early.map((s) => s.dtlsState))]}; first frame ${firstFrameAfterAnswer.toFixed(0)} ms after the answer`);
  assert.ok(early.some((s) => s.dtlsState === 'connected'), 'the handshake was over before the answer was sent: the race is real');
  for (const s of early) assert.equal(s.packetsReceived + s.audioPackets, 0, 'no packet before the fingerprint');
  assert.ok(firstFrameAfterAnswer > 0 && firstFrameAfterAnswer < 700, `first frame ${firstFrameAfterAnswer.toFixed(0)} ms after the answer`);
});

test('the control: without the delay the frame is there long before a second has passed', async () => {
  const { firstFrameAfterMade } = await run({ millis: 0 });
  assert.ok(firstFrameAfterMade < 1_000, `first frame ${firstFrameAfterMade.toFixed(0)} ms after the answer`);
});
