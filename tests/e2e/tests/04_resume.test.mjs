// A cut WebSocket is resumed: no event is lost and media never stop. The control: nobody who stays away too long is kept.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { tcpProxy } from '../lib/tcp_proxy.mjs';
import { sleep, until } from '../lib/wait.mjs';

let browser, page, cluster;
before(async () => { browser = await launchChromium(); page = await servePage(); cluster = await startCluster({ master: { reconnect_grace: '8s' } }); });
after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

const through = (token, proxy) => token.replace(/^(wss?:\/\/)[^?/]+/, `$1localhost:${proxy.port}`);

test('a cut socket is resumed without loss', async () => {
  const proxy = await tcpProxy(cluster.httpPort);
  try {
    const sessionId = 'resume';
    const a = await enter({ cluster, browser, page, sessionId, name: 'a', color: COLORS.red });
    const b = await enter({ cluster, browser, page, sessionId, name: 'b', color: COLORS.blue, token: through(await cluster.token(sessionId), proxy) });
    await seen(b, a.streamId);
    await seen(a, b.streamId);
    proxy.refuse(true);
    proxy.cut();
    await until('b notices', async () => (await b.call('events')).some((e) => e.type === 'reconnecting'));
    const framesAtCut = (await b.call('received', a.streamId)).framesDecoded;
    // While b is away: signals, and somebody comes and goes.
    for (let n = 0; n < 5; n += 1) await a.call('signal', { type: 'n', data: String(n) });
    const c = await enter({ cluster, browser, page, sessionId, name: 'c', publish: false });
    await c.call('leave');
    await c.close();
    await sleep(500);
    assert.ok((await b.call('received', a.streamId)).framesDecoded > framesAtCut + 5, 'media went on while the socket was away');
    assert.ok(!(await b.call('events')).some((e) => e.type === 'signal'), 'the control: b really is cut off');
    proxy.refuse(false);
    await until('b is back', async () => (await b.call('events')).some((e) => e.type === 'reconnected'));
    await until('b catches up', async () => (await b.call('events')).filter((e) => e.type === 'signal').length >= 5);
    await until('b hears that c came and went', async () => (await b.call('events')).some((e) => e.type === 'connectionDestroyed' && e.connectionId === c.connectionId));
    const events = await b.call('events');
    assert.deepEqual(events.filter((e) => e.type === 'signal').map((e) => e.data), ['0', '1', '2', '3', '4']);
    assert.equal(events.filter((e) => e.type === 'connectionCreated' && e.connectionId === c.connectionId).length, 1);
    assert.equal(events.filter((e) => e.type === 'connectionDestroyed' && e.connectionId === c.connectionId).length, 1);
    assert.ok(!(await a.call('events')).some((e) => e.type === 'connectionDestroyed' && e.connectionId === b.connectionId), 'the others noticed nothing');
    const after = await b.call('received', a.streamId);
    await seen(b, a.streamId, { frames: after.framesDecoded + 15 });
    await a.close(); await b.close();
  } finally {
    proxy.close();
  }
});

test('whoever stays away longer than the grace period is gone', async () => {
  const proxy = await tcpProxy(cluster.httpPort);
  try {
    const sessionId = 'away';
    const a = await enter({ cluster, browser, page, sessionId, name: 'a', publish: false });
    const b = await enter({ cluster, browser, page, sessionId, name: 'b', publish: false, token: through(await cluster.token(sessionId), proxy) });
    await until('a sees b', async () => (await a.call('remoteConnections')).includes(b.connectionId));
    proxy.refuse(true);
    proxy.cut();
    const gone = await until('a is told', async () => (await a.call('events')).find((e) => e.type === 'connectionDestroyed' && e.connectionId === b.connectionId), { timeout: 25_000 });
    assert.equal(gone.reason, 'networkDisconnect');
    proxy.refuse(false);
    await until('b learns it', async () => (await b.call('events')).some((e) => e.type === 'sessionDisconnected' && e.reason === 'networkDisconnect'), { timeout: 10_000 });
    await a.close(); await b.close();
  } finally {
    proxy.close();
  }
});
