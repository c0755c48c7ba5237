import crypto from 'node:crypto';
import { rpcSocket } from './rpc.mjs';

// Participants on paper: they join and publish by hand, and no media ever come from them. For load on the master, and for transports on nodes.
export async function paperParticipant(cluster, sessionId, { name = 'paper', token = null } = {}) {
  const rpc = await rpcSocket(cluster, sessionId);
  try {
    const joined = await rpc.join(token ?? await cluster.token(sessionId), name);
    rpc.publish = async () => (await publishOnPaper(rpc)).id;
    return Object.assign(rpc, { joined, name });
  } catch (error) {
    rpc.close();
    throw error;
  }
}

// Publishes sound on a socket that has joined.
export const publishOnPaper = (rpc) => rpc.call('publishVideo', {
  sdpOffer: offer(), doLoopback: false, hasAudio: true, hasVideo: false, audioActive: true, videoActive: false, typeOfVideo: 'CUSTOM',
});

// One audio that would be sent if anybody were there.
function offer() {
  const hex = crypto.randomBytes(32).toString('hex').toUpperCase();
  return ['v=0', 'o=- 1 1 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE 0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0',
    `a=ice-ufrag:${crypto.randomBytes(4).toString('hex')}`, `a=ice-pwd:${crypto.randomBytes(12).toString('hex')}`,
    `a=fingerprint:sha-256 ${hex.match(/../g).join(':')}`, 'a=setup:actpass', 'a=mid:0', 'a=sendonly', 'a=rtcp-mux',
    'a=rtpmap:111 opus/48000/2', `a=ssrc:${crypto.randomInt(1, 2 ** 32)} cname:paper`, ''].join('\r\n');
}

// Runs `task` for each of `items`, `width` at a time, and gives all outcomes: { value } or { error }.
export async function sideBySide(items, width, task) {
  const [outcomes, rest] = [[], [...items.entries()]];
  await Promise.all(Array.from({ length: width }, async () => {
    for (let next = rest.shift(); next; next = rest.shift()) {
      const [index, item] = next;
      outcomes[index] = await task(item, index).then((value) => ({ value }), (error) => ({ error }));
    }
  }));
  return outcomes;
}
