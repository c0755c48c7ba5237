// The unmodified openvidu-node-client creates, lists and closes; curl users get the documented codes.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { OpenVidu, OpenViduRole } from 'openvidu-node-client';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { COLORS, enter, seen } from '../lib/call.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { until } from '../lib/wait.mjs';

let browser, page, cluster;
before(async () => { browser = await launchChromium(); page = await servePage(); cluster = await startCluster({}); });
after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

test('openvidu-node-client: session, connection, publishers and subscribers, close', async () => {
  const client = new OpenVidu(cluster.url, cluster.secret);
  const session = await client.createSession({ customSessionId: 'node-client' });
  assert.equal(session.sessionId, 'node-client');
  const again = await client.createSession({ customSessionId: 'node-client' });
  assert.equal(again.sessionId, 'node-client', 'a second creation finds the first');
  const connection = await session.createConnection({ role: OpenViduRole.PUBLISHER, data: 'server says' });
  assert.match(connection.token, /^ws:\/\/.*\?sessionId=node-client&token=tok_/);
  assert.equal(connection.status, 'pending');
  const other = await session.createConnection({ role: OpenViduRole.SUBSCRIBER });

  const a = await enter({ cluster, browser, page, sessionId: 'node-client', name: 'a', color: COLORS.red, token: connection.token });
  const b = await enter({ cluster, browser, page, sessionId: 'node-client', name: 'b', publish: false, token: other.token });
  assert.equal(a.connectionId, connection.connectionId);
  await seen(b, a.streamId, { frames: 5 });

  assert.equal(await client.fetch(), true, 'something changed');
  const active = client.activeSessions.find((s) => s.sessionId === 'node-client');
  assert.equal(active.activeConnections.length, 2);
  const publisher = active.activeConnections.find((c) => c.connectionId === a.connectionId);
  assert.equal(publisher.publishers.length, 1);
  assert.equal(publisher.publishers[0].streamId, a.streamId);
  assert.equal(publisher.publishers[0].hasAudio, true);
  assert.equal(publisher.serverData, 'server says');
  assert.equal(publisher.clientData, 'a');
  const subscriber = active.activeConnections.find((c) => c.connectionId === b.connectionId);
  assert.deepEqual(subscriber.subscribers, [a.streamId]);
  assert.equal(await client.fetch(), false, 'nothing changed since');

  await active.forceUnpublish(publisher.publishers[0].streamId);
  await until('b sees it end', async () => (await b.call('events')).some((e) => e.type === 'streamDestroyed' && e.reason === 'forceUnpublishByServer'));
  await active.forceDisconnect(b.connectionId);
  await until('b is out', async () => (await b.call('events')).some((e) => e.type === 'sessionDisconnected' && e.reason === 'forceDisconnectByServer'));
  await active.close();
  await until('a is out', async () => (await a.call('events')).some((e) => e.type === 'sessionDisconnected' && e.reason === 'sessionClosedByServer'));
  await client.fetch();
  assert.equal(client.activeSessions.length, 0);
  await assert.rejects(session.fetch(), /404/);
  await a.close(); await b.close();
});

test('openvidu-node-client: errors as documented', async () => {
  await assert.rejects(new OpenVidu(cluster.url, 'not the secret').createSession(), /401/);
  const client = new OpenVidu(cluster.url, cluster.secret);
  await assert.rejects(client.startRecording('nobody'), /501/);
  await assert.rejects(client.listRecordings(), /501/);
  await assert.rejects(client.createSession({ customSessionId: 'no spaces please' }), /400/);
});

test('plain REST: statuses', async () => {
  const { rest } = cluster;
  assert.equal((await rest('POST', '/sessions', { customSessionId: 'plain' })).status, 200);
  assert.equal((await rest('POST', '/sessions', { customSessionId: 'plain' })).status, 409);
  assert.equal((await rest('GET', '/sessions/nowhere')).status, 404);
  assert.equal((await rest('POST', '/sessions/nowhere/connection', {})).status, 404);
  assert.equal((await rest('POST', '/sessions/plain/connection', { role: 'KING' })).status, 400);
  assert.equal((await rest('POST', '/signal', { session: 'plain' })).status, 406);
  assert.equal((await rest('POST', '/signal', { session: 'nowhere' })).status, 404);
  assert.equal((await rest('GET', '/config')).body.VERSION, '2.32.2');
  const health = await rest('GET', '/health');
  assert.deepEqual([health.status, health.body.status], [200, 'UP']);
  assert.equal((await rest('DELETE', '/sessions/plain')).status, 204);
  assert.equal((await rest('DELETE', '/sessions/plain')).status, 404);
});
