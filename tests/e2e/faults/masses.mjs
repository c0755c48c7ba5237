// 10 000 participants in 2 500 sessions come as fast as 500 a second, and stay.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { paperParticipant, sideBySide } from '../lib/paper.mjs';
import { sleep } from '../lib/wait.mjs';
import { median, most, startScene } from './scene.mjs';

export const name = 'masses';
export const what = 'a storm of joins: memory per participant, join rate, and no request near the ten seconds after which clients give up';

// openvidu-browser gives up after ten seconds.
const PATIENCE_MS = 10_000;
const IN_A_SESSION = 4;

export async function run({ short, figure, log }) {
  const [sessions, usual] = short ? [50, 100] : [2_500, 500];
  const rate = Number(process.env.RINGCAST_JOIN_RATE ?? usual);
  const { cluster, close } = await startScene({ nodes: 1, master: { sockets_per_address_max: 20_000, sockets_max: 20_000, joins_per_address_rate: 10_000 } });
  const people = [];
  try {
    const resident = () => Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${cluster.masterPid}/status`, 'utf8'))[1]) * 1024;
    // Seconds of processor time: of the master, and of this process, which is everybody else.
    const spent = (pid) => { const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' '); return (Number(stat[11]) + Number(stat[12])) / 100; };
    const empty = resident();
    // Applications ask for tokens before, or the storm would be theirs.
    const names = [...Array(sessions).keys()].map((n) => `mass${n}`);
    const made = await sideBySide(names, 32, async (id) => { const all = []; for (let n = 0; n < IN_A_SESSION; n += 1) all.push({ id, token: await cluster.token(id) }); return all; });
    const failed = made.find((o) => o.error);
    assert.ok(!failed, String(failed?.error));
    // One of every session, then the second, as calls begin.
    const guests = [...Array(IN_A_SESSION).keys()].flatMap((n) => made.map((o) => o.value[n]));
    const withTokens = resident();
    const [master, generator] = [spent(cluster.masterPid), spent(process.pid)];
    const [took, errors, listed] = [[], [], []];
    let running = true;
    const looking = (async () => {
      while (running) {
        const at = Date.now();
        await cluster.rest('GET', '/sessions');
        listed.push(Date.now() - at);
        await sleep(1_000);
      }
    })();
    const began = Date.now();
    const coming = [];
    while (coming.length < guests.length) {
      const due = Math.min(guests.length, Math.ceil(((Date.now() - began) * rate) / 1_000));
      while (coming.length < due) {
        const { id, token } = guests[coming.length];
        const asked = Date.now();
        coming.push(paperParticipant(cluster, id, { token }).then((who) => { took.push(Date.now() - asked); people.push(who); }, (error) => { errors.push(error); }));
      }
      await sleep(5);
    }
    const offered = Date.now() - began;
    await Promise.all(coming);
    const all = Date.now() - began;
    running = false;
    await looking;
    assert.equal(errors.length, 0, `${errors.length} did not get in: ${errors[0]}`);
    const [masterTook, generatorTook] = [spent(cluster.masterPid) - master, spent(process.pid) - generator];
    took.sort((a, b) => a - b);
    log(`${people.length} joined in ${all} ms; offered within ${offered} ms; processor time: master ${masterTook.toFixed(1)} s, generator ${generatorTook.toFixed(1)} s`);
    figure('joins offered', Math.round((guests.length * 1_000) / offered), '1/s');
    figure('joins answered', Math.round((guests.length * 1_000) / all), '1/s');
    figure('a join with its socket, median', median(took), 'ms');
    figure('a join with its socket, p99', took[Math.floor(took.length * 0.99)], 'ms');
    figure('a join with its socket, most', most(took), 'ms', { target: `< ${PATIENCE_MS / 2}`, met: most(took) < PATIENCE_MS / 2 });
    figure('processor time of the master per join', (masterTook * 1_000) / guests.length, 'ms');
    figure('processor time of the generator per join', (generatorTook * 1_000) / guests.length, 'ms');
    figure('listing all sessions meanwhile, most', most(listed), 'ms');
    await sleep(short ? 500 : 5_000);
    const at = Date.now();
    const { body } = await cluster.rest('GET', '/sessions?pendingConnections=true');
    figure('listing all sessions', Date.now() - at, 'ms', { target: '< 1000', met: Date.now() - at < 1_000 });
    assert.equal(body.numberOfElements, sessions);
    assert.equal(body.content.reduce((sum, one) => sum + one.connections.content.filter((c) => c.status === 'active').length, 0), guests.length);
    figure('memory per participant', (resident() - withTokens) / guests.length / 1024, 'KiB');
    figure('memory per pending connection', (withTokens - empty) / guests.length / 1024, 'KiB');
    // Somebody new is not slower for it.
    const late = Date.now();
    const who = await paperParticipant(cluster, 'late');
    figure('one more join afterwards', Date.now() - late, 'ms', { target: '< 500', met: Date.now() - late < 500 });
    who.close();
  } finally {
    for (const who of people) who.close();
    await close();
  }
}
