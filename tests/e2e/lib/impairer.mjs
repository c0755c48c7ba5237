import { bindUdp } from './net.mjs';

// A UDP proxy before a media node: it listens on the ports that the node advertises and loses what it is told to lose.
// Loss is counted per direction and drawn from a seeded generator, so that a run can be repeated.
export async function impairer({ listenBase, targetBase, count, target, seed = 1 }) {
  const state = { lossUp: 0, lossDown: 0, passed: { up: 0, down: 0 }, dropped: { up: 0, down: 0 }, onlyMedia: true, blockStun: false, delayMs: 0, injected: 0 };
  let backs = []; // { socket, port }: the addresses that the node takes for its peers
  const random = mulberry32(seed);
  const sockets = [];
  const rebinds = [];
  for (let i = 0; i < count; i += 1) {
    const front = await bindUdp(listenBase + i);
    sockets.push(front);
    const clients = new Map(); // what browser → { from, back }
    const open = (from) => bindUdp(0).then((socket) => {
      sockets.push(socket);
      backs.push({ socket, port: targetBase + i });
      socket.on('message', (answer) => pass('down', answer, () => front.send(answer, from.port, from.address)));
      return socket;
    });
    rebinds.push(() => { for (const client of clients.values()) client.back = open(client.from); });
    front.on('message', async (datagram, from) => {
      const key = `${from.address}:${from.port}`;
      if (!clients.has(key)) clients.set(key, { from, back: open(from) });
      const socket = await clients.get(key).back;
      pass('up', datagram, () => socket.send(datagram, targetBase + i, target));
    });
  }
  function pass(direction, datagram, send) {
    // RTP and RTCP only (first byte 128 to 191, RFC 7983): setting up is not what the loss cases are about.
    const media = datagram[0] >= 128 && datagram[0] <= 191;
    const loss = direction === 'up' ? state.lossUp : state.lossDown;
    const blocked = state.blockStun && datagram[0] < 4;
    if (blocked || ((media || !state.onlyMedia) && random() < loss)) {
      state.dropped[direction] += 1;
      return;
    }
    state.passed[direction] += 1;
    if (state.delayMs) setTimeout(send, state.delayMs);
    else send();
  }
  // As when a NAT forgets: every browser comes to the node from a new port, and nothing gets back through the old ones.
  state.rebind = () => {
    for (const { socket } of backs) socket.close();
    backs = [];
    for (const rebind of rebinds) rebind();
  };
  // Sends a datagram of our own from the address of some live peer.
  state.inject = (datagram) => {
    if (backs.length === 0) return;
    const peer = backs[state.injected % backs.length];
    state.injected += 1;
    peer.socket.send(datagram, peer.port, target);
  };
  state.close = () => { for (const socket of sockets) try { socket.close(); } catch { /* closed already */ } };
  return state;
}

function mulberry32(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
