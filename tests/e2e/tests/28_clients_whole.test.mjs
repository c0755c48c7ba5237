// Conformance: every public method of the unmodified openvidu-node-client and openvidu-browser is called against this product, or named
// with the documented error that it answers. The lists come from the packages' own declarations, so that none is forgotten silently.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { OpenVidu, OpenViduRole, RecordingMode } from 'openvidu-node-client';
import { launchChromium, servePage } from '../lib/browser.mjs';
import { startCluster } from '../lib/cluster.mjs';
import { book, methodsOf, publicMethods } from '../lib/conformance.mjs';
import { rpcSocket } from '../lib/rpc.mjs';
import { until } from '../lib/wait.mjs';

let browser, page, cluster;
before(async () => { browser = await launchChromium(); page = await servePage(); cluster = await startCluster({ workers: 1 }); });
after(async () => { await browser?.close(); page?.close(); await cluster?.stop(); });

const rejects = async (promise, code) => assert.rejects(promise, (e) => e.message === String(code), `answers ${code}`);

test('openvidu-node-client: every method', async () => {
  // It is hidden from applications, and some use it.
  const methods = [...methodsOf('openvidu-node-client/lib'), 'OpenVidu.fetchWebRtc'];
  const notes = book();
  const client = new OpenVidu(cluster.url, cluster.secret);
  client.enableProdMode();
  notes.checked('OpenVidu.enableProdMode');

  const properties = { customSessionId: 'whole', recordingMode: RecordingMode.MANUAL, forcedVideoCodec: 'VP8', allowTranscoding: true, defaultRecordingProperties: { name: 'n', resolution: '640x480' } };
  const session = await client.createSession(properties);
  assert.equal(session.sessionId, 'whole');
  assert.equal(session.properties.forcedVideoCodec, 'VP8');
  assert.equal(session.properties.allowTranscoding, true);
  assert.equal(session.properties.defaultRecordingProperties.resolution, '640x480');
  // The client compares texts, and writes its own at first in the order in which the application named the properties.
  await session.fetch();
  assert.equal(await session.fetch(), false, 'the same each time');
  const again = await client.createSession({ customSessionId: 'whole' });
  assert.deepEqual([again.sessionId, again.createdAt], ['whole', session.createdAt]);
  assert.notEqual((await client.createSession()).sessionId, (await client.createSession()).sessionId);
  await rejects(client.createSession({ customSessionId: 'a b' }), 400);
  await rejects(new OpenVidu(cluster.url, 'wrong').createSession(), 401);
  notes.checked('OpenVidu.createSession');

  const options = { videoMaxRecvBandwidth: 500, videoMinRecvBandwidth: 1, videoMaxSendBandwidth: 400, videoMinSendBandwidth: 2, allowedFilters: ['GStreamerFilter'] };
  const servers = [{ url: 'turn:turn.example:443?transport=tcp', username: 'u', credential: 'c' }];
  const connection = await session.createConnection({ role: OpenViduRole.MODERATOR, data: 'server', record: false, kurentoOptions: options, customIceServers: servers });
  assert.deepEqual([connection.role, connection.serverData, connection.connectionProperties.record, connection.status], ['MODERATOR', 'server', false, 'pending']);
  assert.deepEqual(connection.connectionProperties.kurentoOptions, options);
  assert.deepEqual(connection.connectionProperties.customIceServers, servers);
  assert.match(connection.token, /^wss?:\/\/[^?]+\?sessionId=whole&token=tok_/);
  await rejects(session.createConnection({ role: 'KING' }), 400);
  await rejects(session.createConnection({ type: 'IPCAM' }), 400);
  await rejects(session.createConnection({ type: 'IPCAM', rtspUri: 'rtsp://camera.example/1' }), 500);
  notes.checked('Session.createConnection');

  const token = await session.generateToken({ role: OpenViduRole.SUBSCRIBER, data: 'older' });
  assert.match(token, /token=tok_/);
  notes.checked('Session.generateToken');

  assert.equal(await client.fetch(), true, 'other sessions and the token are news');
  assert.equal(await client.fetch(), false, 'nothing is new, and nothing has changed its order');
  assert.ok(client.activeSessions.some((s) => s.sessionId === 'whole'));
  notes.checked('OpenVidu.fetch', 'Session.fetch');

  // Somebody is there.
  const rpc = await rpcSocket(cluster, 'whole');
  await rpc.join(connection.token, 'client');
  assert.equal(await session.fetch(), true);
  const active = session.activeConnections;
  assert.deepEqual(active.map((c) => [c.connectionId, c.status, c.clientData, c.serverData]), [[connection.connectionId, 'active', 'client', 'server']]);
  assert.equal(active[0].publishers.length, 0);
  assert.equal(active[0].ip, '127.0.0.1');

  const updated = await session.updateConnection(connection.connectionId, { role: OpenViduRole.PUBLISHER, record: true });
  assert.deepEqual([updated.connectionProperties.role, updated.connectionProperties.record], ['PUBLISHER', true]);
  await until('the client hears of it', () => rpc.notifications.filter((n) => n.method === 'connectionPropertyChanged').length === 2);
  await rejects(session.updateConnection('con_nobody', { role: OpenViduRole.PUBLISHER }), 404);
  await rejects(session.updateConnection(connection.connectionId, { role: 'KING' }), 400);
  notes.checked('Session.updateConnection');

  assert.equal(await client.fetchWebRtc().then((changed) => typeof changed.changes), 'boolean');
  notes.checked('OpenVidu.fetchWebRtc');

  await rejects(session.forceUnpublish('str_CAM_none'), 404);
  notes.checked('Session.forceUnpublish'); // with a stream: 10_rest
  await rejects(session.forceDisconnect('con_nobody'), 404);
  await session.forceDisconnect(connection);
  await until('the client is told', () => rpc.notifications.some((n) => n.method === 'participantEvicted' && n.params.reason === 'forceDisconnectByServer'));
  notes.checked('Session.forceDisconnect');

  const other = await client.createSession({ customSessionId: 'closing' });
  await other.close();
  await rejects(other.close(), 404);
  await rejects(other.fetch(), 404);
  notes.checked('Session.close');

  for (const [name, call] of [['startRecording', () => client.startRecording('whole')], ['stopRecording', () => client.stopRecording('whole')], ['getRecording', () => client.getRecording('whole')],
    ['listRecordings', () => client.listRecordings()], ['deleteRecording', () => client.deleteRecording('whole')], ['startBroadcast', () => client.startBroadcast('whole', 'rtmp://live.example/x')], ['stopBroadcast', () => client.stopBroadcast('whole')]]) {
    await rejects(call(), 501);
    notes.refused(`OpenVidu.${name}`, 501);
  }
  rpc.close();

  const { forgotten, unknown } = notes.gaps(methods);
  console.log(`openvidu-node-client 2.32.2\n${notes.table(methods)}`);
  assert.deepEqual({ forgotten, unknown }, { forgotten: [], unknown: [] });
});

// Runs in the page, with the published library and nothing else.
async function callEverything({ tokens, moderate }) {
  const done = [];
  const check = (what, is) => { if (!is) throw new Error(what); };
  const eventually = async (what, is) => {
    for (const end = performance.now() + 10_000; performance.now() < end;) {
      const value = await is();
      if (value) return value;
      await new Promise((r) => setTimeout(r, 50));
    }
    throw new Error(`never: ${what}`);
  };
  const refused = async (what, call) => call().then(() => { throw new Error(`${what}: was not refused`); }, (e) => e.code ?? e.name ?? 'refused');

  const [ovA, ovB] = [new OpenVidu(), new OpenVidu()];
  for (const ov of [ovA, ovB]) { ov.enableProdMode(); ov.setAdvancedConfiguration({ iceServers: undefined, forceMediaReconnectionAfterNetworkDrop: false }); }
  check('system', ovA.checkSystemRequirements() && typeof ovA.checkScreenSharingCapabilities() !== 'undefined');
  check('devices', (await ovA.getDevices()).length > 0);
  const own = await ovA.getUserMedia({ audioSource: undefined, videoSource: undefined });
  check('own media', own.getTracks().length === 2);
  done.push('OpenVidu.enableProdMode', 'OpenVidu.setAdvancedConfiguration', 'OpenVidu.checkSystemRequirements', 'OpenVidu.checkScreenSharingCapabilities', 'OpenVidu.getDevices', 'OpenVidu.getUserMedia');

  const [a, b] = [ovA.initSession(), ovB.initSession()];
  const heard = [];
  const note = (who) => (e) => heard.push({ who, type: e.type, reason: e.reason, data: e.data, from: e.from?.connectionId, property: e.changedProperty, streamId: e.stream?.streamId });
  const types = ['streamCreated', 'streamDestroyed', 'connectionCreated', 'connectionDestroyed', 'sessionDisconnected', 'signal:one', 'streamPropertyChanged', 'connectionPropertyChanged'];
  for (const type of types) { a.on(type, note('a')); b.on(type, note('b')); }
  let once = 0;
  a.once('signal:one', () => { once += 1; });
  const gone = () => heard.push({ who: 'never' });
  a.on('signal:one', gone);
  a.off('signal:one', gone);
  await a.connect(tokens[0], { name: 'A' });
  await b.connect(tokens[1], 'B');
  check('metadata', JSON.parse(a.connection.data.split('%/%')[0]).name === 'A' && b.connection.data.startsWith('B'));
  await eventually('a sees b', () => a.remoteConnections.size === 1);
  check('used token', await refused('a used token', () => new OpenVidu().initSession().connect(tokens[0])) === 401);
  done.push('OpenVidu.initSession', 'Session.connect', 'Session.on', 'Session.once', 'Session.off');

  await b.signal({ type: 'one', data: 'to all' });
  await b.signal({ type: 'one', data: 'to a', to: [a.connection] });
  await eventually('signals', () => heard.filter((h) => h.who === 'a' && h.type === 'signal:one' && h.from === b.connection.connectionId).length === 2);
  check('once and off', once === 1 && !heard.some((h) => h.who === 'never'));
  check('b hears its own only', heard.filter((h) => h.who === 'b' && h.type === 'signal:one').length === 1);
  done.push('Session.signal');

  const publisher = ovA.initPublisher(undefined, { audioSource: undefined, videoSource: undefined, publishAudio: true, publishVideo: true });
  let playing = 0;
  const onPlaying = () => { playing += 1; };
  publisher.on('streamPlaying', onPlaying);
  publisher.once('accessAllowed', () => {});
  await a.publish(publisher);
  check('a publisher has a stream', publisher.stream.streamId.startsWith('str_CAM_'));
  done.push('OpenVidu.initPublisher', 'Session.publish', 'Publisher.on', 'Publisher.once');
  const offered = await eventually('b is offered it', () => b.streamManagers !== undefined && heard.find((h) => h.who === 'b' && h.type === 'streamCreated'));
  const remote = () => [...b.remoteConnections.values()].find((c) => c.connectionId === a.connection.connectionId).stream;
  check('it is that one', remote().streamId === offered.streamId);

  const subscriber = await b.subscribeAsync(remote(), undefined);
  const video = subscriber.createVideoElement(document.body, 'APPEND');
  video.muted = true;
  await eventually('pictures arrive', () => video.videoWidth > 0);
  const second = Object.assign(document.createElement('video'), { autoplay: true, muted: true });
  document.body.append(second);
  subscriber.addVideoElement(second);
  let spoken = 0;
  const onSpeaking = () => { spoken += 1; };
  subscriber.on('publisherStartSpeaking', onSpeaking);
  subscriber.once('publisherStopSpeaking', onSpeaking);
  subscriber.off('publisherStartSpeaking', onSpeaking);
  subscriber.updatePublisherSpeakingEventsOptions({ interval: 50, threshold: -50 });
  done.push('Session.subscribeAsync', 'StreamManager.createVideoElement', 'StreamManager.addVideoElement', 'StreamManager.on', 'StreamManager.once', 'StreamManager.off', 'StreamManager.updatePublisherSpeakingEventsOptions');

  const connectionOf = (stream) => stream.getRTCPeerConnection();
  check('media and connection', subscriber.stream.getMediaStream().getVideoTracks().length === 1 && connectionOf(subscriber.stream).connectionState === 'connected');
  done.push('Stream.getMediaStream', 'Stream.getRTCPeerConnection');
  subscriber.subscribeToAudio(false);
  subscriber.subscribeToVideo(false);
  check('tracks are off', subscriber.stream.getMediaStream().getTracks().every((t) => !t.enabled));
  subscriber.subscribeToAudio(true);
  subscriber.subscribeToVideo(true);
  done.push('Subscriber.subscribeToAudio', 'Subscriber.subscribeToVideo');

  publisher.publishAudio(false);
  await publisher.publishVideo(false);
  await eventually('b hears of it', () => heard.filter((h) => h.who === 'b' && h.type === 'streamPropertyChanged').length === 2);
  check('and knows it', !remote().audioActive && !remote().videoActive);
  publisher.publishAudio(true);
  await publisher.publishVideo(true);
  await eventually('and that it is over', () => remote().audioActive && remote().videoActive);
  done.push('Publisher.publishAudio', 'Publisher.publishVideo');

  const canvas = Object.assign(document.createElement('canvas'), { width: 160, height: 120 });
  const g = canvas.getContext('2d');
  const painting = setInterval(() => { g.fillStyle = `hsl(${performance.now() % 360} 80% 50%)`; g.fillRect(0, 0, 160, 120); }, 66);
  await publisher.replaceTrack(canvas.captureStream(15).getVideoTracks()[0]);
  await eventually('the other track arrives', () => video.videoWidth === 160);
  done.push('Publisher.replaceTrack');

  await publisher.stream.reconnect();
  await subscriber.stream.reconnect();
  const decoded = async () => [...(await connectionOf(subscriber.stream).getStats()).values()].find((s) => s.type === 'inbound-rtp' && s.kind === 'video')?.framesDecoded ?? 0;
  const before = await decoded();
  await eventually('pictures go on', async () => (await decoded()) > before + 5);
  done.push('Stream.reconnect');

  const answers = {
    'Stream.applyFilter': await refused('applyFilter', () => publisher.stream.applyFilter('GStreamerFilter', { command: 'videobalance saturation=0.0' })),
    'Stream.removeFilter': await refused('removeFilter', () => publisher.stream.removeFilter()),
    'Session.subscribeToSpeechToText': await refused('subscribeToSpeechToText', () => b.subscribeToSpeechToText(remote(), 'en-US')),
    'Session.unsubscribeFromSpeechToText': await refused('unsubscribeFromSpeechToText', () => b.unsubscribeFromSpeechToText(remote())),
  };

  const recorder = ovB.initLocalRecorder(subscriber.stream);
  await recorder.record({ mimeType: 'video/webm' });
  await new Promise((r) => setTimeout(r, 400));
  recorder.pause();
  recorder.resume();
  await new Promise((r) => setTimeout(r, 200));
  await recorder.stop();
  const blob = recorder.getBlob();
  check('something is recorded', blob.size > 0);
  const sink = Object.assign(document.createElement('div'), { id: 'preview' });
  document.body.append(sink);
  recorder.preview('preview');
  check('and shown', sink.querySelector('video'));
  recorder.clean();
  done.push('OpenVidu.initLocalRecorder', ...['record', 'pause', 'resume', 'stop', 'getBlob', 'preview', 'clean'].map((m) => `LocalRecorder.${m}`));

  b.unsubscribe(subscriber);
  await eventually('nothing is received', () => { try { return connectionOf(subscriber.stream).connectionState === 'closed'; } catch { return true; } });
  const anew = b.subscribe(remote(), undefined);
  const shown = anew.createVideoElement(document.body, 'APPEND');
  shown.muted = true;
  await eventually('pictures arrive again', () => shown.videoWidth > 0);
  done.push('Session.unsubscribe', 'Session.subscribe');

  publisher.off('streamPlaying', onPlaying);
  await a.unpublish(publisher);
  await eventually('b hears that it ended', () => heard.some((h) => h.who === 'b' && h.type === 'streamDestroyed' && h.reason === 'unpublish'));
  clearInterval(painting);
  done.push('Session.unpublish', 'Publisher.off');

  const mirrored = await ovA.initPublisherAsync(undefined, { audioSource: undefined, videoSource: undefined });
  mirrored.on('streamDestroyed', note('publisher'));
  mirrored.subscribeToRemote();
  const back = mirrored.createVideoElement(document.body, 'APPEND');
  back.muted = true;
  await a.publish(mirrored);
  await eventually('its own pictures come back', () => mirrored.stream.getRTCPeerConnection().getReceivers().some((r) => r.track.kind === 'video') && back.videoWidth > 0);
  done.push('OpenVidu.initPublisherAsync', 'Publisher.subscribeToRemote');

  // Roles: b is a moderator once the application says so, and a is none.
  await eventually('b is offered the other', () => remote()?.streamId === mirrored.stream.streamId);
  check('a publisher puts nobody out', await refused('forceDisconnect', () => a.forceDisconnect([...a.remoteConnections.values()][0])));
  await moderate(b.connection.connectionId);
  await eventually('b is a moderator', () => b.connection.role === 'MODERATOR' && heard.some((h) => h.who === 'b' && h.type === 'connectionPropertyChanged'));
  await b.forceUnpublish(remote());
  await eventually('a hears it', () => heard.some((h) => h.who === 'publisher' && h.type === 'streamDestroyed' && h.reason === 'forceUnpublishByUser'));
  await b.forceDisconnect([...b.remoteConnections.values()][0]);
  await eventually('a is out', () => heard.some((h) => h.who === 'a' && h.type === 'sessionDisconnected' && h.reason === 'forceDisconnectByUser'));
  done.push('Session.forceUnpublish', 'Session.forceDisconnect');
  b.disconnect();
  await eventually('b has left', () => heard.some((h) => h.who === 'b' && h.type === 'sessionDisconnected' && h.reason === 'disconnect'));
  done.push('Session.disconnect');
  own.getTracks().forEach((t) => t.stop());
  return { done, answers };
}

for (const mediaServer of ['mediasoup', 'kurento']) {
  test(`openvidu-browser: every method (${mediaServer})`, { timeout: 120_000 }, async () => {
    const methods = methodsOf('openvidu-browser/lib/OpenVidu');
    const notes = book();
    const own = mediaServer === 'mediasoup' ? cluster : await startCluster({ workers: 1, mediaServer });
    const tab = await browser.newPage();
    try {
      await tab.goto(page.url);
      await tab.exposeFunction('asModerator', async (id) => {
        const answer = await own.rest('PATCH', `/sessions/browser/connection/${id}`, { role: 'MODERATOR' });
        assert.equal(answer.status, 200);
      });
      const tokens = [await own.token('browser', { role: 'PUBLISHER' }), await own.token('browser', { role: 'PUBLISHER' })];
      const outcome = await tab.evaluate(`(${callEverything})({ tokens: ${JSON.stringify(tokens)}, moderate: (id) => window.asModerator(id) }).catch((e) => ({ error: String(e.stack ?? e.message ?? e), name: e.name }))`);
      assert.equal(outcome.error, undefined, `${outcome.error}\n${tab.lines.slice(-8).join('\n')}\n${own.masterLog().split('\n').slice(-10).join('\n')}`);
      notes.checked(...outcome.done);
      for (const [name, code] of Object.entries(outcome.answers)) notes.refused(name, code);
      assert.equal(outcome.answers['Stream.applyFilter'], 406);
      assert.equal(outcome.answers['Session.subscribeToSpeechToText'], 996);
      notes.excused(['Filter.execMethod', 'Filter.addEventListener', 'Filter.removeEventListener'], 'of a filter that was applied, and none can be');
      notes.excused(['LocalRecorder.download', 'LocalRecorder.uploadAsBinary', 'LocalRecorder.uploadAsMultipartfile'], "of the browser's own recording: nothing of it comes here");
      const { forgotten, unknown } = notes.gaps(methods);
      console.log(`openvidu-browser 2.32.2 (${mediaServer})\n${notes.table(methods)}`);
      assert.deepEqual({ forgotten, unknown }, { forgotten: [], unknown: [] });
    } finally {
      await tab.close();
      if (own !== cluster) await own.stop();
    }
  });
}

test('control: a method that nobody has spoken of is found', () => {
  const text = 'export declare class Session {\n    /**\n     * @hidden\n     */\n    secret(): void;\n    private own(): void;\n    /**\n     * For all\n     */\n    connect(x: string): void;\n    later(): void;\n}\n';
  const methods = publicMethods(text);
  assert.deepEqual(methods, ['Session.connect', 'Session.later']);
  const notes = book();
  notes.checked('Session.connect', 'Session.gone');
  assert.deepEqual(notes.gaps(methods), { forgotten: ['Session.later'], unknown: ['Session.gone'] });
});

test('control: the same calls fail where nothing is served', async () => {
  const client = new OpenVidu('http://127.0.0.1:1', cluster.secret);
  await assert.rejects(client.createSession());
  await rejects(new OpenVidu(page.url, cluster.secret).createSession(), 404);
});
