import net from 'node:net';

// A TCP proxy before the master that can cut every connection and refuse new ones for a while.
export async function tcpProxy(targetPort, target = '127.0.0.1') {
  const pairs = new Set();
  let refusing = false;
  const server = net.createServer((client) => {
    if (refusing) return client.destroy();
    const upstream = net.connect(targetPort, target);
    const pair = [client, upstream];
    pairs.add(pair);
    const end = () => { pairs.delete(pair); client.destroy(); upstream.destroy(); };
    for (const socket of pair) socket.on('error', end).on('close', end);
    client.pipe(upstream).pipe(client);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: server.address().port,
    cut() { for (const pair of pairs) for (const socket of pair) socket.destroy(); },
    refuse(on) { refusing = on; },
    close() { this.cut(); server.close(); },
  };
}
