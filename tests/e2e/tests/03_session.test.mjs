// What happens in a session besides two cameras: negotiation modes, kinds of streams, coming and going, roles.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, assertReceives, enter, near, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { sleep, until } from '../lib/wait.mjs';

let browser, page;
before(async () => { browser = await launchChromium(); page = await servePage(); });
after(async () => { await browser?.close(); page?.close(); });

const eventOf = (who, type, match) => until(`${who.name} gets ${type}`, async () => (await who.call('events')).find((e) => e.type === type && match(e)));

for (const mediaServer of ['kurento', 'mediasoup']) {
  describe(`media server ${mediaServer}`, () => {
    let cluster;
    before(async () => { cluster = await startCluster({ mediaServer }); });
    after(() => cluster?.stop());

    test('a call both ways', async () => {
      const a = await enter({ cluster, browser, page, sessionId: 's1', name: 'a', color: COLORS.red });
      const b = await enter({ cluster, browser, page, sessionId: 's1', name: 'b', color: COLORS.green });
      await assertReceives(a, b, { color: COLORS.green });
      await assertReceives(b, a, { color: COLORS.red });
      await a.close(); await b.close();
    });

    test('audio only', async () => {
      const a = await enter({ cluster, browser, page, sessionId: 's2', name: 'a', options: { video: false } });
      const b = await enter({ cluster, browser, page, sessionId: 's2', name: 'b', publish: false });
      const heard = () => b.call('received', a.streamId);
      await until('b hears a', async () => (await b.call('streams')).includes(a.streamId) && (await heard())?.audioEnergy > 0);
      assert.equal((await b.call('propertiesOf', a.streamId)).hasVideo, false);
      assert.equal((await heard()).packetsReceived, 0, 'no video packets');
      await a.close(); await b.close();
    });

    test('a screen is announced as one', async () => {
      const a = await enter({ cluster, browser, page, sessionId: 's3', name: 'a', options: { screen: true, audio: false } });
      assert.equal(a.typeOfVideo, 'SCREEN');
      const b = await enter({ cluster, browser, page, sessionId: 's3', name: 'b', publish: false });
      const created = await eventOf(b, 'streamCreated', (e) => e.streamId === a.streamId);
      assert.equal(created.typeOfVideo, 'SCREEN');
      assert.match(a.streamId, /^str_SCR_/);
      await a.close(); await b.close();
    });

    test('somebody who comes late sees a frame within a second', async () => {
      const a = await enter({ cluster, browser, page, sessionId: 's4', name: 'a', color: COLORS.yellow });
      const b = await enter({ cluster, browser, page, sessionId: 's4', name: 'b', publish: false });
      await seen(b, a.streamId);
      await sleep(2_000); // far from the first key frame
      const late = await enter({ cluster, browser, page, sessionId: 's4', name: 'late', publish: false });
      const stats = await seen(late, a.streamId, { frames: 5 });
      const millis = stats.firstFrameAt - stats.subscribedAt;
      assert.ok(millis > 0 && millis < 1_000, `first frame ${millis.toFixed(0)} ms after subscribe`);
      await a.close(); await b.close(); await late.close();
    });

    test('mute and unmute reach the others, and the picture comes back', async () => {
      const a = await enter({ cluster, browser, page, sessionId: 's5', name: 'a', color: COLORS.blue });
      const b = await enter({ cluster, browser, page, sessionId: 's5', name: 'b', publish: false });
      await seen(b, a.streamId);
      await a.call('mute', false, false);
      await until('b is told', async () => { const p = await b.call('propertiesOf', a.streamId); return !p.audioActive && !p.videoActive; });
      // Whoever joins now gets the muted state with the join.
      const c = await enter({ cluster, browser, page, sessionId: 's5', name: 'c', publish: false });
      await until('c subscribes', async () => (await c.call('streams')).includes(a.streamId));
      assert.deepEqual(await c.call('propertiesOf', a.streamId).then((p) => [p.audioActive, p.videoActive]), [false, false]);
      await a.call('mute', true, true);
      await until('b is told', async () => { const p = await b.call('propertiesOf', a.streamId); return p.audioActive && p.videoActive; });
      const before = await b.call('received', a.streamId);
      await seen(b, a.streamId, { frames: before.framesDecoded + 10 });
      await until('the colour is back', async () => near((await b.call('received', a.streamId)).color, COLORS.blue));
      for (const who of [a, b, c]) await who.close();
    });

    test('unpublish, leave', async () => {
      const a = await enter({ cluster, browser, page, sessionId: 's6', name: 'a', color: COLORS.red });
      const b = await enter({ cluster, browser, page, sessionId: 's6', name: 'b', color: COLORS.green });
      await seen(b, a.streamId, { frames: 5 });
      await a.call('unpublish');
      await eventOf(b, 'streamDestroyed', (e) => e.streamId === a.streamId && e.reason === 'unpublish');
      const again = await a.call('publish', { color: COLORS.blue });
      await assertReceives(b, Object.assign({ name: 'a' }, again), { color: COLORS.blue });
      await a.call('leave');
      await eventOf(b, 'connectionDestroyed', (e) => e.connectionId === a.connectionId && e.reason === 'disconnect');
      await until('the node lets go', async () => (await cluster.rest('GET', '/sessions/s6')).body.connections.numberOfElements === 1);
      await a.close(); await b.close();
    });
  });
}

describe('roles', () => {
  let cluster;
  before(async () => { cluster = await startCluster({}); });
  after(() => cluster?.stop());

  test('a moderator disconnects and unpublishes others, nobody else may', async () => {
    const sessionId = 'roles';
    const moderator = await enter({ cluster, browser, page, sessionId, name: 'moderator', role: 'MODERATOR', publish: false });
    const a = await enter({ cluster, browser, page, sessionId, name: 'a', color: COLORS.red });
    const b = await enter({ cluster, browser, page, sessionId, name: 'b', color: COLORS.green });
    await seen(b, a.streamId, { frames: 5 });
    await seen(moderator, a.streamId, { frames: 5 });
    await assert.rejects(b.call('forceDisconnect', a.connectionId), /PERMISSION_DENIED|permission|not have/i);
    await moderator.call('forceUnpublish', a.streamId);
    await eventOf(b, 'streamDestroyed', (e) => e.streamId === a.streamId && e.reason === 'forceUnpublishByUser');
    await eventOf(a, 'ownStreamDestroyed', (e) => e.reason === 'forceUnpublishByUser');
    await moderator.call('forceDisconnect', a.connectionId);
    await eventOf(a, 'sessionDisconnected', (e) => e.reason === 'forceDisconnectByUser');
    await eventOf(b, 'connectionDestroyed', (e) => e.connectionId === a.connectionId && e.reason === 'forceDisconnectByUser');
    for (const who of [moderator, a, b]) await who.close();
  });

  test('a subscriber may not publish', async () => {
    const who = await enter({ cluster, browser, page, sessionId: 'silent', name: 'silent', role: 'SUBSCRIBER', publish: false });
    await assert.rejects(who.call('publish', { color: COLORS.red }), /PERMISSION_DENIED|permission|not have/i);
    await who.close();
  });

  test('signals: to all, to one, from the server', async () => {
    const sessionId = 'signals';
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((name) => enter({ cluster, browser, page, sessionId, name, publish: false })));
    await until('all are there', async () => (await a.call('remoteConnections')).length === 2);
    await a.call('signal', { type: 'greet', data: 'all' });
    for (const who of [a, b, c]) await eventOf(who, 'signal', (e) => e.data === 'all' && e.signalType === 'signal:greet' && e.from === a.connectionId);
    const answer = await cluster.rest('POST', '/signal', { session: sessionId, to: [b.connectionId], type: 'greet', data: 'b alone' });
    assert.equal(answer.status, 200);
    await eventOf(b, 'signal', (e) => e.data === 'b alone' && e.from === null);
    await sleep(500);
    for (const who of [a, c]) assert.ok(!(await who.call('events')).some((e) => e.data === 'b alone'));
    for (const who of [a, b, c]) await who.close();
  });

  test('wrong token, used token, wrong secret', async () => {
    const token = await cluster.token('doors');
    const a = await enter({ cluster, browser, page, sessionId: 'doors', name: 'a', publish: false, token });
    await assert.rejects(enter({ cluster, browser, page, sessionId: 'doors', name: 'b', publish: false, token }), /401|token/i);
    const wrong = token.replace(/token=tok_\w+/, 'token=tok_XXXXXXXXXXXXXXXX');
    await assert.rejects(enter({ cluster, browser, page, sessionId: 'doors', name: 'c', publish: false, token: wrong }), /401|token/i);
    assert.equal((await cluster.rest('GET', '/sessions', undefined, 'wrong')).status, 401);
    assert.equal((await cluster.rest('GET', '/sessions')).status, 200);
    await a.close();
  });
});
