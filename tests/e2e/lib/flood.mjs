// Floods of signalling, from an address of their own, in a process of their own: node flood.mjs KIND PORT SECONDS
// Says at its end what it was answered: {"sent":…,"answers":{"101":…,"429":…}}
import net from 'node:net';

const ATTACKER = '127.0.0.66';
const [kind, port, seconds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const counts = { sent: 0, answers: {} };
const note = (what) => { counts.answers[what] = (counts.answers[what] ?? 0) + 1; };
const end = Date.now() + seconds * 1000;
const upgrade = 'GET /openvidu?sessionId=x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';

function dial() {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress: ATTACKER, noDelay: true });
  socket.on('error', (e) => note(e.code));
  return socket;
}

// A frame of a client: masked with zeros, which changes nothing.
function frame(bytes) {
  const head = Buffer.alloc(14);
  head[0] = 0x81;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(bytes.length), 2);
  return Buffer.concat([head, bytes]);
}

const open = (then) => {
  const socket = dial();
  counts.sent += 1;
  let isOpen = false;
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    if (!isOpen && rest.includes('\r\n\r\n')) {
      const status = /^HTTP\/1.1 (\d+)/.exec(rest)?.[1];
      note(status);
      isOpen = status === '101';
      rest = rest.subarray(rest.indexOf('\r\n\r\n') + 4);
      if (!isOpen) socket.destroy();
      else then?.(socket);
    }
    // A close frame says why.
    if (isOpen && rest.length >= 4 && rest[0] === 0x88) { note(`closed ${rest.readUInt16BE(2)}`); socket.destroy(); rest = Buffer.alloc(0); }
    else if (isOpen && rest.length > 2 && rest[0] === 0x81) { note('answered'); rest = Buffer.alloc(0); }
  });
  socket.on('connect', () => socket.write(upgrade));
  return socket;
};

const KINDS = {
  // As many WebSockets as fit through the door, kept.
  connects: () => { for (let i = 0; i < 64; i += 1) open(); },
  // Heads of requests that never end.
  loris: () => {
    for (let i = 0; i < 64 && counts.sent < 3000; i += 1) {
      const socket = dial();
      counts.sent += 1;
      socket.on('connect', () => { socket.write('GET /openvidu HTTP/1.1\r\nX: '); const timer = setInterval(() => socket.write('y'), 1000); socket.on('close', () => { note('closed'); clearInterval(timer); }); });
    }
  },
  frames: () => { if (counts.sent < 20 * seconds) open((socket) => socket.write(frame(Buffer.alloc(10 << 20, 'x')))); },
  json: () => { if (counts.sent < 20 * seconds) open((socket) => socket.write(frame(Buffer.alloc((1 << 20) - 64, '[')))); },
  // One token, again and again.
  joins: () => {
    if (counts.sent > 0) return;
    const join = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'joinRoom', params: { token: 'tok_A', session: 'legit', secret: '', metadata: '' } });
    open((socket) => { const timer = setInterval(() => { if (Date.now() > end || socket.destroyed) clearInterval(timer); else for (let i = 0; i < 50; i += 1) socket.write(frame(Buffer.from(join))); }, 5); });
  },
};

if (kind) {
  const timer = setInterval(() => {
    if (Date.now() < end) return KINDS[kind]();
    clearInterval(timer);
    console.log(JSON.stringify(counts));
    process.exit(0);
  }, 10);
}
