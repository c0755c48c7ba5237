import http from 'node:http';

// Stands between the master and the metrics of one node (`127.0.0.1:PORT`): it can change what they say, and keep them back.
export async function metricsProxy(target) {
  const changes = new Map();
  const state = { blocked: false, asked: 0, loadOnly: 0 };
  const change = (line) => {
    const name = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(line)?.[0];
    return name && changes.has(name) ? line.replace(/\S+$/, String(changes.get(name))) : line;
  };
  const server = http.createServer(async (request, answer) => {
    state.asked += 1;
    if (request.url.includes('collect=load')) state.loadOnly += 1;
    if (state.blocked) return; // and the question goes unanswered
    try {
      const text = await (await fetch(`http://${target}${request.url}`)).text();
      answer.end(text.split('\n').map(change).join('\n'));
    } catch {
      answer.destroy();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    state,
    // From now on each series of that name has this value; without one, its own.
    alter(name, value) { if (value === undefined) changes.delete(name); else changes.set(name, value); },
    block(on) { state.blocked = on; },
    close() { server.closeAllConnections(); server.close(); },
  };
}
