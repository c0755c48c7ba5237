import http from 'node:http';
import { parse } from './metrics.mjs';

// As much of a Prometheus server as the master asks for: it reads targets (`HOST:PORT`) and answers instant queries for names
// (`{__name__=~"a|b"}`) and for when one was read (`timestamp(a)`). `change` may alter what it has read.
export async function prometheus({ every = 500 } = {}) {
  const state = { targets: [], series: [], asked: [], change: (series) => series, stopped: false };
  const read = async () => {
    const pages = await Promise.all(state.targets.map(async (instance) => {
      const at = Date.now() / 1000;
      const text = await fetch(`http://${instance}/metrics`).then((r) => r.text(), () => '');
      return parse(text).map(({ name, labels, value }) => ({ at, value, metric: { ...labels, __name__: name, instance, job: 'nodes' } }));
    }));
    if (!state.stopped) state.series = state.change(pages.flat());
  };
  const timer = setInterval(read, every);
  const answer = (query) => {
    const now = Date.now() / 1000;
    const names = /^\{__name__=~"(.*)"\}$/.exec(query)?.[1].split('|');
    if (names) return state.series.filter((s) => names.includes(s.metric.__name__)).map((s) => ({ metric: s.metric, value: [now, String(s.value)] }));
    const timed = /^timestamp\((\w+)\)$/.exec(query)?.[1];
    if (!timed) return null;
    return state.series.filter((s) => s.metric.__name__ === timed).map(({ at, metric: { __name__, ...metric } }) => ({ metric, value: [now, String(at)] }));
  };
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://x');
    const query = url.searchParams.get('query');
    state.asked.push(query);
    const result = url.pathname === '/api/v1/query' ? answer(query) : null;
    response.writeHead(result ? 200 : 400, { 'content-type': 'application/json' });
    response.end(JSON.stringify(result ? { status: 'success', data: { resultType: 'vector', result } } : { status: 'error', errorType: 'bad_data', error: 'unknown query' }));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, state, close() { clearInterval(timer); server.closeAllConnections(); server.close(); } };
}
