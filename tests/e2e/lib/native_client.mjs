import wrtc from '@roamhq/wrtc';
import { rpcSocket } from './rpc.mjs';
import { until } from './wait.mjs';

const { RTCAudioSource, RTCVideoSink, RTCVideoSource, i420ToRgba, rgbaToI420 } = wrtc.nonstandard;

// A process that is a participant: told over IPC what to do. Its own process, because the module crashes at an orderly exit.
const subscriptions = new Map(); // stream id → what is decoded of it
const kept = []; // what nobody refers to is collected, and stops
let rpc, mediaServer;

const orders = {
  async join({ httpPort, sessionId, token, name }) {
    rpc = await rpcSocket({ httpPort }, sessionId);
    const joined = await rpc.join(token, name);
    ({ mediaServer } = joined);
    return { connectionId: joined.id };
  },
  publish: ({ color }) => publish(color),
  subscribe: ({ streamId }) => subscribe(streamId),
  received: ({ streamId }) => subscriptions.get(streamId),
};

process.on('message', async ({ id, order, parameters }) => {
  try {
    process.send({ id, value: await orders[order](parameters) });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});

async function publish(color) {
  const connection = new wrtc.RTCPeerConnection({ iceServers: [] });
  connection.addTransceiver(silence(), { direction: 'sendonly' });
  connection.addTransceiver(picture(color), { direction: 'sendonly' });
  await connection.setLocalDescription(await connection.createOffer());
  const video = { typeOfVideo: 'CUSTOM', frameRate: 15, videoDimensions: '{"width":320,"height":240}' };
  const { id, sdpAnswer } = await rpc.call('publishVideo', { sdpOffer: connection.localDescription.sdp, doLoopback: false, hasAudio: true, hasVideo: true, audioActive: true, videoActive: true, ...video });
  await connection.setRemoteDescription({ type: 'answer', sdp: sdpAnswer });
  kept.push(connection);
  return { streamId: id };
}

async function subscribe(streamId) {
  const connection = new wrtc.RTCPeerConnection({ iceServers: [] });
  const seen = { frames: 0, color: null };
  subscriptions.set(streamId, seen);
  connection.ontrack = ({ track }) => {
    if (track.kind !== 'video') return;
    const sink = new RTCVideoSink(track);
    sink.onframe = ({ frame }) => {
      seen.frames += 1;
      if (seen.frames % 5 === 0) seen.color = middle(frame);
    };
    kept.push(connection, sink);
  };
  if (mediaServer === 'mediasoup') {
    const { sdpOffer } = await rpc.call('prepareReceiveVideoFrom', { sender: streamId, reconnect: false });
    await connection.setRemoteDescription({ type: 'offer', sdp: sdpOffer });
    await connection.setLocalDescription(await connection.createAnswer());
    await rpc.call('receiveVideoFrom', { sender: streamId, sdpAnswer: connection.localDescription.sdp });
  } else {
    for (const kind of ['audio', 'video']) connection.addTransceiver(kind, { direction: 'recvonly' });
    await connection.setLocalDescription(await connection.createOffer());
    const { sdpAnswer } = await rpc.call('receiveVideoFrom', { sender: streamId, sdpOffer: connection.localDescription.sdp });
    await connection.setRemoteDescription({ type: 'answer', sdp: sdpAnswer });
  }
  await until('the subscription is connected', () => connection.connectionState === 'connected', { timeout: 10_000 });
}

function picture(color, [width, height] = [320, 240]) {
  const source = new RTCVideoSource();
  const rgba = new Uint8ClampedArray(width * height * 4);
  const data = new Uint8ClampedArray((width * height * 3) / 2);
  let n = 0;
  setInterval(() => {
    for (let i = 0; i < rgba.length; i += 4) rgba.set([...color, 255], i);
    // Something that moves at the top, so that every frame is new.
    for (let i = 0; i < 16; i += 1) rgba.set([n % 2 ? 255 : 0, 0, 0, 255], (2 * width + ((n * 7 + i) % width)) * 4);
    n += 1;
    rgbaToI420({ width, height, data: rgba }, { width, height, data });
    source.onFrame({ width, height, data });
  }, 1_000 / 15);
  return source.createTrack();
}

function silence() {
  const source = new RTCAudioSource();
  const [sampleRate, numberOfFrames] = [48_000, 480];
  const samples = new Int16Array(numberOfFrames);
  setInterval(() => source.onData({ samples, sampleRate, bitsPerSample: 16, channelCount: 1, numberOfFrames }), 10);
  return source.createTrack();
}

// The colour in the middle of a frame.
function middle({ width, height, data }) {
  const rgba = new Uint8ClampedArray(width * height * 4);
  i420ToRgba({ width, height, data }, { width, height, data: rgba });
  const at = (Math.floor(height / 2) * width + Math.floor(width / 2)) * 4;
  return [...rgba.subarray(at, at + 3)];
}
