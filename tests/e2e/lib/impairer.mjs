import { bindUdp } from './net.mjs';
import { Path, Queue, mulberry32 } from './path.mjs';

// A UDP proxy before a media node: it listens on the ports that the node advertises, and every browser's way through it is a pair of
// paths (path.mjs) that may be changed at any time. Chance comes from a seeded generator, so that a run can be repeated.
//
//   impairer.set({ up: { loss: 0.05, delayMs: 30 }, down: { … } })   all browsers, present and future
//   impairer.clients[2].set({ down: { rate: 500_000 } })             the third transport that came; since(mark) gives later ones
//   impairer.share(clients, { rate: 2_000_000 })                     one queue for what several are sent
//
// Only RTP and RTCP are lost by chance, not what sets a call up; delays, rates and cuts are for everything.
export async function impairer({ listenBase, targetBase, count, target, seed = 1 }) {
  const random = mulberry32(seed);
  const everybody = { up: {}, down: {} };
  const state = { clients: [], blockStun: false, injected: 0, blocked: 0 };
  const sockets = [];
  let closed = false;

  for (let i = 0; i < count; i += 1) {
    const front = await bindUdp(listenBase + i);
    sockets.push(front);
    const known = new Map(); // what browser → client
    front.on('message', (datagram, from) => {
      const key = `${from.address}:${from.port}`;
      if (!known.has(key)) known.set(key, add(front, from, targetBase + i));
      const client = known.get(key);
      if (datagram[0] < 4) client.checkedAt ??= performance.now();
      pass(client, 'up', datagram, async () => (await client.back)?.send(datagram, client.port, target));
    });
  }

  // A browser's transport, as its first datagram comes.
  function add(front, from, port) {
    const client = {
      from, port, front, shared: null,
      up: new Path(random, everybody.up), down: new Path(random, everybody.down),
      wires: { up: new Wire(), down: new Wire() },
      set: ({ up = {}, down = {} }) => { client.up.set(up); client.down.set(down); },
    };
    client.open = () => { client.back = open(client); };
    client.open();
    state.clients.push(client);
    return client;
  }

  // The address that the node takes for the browser.
  async function open(client) {
    const socket = await bindUdp(0);
    if (closed) return socket.close();
    sockets.push(socket);
    client.socket = socket;
    socket.on('message', (answer) => pass(client, 'down', answer, () => client.front.send(answer, client.from.port, client.from.address)));
    return socket;
  }

  function pass(client, direction, datagram, send) {
    if (state.blockStun && datagram[0] < 4) {
      state.blocked += 1;
      return;
    }
    const now = performance.now();
    // RTP and RTCP have a first byte of 128 to 191 (RFC 7983).
    const spared = datagram[0] < 128 || datagram[0] > 191;
    const at = client[direction].arrival(now, datagram.length, { spared, shared: direction === 'down' ? client.shared : null });
    if (at !== null) client.wires[direction].add(now, at, () => { if (!closed) send(); });
  }

  const sum = (direction, of) => state.clients.reduce((total, client) => total + of(client[direction]), 0);
  const both = (of) => ({ up: sum('up', of), down: sum('down', of) });
  return Object.defineProperties(Object.assign(state, {
    set: ({ up = {}, down = {} }) => {
      Object.assign(everybody.up, up);
      Object.assign(everybody.down, down);
      for (const client of state.clients) client.set({ up, down });
    },
    // One queue for what these are sent.
    share: (clients, { rate, queueMs = 300 }) => {
      const shared = { queue: new Queue(), rate, queueMs };
      for (const client of clients) client.shared = shared;
      return shared;
    },
    mark: () => state.clients.length,
    since: (mark) => state.clients.slice(mark),
    // As when a NAT forgets: every browser (or these) comes to the node from a new port, and nothing gets back through the old ones.
    rebind: (clients = state.clients) => {
      for (const client of clients) {
        client.socket?.close();
        client.checkedAt = null; // when the first STUN message comes from the new address
        client.open();
      }
    },
    // Sends a datagram of our own from the address of some live peer.
    inject: (datagram) => {
      const live = state.clients.filter((client) => client.socket);
      if (live.length === 0) return;
      const peer = live[state.injected % live.length];
      state.injected += 1;
      peer.socket.send(datagram, peer.port, target);
    },
    close: () => {
      closed = true;
      for (const socket of sockets) try { socket.close(); } catch { /* closed already */ }
    },
  }), {
    passed: { get: () => both((path) => path.passed) },
    dropped: { get: () => both((path) => path.lost.chance + path.lost.queue + path.lost.cut) },
  });
}

// What is on its way. Timers of a millisecond would change the order, so what should stay in order is let go in order.
class Wire {
  constructor() { this.waiting = []; this.timer = null; }

  add(now, at, send) {
    if (at <= now && this.waiting.length === 0) {
      send();
      return;
    }
    // Nearly always at the end.
    let place = this.waiting.length;
    while (place > 0 && this.waiting[place - 1].at > at) place -= 1;
    this.waiting.splice(place, 0, { at, send });
    this.#arm();
  }

  #arm() {
    clearTimeout(this.timer);
    if (this.waiting.length > 0) this.timer = setTimeout(() => this.#release(), Math.max(0, this.waiting[0].at - performance.now()));
  }

  #release() {
    const now = performance.now() + 0.5;
    const due = this.waiting.findIndex(({ at }) => at > now);
    const ready = this.waiting.splice(0, due < 0 ? this.waiting.length : due);
    for (const { send } of ready) send();
    this.#arm();
  }
}
