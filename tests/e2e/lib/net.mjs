import dgram from 'node:dgram';
import net from 'node:net';
import os from 'node:os';

// A TCP port that was free a moment ago, on all local addresses.
export function freeTcpPort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '0.0.0.0', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

// Blocks that this process has dealt out: whoever got one may not have bound it yet.
const dealt = new Set();

// The first of `count` neighbouring UDP ports that are free, below the range from which the kernel deals out its own.
export async function freeUdpBlock(count) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const base = 10_000 + Math.floor(Math.random() * 20_000);
    const ports = Array.from({ length: count }, (_, i) => base + i);
    if (ports.some((port) => dealt.has(port))) continue;
    const held = [];
    try {
      for (const port of ports) held.push(await bindUdp(port));
      for (const port of ports) dealt.add(port);
      return base;
    } catch {
      // taken: try elsewhere
    } finally {
      for (const socket of held) socket.close();
    }
  }
  throw new Error(`no ${count} neighbouring UDP ports are free`);
}

export function bindUdp(port, address = '0.0.0.0') {
  return new Promise((resolve, reject) => {
    const socket = dgram.createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
    socket.once('error', reject);
    socket.bind(port, address, () => { socket.off('error', reject); resolve(socket); });
  });
}

// The address that browsers are told; Firefox refuses loopback.
export function hostAddress() {
  for (const list of Object.values(os.networkInterfaces())) for (const a of list) if (a.family === 'IPv4' && !a.internal) return a.address;
  throw new Error('this machine has no address but loopback: Firefox needs one');
}

// An IPv6 address of this machine that browsers take for a host's: neither loopback nor link-local. Null if there is none.
export function hostAddress6() {
  for (const list of Object.values(os.networkInterfaces())) for (const a of list) if (a.family === 'IPv6' && !a.internal && !a.address.startsWith('fe80')) return a.address;
  return null;
}
