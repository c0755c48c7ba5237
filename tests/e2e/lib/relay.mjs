import { bindUdp, freeUdpBlock } from './net.mjs';
import { mulberry32 } from './path.mjs';

// A way between the master and a node that loses and delays: a UDP relay before the node's link. `set({ loss, delayMs })` is for both directions, `counts` what it was given and lost.
export async function linkRelay({ host, port, seed = 1 }) {
  const random = mulberry32(seed);
  const listen = await freeUdpBlock(1);
  const front = await bindUdp(listen);
  const ways = new Map();
  const counts = { all: 0, lost: 0 };
  let conditions = { loss: 0, delayMs: 0 };
  const carry = (send) => {
    counts.all += 1;
    if (random() < conditions.loss) {
      counts.lost += 1;
      return;
    }
    if (conditions.delayMs > 0) setTimeout(send, conditions.delayMs);
    else send();
  };
  front.on('message', async (datagram, from) => {
    const key = `${from.address}:${from.port}`;
    if (!ways.has(key)) {
      ways.set(key, bindUdp(0).then((back) => {
        back.on('message', (answer) => carry(() => front.send(answer, from.port, from.address, () => {})));
        return back;
      }));
    }
    const back = await ways.get(key);
    carry(() => back.send(datagram, port, host, () => {}));
  });
  return {
    port: listen, counts,
    set: (next) => { conditions = { loss: 0, delayMs: 0, ...next }; },
    close: async () => { front.close(); for (const way of ways.values()) (await way).close(); },
  };
}
