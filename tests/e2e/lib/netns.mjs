import { execFile, spawnSync } from 'node:child_process';
import crypto from 'node:crypto';
import os from 'node:os';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ip = (...args) => run('ip', args);
const tc = (...args) => run('tc', args);

// Whether this machine lets us make namespaces: only root may, and not in every container.
export async function canIsolate() {
  if (process.getuid() !== 0) return false;
  const name = `rc${crypto.randomBytes(3).toString('hex')}probe`;
  try {
    await ip('netns', 'add', name);
    await ip('netns', 'del', name);
    await tc('-V');
    return true;
  } catch {
    return false;
  }
}

// A switch of our own on this machine, 10.77.x.1 for whoever is not in a namespace, and hosts on it: { address, prefix, host, close }.
export async function startNetwork() {
  const prefix = `rc${crypto.randomBytes(3).toString('hex')}`;
  const subnet = freeSubnet();
  const bridge = `${prefix}br`;
  const hosts = [];
  const network = { prefix, address: `${subnet}.1`, hosts };
  // Whoever ends this test in the middle leaves nothing behind.
  const sweep = () => {
    for (const host of hosts) {
      for (const pid of spawnSync('ip', ['netns', 'pids', host.name]).stdout?.toString().split('\n').filter(Boolean) ?? []) {
        try { process.kill(Number(pid), 'SIGKILL'); } catch { /* it has ended */ }
      }
      spawnSync('ip', ['netns', 'del', host.name]);
      spawnSync('ip', ['link', 'del', host.device]);
    }
    spawnSync('ip', ['link', 'del', bridge]);
  };
  const cutShort = (signal) => { sweep(); process.exit(signal === 'SIGINT' ? 130 : 143); };
  process.once('exit', sweep);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, cutShort);
  network.close = async () => {
    process.off('exit', sweep);
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, cutShort);
    for (const host of hosts) {
      await ip('netns', 'del', host.name).catch(() => {});
      await ip('link', 'del', host.device).catch(() => {});
    }
    await ip('link', 'del', bridge).catch(() => {});
  };
  network.host = async () => {
    const number = hosts.length + 1;
    const host = { name: `${prefix}n${number}`, device: `${prefix}v${number}`, address: `${subnet}.${10 + number}` };
    hosts.push(host);
    await ip('netns', 'add', host.name);
    await ip('link', 'add', host.device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', host.name);
    await ip('link', 'set', host.device, 'master', bridge, 'up');
    await ip('-n', host.name, 'link', 'set', 'lo', 'up');
    await ip('-n', host.name, 'addr', 'add', `${host.address}/24`, 'dev', 'eth0');
    await ip('-n', host.name, 'link', 'set', 'eth0', 'up');
    await ip('-n', host.name, 'route', 'add', 'default', 'via', network.address);
    await tc('qdisc', 'add', 'dev', host.device, 'clsact');
    return Object.assign(host, faults(host));
  };
  try {
    // An address of its own: else a bridge takes the lowest of its ports', and whoever knew it by that of before is not heard for seconds when a host joins.
    const mac = ['02', ...crypto.randomBytes(5).toString('hex').match(/../g)].join(':');
    await ip('link', 'add', bridge, 'address', mac, 'type', 'bridge');
    await ip('addr', 'add', `${network.address}/24`, 'dev', bridge);
    await ip('link', 'set', bridge, 'up');
    return network;
  } catch (error) {
    await network.close();
    throw error;
  }
}

function freeSubnet() {
  const taken = Object.values(os.networkInterfaces()).flat().map((a) => a.address);
  for (let n = 0; n < 200; n += 1) {
    const subnet = `10.77.${crypto.randomInt(1, 250)}`;
    if (!taken.some((a) => a.startsWith(`${subnet}.`))) return subnet;
  }
  throw new Error('no free subnet below 10.77');
}

// What can go wrong between a host and the rest. `mend` ends all of it.
function faults({ name, device }) {
  // Everything that goes to the host (in) or comes from it (out) of one protocol and port at the host's end; classic BPF, see tc-bpf(8).
  const drop = (direction, protocol, port) => {
    const [side, at] = direction === 'in' ? ['egress', 36] : ['ingress', 34];
    const program = `8,40 0 0 12,21 0 5 2048,48 0 0 23,21 0 3 ${protocol === 'udp' ? 17 : 6},40 0 0 ${at},21 0 1 ${port},6 0 0 2,6 0 0 4294967295`;
    return tc('filter', 'add', 'dev', device, side, 'bpf', 'da', 'bytecode', program);
  };
  return {
    // `direction`: in, out or both.
    drop: async (protocol, port, direction = 'both') => {
      for (const one of direction === 'both' ? ['in', 'out'] : [direction]) await drop(one, protocol, port);
    },
    unplug: () => ip('link', 'set', device, 'down'),
    mend: async () => {
      for (const side of ['ingress', 'egress']) await tc('filter', 'del', 'dev', device, side).catch(() => {});
      await ip('link', 'set', device, 'up');
    },
    exec: ['ip', 'netns', 'exec', name],
  };
}
