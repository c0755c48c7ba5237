// One participant, driven by the tests through `window.client`. Everything goes through the published openvidu-browser.
'use strict';

window.client = (() => {
  const subscriptions = new Map(); // stream id → { subscriber, video, subscribedAt, firstFrameAt }
  const events = [];
  let openvidu, session, publisher, painter;

  async function join(token, { name = 'x', subscribe = true } = {}) {
    openvidu = new OpenVidu();
    openvidu.enableProdMode();
    session = openvidu.initSession();
    listen(subscribe);
    const connectedAt = performance.now();
    await session.connect(token, name);
    api.connectCalledAt = connectedAt;
    return { connectionId: session.connection.connectionId, role: session.connection.role, millis: performance.now() - connectedAt };
  }

  function listen(subscribe) {
    const record = (type, detail) => events.push({ type, at: performance.now(), ...detail });
    session.on('streamCreated', (e) => {
      record('streamCreated', { streamId: e.stream.streamId, typeOfVideo: e.stream.typeOfVideo, hasVideo: e.stream.hasVideo });
      if (subscribe) subscribeTo(e.stream);
    });
    session.on('streamDestroyed', (e) => {
      record('streamDestroyed', { streamId: e.stream.streamId, reason: e.reason });
      const gone = subscriptions.get(e.stream.streamId);
      gone?.video.remove();
      subscriptions.delete(e.stream.streamId);
    });
    session.on('streamPropertyChanged', (e) => record('streamPropertyChanged', { streamId: e.stream.streamId, property: e.changedProperty, value: e.newValue, reason: e.reason }));
    session.on('connectionCreated', (e) => record('connectionCreated', { connectionId: e.connection.connectionId }));
    session.on('connectionDestroyed', (e) => record('connectionDestroyed', { connectionId: e.connection.connectionId, reason: e.reason }));
    session.on('signal', (e) => record('signal', { signalType: e.type, data: e.data, from: e.from?.connectionId ?? null }));
    session.on('networkQualityLevelChanged', (e) => record('networkQualityLevelChanged', { connectionId: e.connection.connectionId, newValue: e.newValue, oldValue: e.oldValue }));
    session.on('reconnecting', () => record('reconnecting', {}));
    session.on('reconnected', () => record('reconnected', {}));
    session.on('sessionDisconnected', (e) => record('sessionDisconnected', { reason: e.reason }));
    session.on('exception', (e) => record('exception', { name: e.name, message: e.message }));
  }

  function subscribeTo(stream) {
    const subscriber = session.subscribe(stream, undefined);
    const video = document.createElement('video');
    Object.assign(video, { autoplay: true, playsInline: true, width: 320, height: 240 });
    document.getElementById('videos').append(video);
    const entry = { subscriber, video, subscribedAt: performance.now(), firstFrameAt: 0 };
    subscriptions.set(stream.streamId, entry);
    subscriber.addVideoElement(video);
    const seen = () => { entry.firstFrameAt ||= performance.now(); };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(seen);
    else video.addEventListener('loadeddata', seen, { once: true });
  }

  // A known colour with something moving in a corner, so that every frame is new and the middle says who sent it.
  // With `grain`, noise that no frame shares with the one before: the encoder needs all the bits it may have.
  function paint(color, width, height, fps, grain) {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    document.body.append(canvas);
    const g = canvas.getContext('2d');
    let n = 0;
    const noise = grain ? noiseOf(2 * width, 2 * height) : null;
    const draw = () => {
      g.fillStyle = `rgb(${color.join(',')})`;
      g.fillRect(0, 0, width, height);
      if (noise) g.drawImage(noise, -Math.floor(Math.random() * width), -Math.floor(Math.random() * height));
      g.fillStyle = n % 2 ? '#fff' : '#000';
      g.fillRect((n * 7) % (width - 16), 2, 14, 14);
      n += 1;
    };
    draw();
    const timer = setInterval(draw, 1000 / fps);
    const track = canvas.captureStream(fps).getVideoTracks()[0];
    // The client reckons encodings by the size of a track, and some Firefoxes do not tell that of a canvas.
    const settings = track.getSettings();
    if (!settings.width) track.getSettings = () => ({ ...settings, width, height });
    return { track, stop: () => { clearInterval(timer); track.stop(); canvas.remove(); } };
  }

  function noiseOf(width, height) {
    const canvas = Object.assign(document.createElement('canvas'), { width, height });
    const g = canvas.getContext('2d');
    const image = g.createImageData(width, height);
    for (let i = 0; i < image.data.length; i += 4) {
      image.data.fill(Math.random() * 256, i, i + 3);
      image.data[i + 3] = 60;
    }
    g.putImageData(image, 0, 0);
    return canvas;
  }

  // A tone of that many hertz, as quiet as a room in which nobody speaks until `loud` says otherwise.
  const QUIET = 0.0005;
  let gain;
  function hum(hertz) {
    const context = new AudioContext();
    const tone = new OscillatorNode(context, { frequency: hertz });
    gain = new GainNode(context, { gain: QUIET });
    const out = new MediaStreamAudioDestinationNode(context);
    tone.connect(gain).connect(out);
    tone.start();
    return out.stream.getAudioTracks()[0];
  }

  function loud(is, millis = 0) {
    const { currentTime } = gain.context;
    gain.gain.setValueAtTime(is ? 0.3 : QUIET, currentTime);
    if (millis) gain.gain.setValueAtTime(is ? QUIET : 0.3, currentTime + millis / 1_000);
  }

  async function publish({ color = null, audio = true, video = true, screen = false, width = 320, height = 240, fps = 15, grain = false, simulcast = null, tone = 0 } = {}) {
    const properties = { publishAudio: audio, publishVideo: video, resolution: `${width}x${height}`, frameRate: fps, mirror: false };
    if (simulcast !== null) properties.videoSimulcast = simulcast;
    if (!audio) properties.audioSource = false;
    else if (tone) properties.audioSource = hum(tone);
    if (!video) properties.videoSource = false;
    else if (screen && color) {
      painter = paint(color, width, height, fps, grain);
      share(painter.track);
      properties.videoSource = 'screen';
    } else if (screen) properties.videoSource = 'screen';
    else if (color) {
      painter = paint(color, width, height, fps, grain);
      properties.videoSource = painter.track;
    }
    publisher = await openvidu.initPublisherAsync(undefined, properties);
    publisher.on('streamDestroyed', (e) => events.push({ type: 'ownStreamDestroyed', at: performance.now(), reason: e.reason }));
    await session.publish(publisher);
    return { streamId: publisher.stream.streamId, typeOfVideo: publisher.stream.typeOfVideo ?? null };
  }

  // From now on the screen that may be shared is this track. As 'motion' it has the encodings that a camera has: of a screen with
  // 'detail' the library makes all as large as it is.
  function share(track) {
    track.contentHint = 'motion';
    navigator.mediaDevices.getDisplayMedia = async () => new MediaStream([track]);
  }

  async function unpublish() {
    await session.unpublish(publisher);
    painter?.stop();
  }

  // The mean colour of the middle of what is shown of a stream.
  function colorOf(streamId) {
    const { video } = subscriptions.get(streamId);
    if (!video.videoWidth) return null;
    const canvas = Object.assign(document.createElement('canvas'), { width: 32, height: 24 });
    const g = canvas.getContext('2d', { willReadFrequently: true });
    g.drawImage(video, 0, 0, 32, 24);
    const { data } = g.getImageData(8, 8, 16, 12);
    const sum = [0, 0, 0];
    for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c += 1) sum[c] += data[i + c];
    return sum.map((v) => Math.round(v / (data.length / 4)));
  }

  // The library throws while a subscription that it lists has no connection yet.
  function connectionOf(stream) {
    try { return stream?.getRTCPeerConnection?.() ?? null; } catch { return null; }
  }

  async function received(streamId) {
    const entry = subscriptions.get(streamId);
    const connection = connectionOf(entry?.subscriber.stream);
    if (!connection) return null;
    const out = { connectionState: connection.connectionState, subscribedAt: entry.subscribedAt, firstFrameAt: entry.firstFrameAt, color: colorOf(streamId), width: entry.video.videoWidth, framesDecoded: 0, framesReceived: 0, packetsReceived: 0, audioEnergy: 0, audioPackets: 0, retransmitted: 0, nacks: 0, lost: 0, fps: 0, srtpCipher: null };
    const stats = await connection.getStats();
    for (const s of stats.values()) {
      if (s.type === 'inbound-rtp' && s.kind === 'video') out.codec = stats.get(s.codecId)?.mimeType ?? null;
      if (s.type === 'inbound-rtp' && s.kind === 'video') Object.assign(out, { framesDecoded: s.framesDecoded ?? 0, framesReceived: s.framesReceived ?? 0, packetsReceived: s.packetsReceived ?? 0, retransmitted: s.retransmittedPacketsReceived ?? 0, nacks: s.nackCount ?? 0, plis: s.pliCount ?? 0, lost: s.packetsLost ?? 0, fps: s.framesPerSecond ?? 0, keyFrames: s.keyFramesDecoded ?? 0, freezes: s.freezeCount ?? 0, frozen: s.totalFreezesDuration ?? 0, dropped: s.framesDropped ?? 0, frameWidth: s.frameWidth ?? 0, bytes: s.bytesReceived ?? 0, bufferDelay: s.jitterBufferDelay ?? 0, buffered: s.jitterBufferEmittedCount ?? 0 });
      if (s.type === 'inbound-rtp' && s.kind === 'audio') Object.assign(out, { audioEnergy: s.totalAudioEnergy ?? 0, audioPackets: s.packetsReceived ?? 0, audioSamples: s.totalSamplesReceived ?? 0, concealed: s.concealedSamples ?? 0, silentConcealed: s.silentConcealedSamples ?? 0, fecPackets: s.fecPacketsReceived ?? 0 });
      if (s.type === 'transport') Object.assign(out, { srtpCipher: s.srtpCipher ?? null, dtlsState: s.dtlsState ?? null, tlsVersion: s.tlsVersion ?? null });
    }
    return out;
  }

  async function sent() {
    const connection = connectionOf(publisher?.stream);
    if (!connection) return null;
    const out = { connectionState: connection.connectionState, framesEncoded: 0, bytesSent: 0, targetBitrate: 0, nacks: 0, retransmitted: 0, srtpCipher: null, width: 0 };
    for (const s of (await connection.getStats()).values()) {
      if (s.type === 'outbound-rtp' && s.kind === 'video') Object.assign(out, { framesEncoded: s.framesEncoded ?? 0, bytesSent: s.bytesSent ?? 0, targetBitrate: s.targetBitrate ?? 0, nacks: s.nackCount ?? 0, plis: s.pliCount ?? 0, retransmitted: s.retransmittedPacketsSent ?? 0, width: s.frameWidth ?? 0, fps: s.framesPerSecond ?? 0 });
      if (s.type === 'outbound-rtp' && s.kind === 'audio') Object.assign(out, { audioPackets: s.packetsSent ?? 0 });
      if (s.type === 'transport') Object.assign(out, { srtpCipher: s.srtpCipher ?? null });
      if (s.type === 'candidate-pair' && s.nominated) out.availableOutgoingBitrate = s.availableOutgoingBitrate ?? 0;
      if (s.type === 'remote-inbound-rtp' && s.kind === 'video') Object.assign(out, { rtt: s.roundTripTime ?? null, remoteLost: s.packetsLost ?? 0 });
    }
    return out;
  }

  // Each encoding of the own video, lowest first as it was asked for.
  async function encodings() {
    const connection = connectionOf(publisher?.stream);
    const stats = [...(await connection.getStats()).values()].filter((s) => s.type === 'outbound-rtp' && s.kind === 'video');
    const sender = connection.getSenders().find((s) => s.track?.kind === 'video');
    return sender.getParameters().encodings.map(({ rid, active }) => {
      const of = stats.find((s) => s.rid === rid) ?? (stats.length === 1 ? stats[0] : {});
      return { rid: rid ?? null, active, frames: of.framesEncoded ?? 0, width: of.frameWidth ?? 0, keyFrames: of.keyFramesEncoded ?? 0, plis: of.pliCount ?? 0, bytes: of.bytesSent ?? 0 };
    });
  }

  // Switches encodings of the own video on and off, as a browser does by itself when it lacks bandwidth.
  async function activate(wanted) {
    const sender = connectionOf(publisher.stream).getSenders().find((s) => s.track?.kind === 'video');
    const parameters = sender.getParameters();
    parameters.encodings.forEach((encoding, nth) => { encoding.active = wanted[nth]; });
    await sender.setParameters(parameters);
  }

  const ask = (method, params) => new Promise((resolve, reject) => {
    openvidu.sendRequest(method, params, (error, result) => (error ? reject(Object.assign(new Error(error.message), { code: error.code })) : resolve(result)));
  });

  // The library always makes another RTCPeerConnection. This keeps the one that is there and restarts ICE on it.
  async function restartIce(streamId) {
    const stream = streamId ? subscriptions.get(streamId).subscriber.stream : publisher.stream;
    const connection = stream.getRTCPeerConnection();
    if (streamId) {
      const { sdpOffer } = await ask('prepareReceiveVideoFrom', { sender: streamId, reconnect: true, iceRestart: true });
      await connection.setRemoteDescription({ type: 'offer', sdp: sdpOffer });
      await connection.setLocalDescription(await connection.createAnswer());
      await ask('reconnectStream', { stream: streamId, sdpString: connection.localDescription.sdp, forciblyReconnect: false });
    } else {
      connection.restartIce();
      await connection.setLocalDescription(await connection.createOffer());
      const { sdpAnswer } = await ask('reconnectStream', { stream: stream.streamId, sdpString: connection.localDescription.sdp });
      await connection.setRemoteDescription({ type: 'answer', sdp: sdpAnswer });
    }
  }

  // What a connection is, as far as its transport goes.
  async function transportOf(streamId) {
    const stream = streamId ? subscriptions.get(streamId).subscriber.stream : publisher.stream;
    const connection = stream.getRTCPeerConnection();
    connection.number ??= Math.random();
    const stats = await connection.getStats();
    const transport = [...stats.values()].find((s) => s.type === 'transport');
    const ufrag = (description) => /a=ice-ufrag:(\S+)/.exec(description?.sdp ?? '')?.[1];
    return { connection: connection.number, state: connection.connectionState, dtlsState: transport.dtlsState, srtpCipher: transport.srtpCipher, ufrag: transport.iceLocalUsernameFragment, offered: ufrag(connection.currentLocalDescription), remote: ufrag(connection.currentRemoteDescription), changes: transport.selectedCandidatePairChanges };
  }

  // Watches for the longest time without a new picture until it is stopped.
  function watchGaps(streamId) {
    const entry = subscriptions.get(streamId);
    const watched = { last: performance.now(), longest: 0, frames: 0, on: true };
    const look = () => {
      const now = performance.now();
      watched.longest = Math.max(watched.longest, now - watched.last);
      watched.last = now;
      watched.frames += 1;
      if (watched.on) entry.video.requestVideoFrameCallback(look);
    };
    entry.video.requestVideoFrameCallback(look);
    entry.gaps = watched;
  }

  function longestGap(streamId) {
    const { gaps } = subscriptions.get(streamId);
    gaps.on = false;
    return { longest: Math.max(gaps.longest, performance.now() - gaps.last), frames: gaps.frames };
  }

  // From now on video is offered in one codec only.
  function offerOnly(mimeType) {
    const { codecs } = RTCRtpSender.getCapabilities('video');
    const wanted = codecs.filter((c) => c.mimeType === mimeType || c.mimeType === 'video/rtx');
    patch('createOffer', (connection) => {
      for (const t of connection.getTransceivers()) if (t.sender.track?.kind === 'video') t.setCodecPreferences(wanted);
    });
  }

  // From now on what encoders make is scrambled before it is sent, or unscrambled before it is decoded: every octet of it, so that
  // nobody between can read any.
  function scramble(mask) {
    const code = `onrtctransform = ({ transformer }) => transformer.readable.pipeThrough(new TransformStream({
      transform(frame, out) {
        const data = new Uint8Array(frame.data);
        for (let i = 0; i < data.length; i += 1) data[i] ^= ${mask};
        frame.data = data.buffer;
        out.enqueue(frame);
      },
    })).pipeTo(transformer.writable);`;
    const source = URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
    const transform = () => new RTCRtpScriptTransform(new Worker(source), {});
    // A sender that has none at once never gets one.
    const { addTransceiver } = RTCPeerConnection.prototype;
    RTCPeerConnection.prototype.addTransceiver = function patched(...args) {
      const transceiver = addTransceiver.apply(this, args);
      if (transceiver.sender.track?.kind === 'video') transceiver.sender.transform = transform();
      return transceiver;
    };
    patch('setRemoteDescription', (connection) => {
      connection.addEventListener('track', ({ track, receiver }) => { if (track.kind === 'video') receiver.transform = transform(); });
    });
  }

  function patch(method, before) {
    const original = RTCPeerConnection.prototype[method];
    RTCPeerConnection.prototype[method] = function patched(...args) {
      before(this);
      return original.apply(this, args);
    };
  }

  const api = {
    restartIce, transportOf, watchGaps, longestGap,
    reconnectOwn: () => publisher.stream.reconnect(),
    reconnectTo: (streamId) => subscriptions.get(streamId).subscriber.stream.reconnect(),
    offerOnly, scramble, join, paint, loud, publish, unpublish, received, sent, encodings, activate, events,
    streams: () => [...subscriptions.keys()],
    now: () => performance.now(),
    eventsOf: (type) => events.filter((e) => e.type === type),
    signal: (options) => session.signal(options),
    mute: (audio, video) => { if (audio !== null) publisher.publishAudio(audio); if (video !== null) publisher.publishVideo(video); },
    leave: () => session.disconnect(),
    forceDisconnect: (connectionId) => session.forceDisconnect([...session.remoteConnections.values()].find((c) => c.connectionId === connectionId)),
    forceUnpublish: (streamId) => session.forceUnpublish(subscriptions.get(streamId).subscriber.stream),
    unsubscribe: (streamId) => { session.unsubscribe(subscriptions.get(streamId).subscriber); subscriptions.get(streamId).video.remove(); subscriptions.delete(streamId); },
    propertiesOf: (streamId) => { const s = subscriptions.get(streamId).subscriber.stream; return { audioActive: s.audioActive, videoActive: s.videoActive, typeOfVideo: s.typeOfVideo, hasVideo: s.hasVideo, hasAudio: s.hasAudio }; },
    connectionOf: (streamId) => subscriptions.get(streamId).subscriber.stream.getRTCPeerConnection(),
    ownConnection: () => publisher.stream.getRTCPeerConnection(),
    remoteConnections: () => [...session.remoteConnections.keys()],
    capabilities: () => session.capabilities,
  };
  return api;
})();
