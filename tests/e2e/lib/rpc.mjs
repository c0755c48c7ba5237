import WebSocket from 'ws';
import { until } from './wait.mjs';

// A client that speaks the JSON-RPC by hand, for what no published client would say.
export async function rpcSocket(cluster, sessionId, { path = '/openvidu' } = {}) {
  const socket = new WebSocket(`ws://127.0.0.1:${cluster.httpPort}${path}?sessionId=${sessionId}`);
  const state = { socket, notifications: [], strays: [], closed: null, connectionId: null };
  const waiting = new Map();
  let next = 0;
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.method) state.notifications.push(message);
    else if (waiting.has(message.id)) { waiting.get(message.id)(message); waiting.delete(message.id); }
    else state.strays.push(message);
  });
  socket.on('error', () => {}); // `closed` says what matters
  socket.on('close', (code, reason) => { state.closed = { code, reason: reason.toString() }; });
  await until('the socket is open', () => {
    if (state.closed) throw new Error(`the socket was closed before it was open: ${state.closed.code}`);
    return socket.readyState === WebSocket.OPEN;
  }, { timeout: 5_000, every: 10 });
  // Fails when the socket is closed, for whoever waits for something else as well.
  state.gone = new Promise((_, reject) => { socket.once('close', () => reject(new Error('the socket is closed'))); });
  state.gone.catch(() => {});
  // The whole answer, whatever it is.
  state.ask = (method, params, timeout = 10_000) => new Promise((resolve, reject) => {
    const id = next++;
    const timer = setTimeout(() => reject(new Error(`${method}: no answer within ${timeout} ms`)), timeout);
    waiting.set(id, (message) => { clearTimeout(timer); resolve(message); });
    socket.send(JSON.stringify({ jsonrpc: '2.0', method, params, id }));
  });
  state.call = async (method, params, timeout) => {
    const answer = await state.ask(method, params, timeout);
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result;
  };
  state.join = async (token, name = 'x') => {
    const joined = await state.call('joinRoom', { token, session: sessionId, platform: 'by hand', sdkVersion: '2.32.2', metadata: name, secret: '', recorder: false, stt: false });
    state.connectionId = joined.id;
    return joined;
  };
  state.close = () => { socket.terminate(); };
  return state;
}
