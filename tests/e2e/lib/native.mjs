import { fork } from 'node:child_process';
import path from 'node:path';

const program = path.join(path.dirname(new URL(import.meta.url).pathname), 'native_client.mjs');

// A participant without a browser, on an old libwebrtc whose only SRTP protection profile is AES_CM_128_HMAC_SHA1_80.
export async function nativeParticipant({ cluster, sessionId, name = 'native' }) {
  const child = fork(program);
  const waiting = new Map();
  let next = 0;
  child.on('message', ({ id, value, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error) reject(new Error(`${name}: ${error}`));
    else resolve(value);
  });
  child.on('exit', (code, signal) => { for (const { reject } of waiting.values()) reject(new Error(`${name} ended (${code ?? signal})`)); });
  const order = (what, parameters) => new Promise((resolve, reject) => {
    waiting.set(next, { resolve, reject });
    child.send({ id: next++, order: what, parameters });
  });
  const close = () => child.kill('SIGKILL');
  try {
    const { connectionId } = await order('join', { httpPort: cluster.httpPort, sessionId, token: await cluster.token(sessionId), name });
    return {
      name, connectionId, close,
      publish: (color) => order('publish', { color }),
      subscribe: (streamId) => order('subscribe', { streamId }),
      // { frames, color } of what was decoded so far.
      received: (streamId) => order('received', { streamId }),
    };
  } catch (error) {
    close();
    throw error;
  }
}
