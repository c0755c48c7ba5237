import crypto from 'node:crypto';
import { bindUdp } from './net.mjs';
import { check } from './stun.mjs';
import { sleep } from './wait.mjs';

// Sends `count` datagrams of every shape that reaches a media port, random and mutated, and measures what comes back.
// `ufrag` belongs to a live transport, so that some checks carry a valid name and a wrong password.
export async function pelt({ address, ports, count, ufrag, perSecond = 4_000, send = null }) {
  const sockets = await Promise.all([...Array(8)].map(() => bindUdp(0)));
  const answers = { datagrams: 0, bytes: 0, longest: 0, amplified: 0 };
  const asked = new Map(); // transaction id → length of the question
  for (const socket of sockets) {
    socket.on('message', (m) => {
      answers.datagrams += 1;
      answers.bytes += m.length;
      answers.longest = Math.max(answers.longest, m.length);
      const question = asked.get(m.subarray(4, 20).toString('hex'));
      if (question === undefined || m.length > question) answers.amplified += 1;
    });
  }
  let sentBytes = 0;
  for (let n = 0; n < count; n += 1) {
    const datagram = shapes[n % shapes.length](ufrag);
    if (datagram.length >= 20 && datagram[0] < 4) asked.set(datagram.subarray(4, 20).toString('hex'), datagram.length);
    sentBytes += datagram.length;
    const port = ports[n % ports.length];
    if (send) send(datagram, port);
    else sockets[n % sockets.length].send(datagram, port, address);
    if (n % 200 === 199) await sleep(200_000 / perSecond);
  }
  await sleep(500);
  for (const socket of sockets) socket.close();
  return { ...answers, sentBytes };
}

const bytes = (n) => crypto.randomBytes(n);
const length = (max) => crypto.randomInt(max + 1);

function flip(datagram) {
  const copy = Buffer.from(datagram);
  for (let i = crypto.randomInt(1, 5); i > 0 && copy.length > 0; i -= 1) copy[crypto.randomInt(copy.length)] ^= 1 << crypto.randomInt(8);
  return crypto.randomInt(4) === 0 ? copy.subarray(0, length(copy.length)) : copy;
}

// A Binding request with a name and a MESSAGE-INTEGRITY under a password that is not the right one.
const forged = (ufrag, options = {}) => check({ username: `${ufrag}:zzzz`, password: 'not the password at all', ...options });

function clientHello() {
  const hello = Buffer.concat([Buffer.from([22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, crypto.randomInt(256)]), Buffer.alloc(2), Buffer.from([1]), bytes(11), Buffer.from([0xfe, 0xfd]), bytes(32 + length(200))]);
  hello.writeUInt16BE(hello.length - 13, 11);
  return hello;
}

function rtp() {
  const packet = Buffer.concat([Buffer.from([0x80 | crypto.randomInt(64), crypto.randomInt(256)]), bytes(10 + length(1200))]);
  if (packet[1] % 128 >= 64 && packet[1] % 128 < 96) packet[1] = 96;
  return packet;
}

function rtcp() {
  const packet = Buffer.concat([Buffer.from([0x80 | crypto.randomInt(32), 200 + crypto.randomInt(8)]), Buffer.alloc(2), bytes(4 + 4 * length(80) + length(3))]);
  packet.writeUInt16BE(crypto.randomInt(4) ? Math.max(0, Math.floor(packet.length / 4) - 1) : crypto.randomInt(65536), 2);
  return packet;
}

const shapes = [
  () => bytes(length(1400)),
  (ufrag) => forged(ufrag),
  () => forged(crypto.randomBytes(4).toString('hex')),
  (ufrag) => flip(forged(ufrag)),
  (ufrag) => forged(ufrag, { type: [0x0101, 0x0111, 0x0011, 0x0003][crypto.randomInt(4)] }),
  () => clientHello(),
  () => flip(clientHello()),
  () => Buffer.concat([Buffer.from([20 + crypto.randomInt(44)]), bytes(length(300))]),
  () => rtp(),
  () => flip(rtp()),
  () => rtcp(),
  () => flip(rtcp()),
];
