// What a network path does to datagrams, in one direction: it loses, delays, reorders, and lets through no more than its rate.
// Times are milliseconds, given from outside: nothing here looks at a clock.

export const CLEAR = {
  loss: 0, // share of datagrams that is lost
  burst: 1, // how many are lost in a row, on average (Gilbert's model)
  delayMs: 0,
  jitterMs: 0, // up to so much longer; the order stays
  reorder: 0, // share that is held back, and overtaken by what comes up to heldBackMs later
  heldBackMs: 0,
  rate: 0, // bits per second, with the headers of UDP and IP; 0 for any
  queueMs: 300, // what would wait longer for its turn is lost
  cut: false, // nothing passes
};

// Headers of IPv4 and UDP.
const HEADERS = 28;

export class Path {
  constructor(random, conditions = {}) {
    Object.assign(this, { random, conditions: { ...CLEAR, ...conditions }, queue: new Queue(), bad: false, latest: 0 });
    this.passed = 0;
    this.lost = { chance: 0, queue: 0, cut: 0 };
  }

  // From now on the path is like that; what is not named stays.
  set(conditions) {
    for (const name of Object.keys(conditions)) if (!(name in CLEAR)) throw new Error(`a path has no "${name}"`);
    this.conditions = { ...this.conditions, ...conditions };
  }

  // When a datagram of `bytes` that comes at `now` arrives; null if it is lost. `spared` is lost only by a cut or in a queue.
  arrival(now, bytes, { spared = false, shared = null } = {}) {
    const c = this.conditions;
    if (c.cut) return this.#lose('cut');
    if (!spared && this.#isLost()) return this.#lose('chance');
    let left = now;
    for (const [queue, rate, longest] of [...(shared ? [[shared.queue, shared.rate, shared.queueMs]] : []), [this.queue, c.rate, c.queueMs]]) {
      if (rate > 0) left = queue.pass(left, bytes, rate, longest);
      if (left === null) return this.#lose('queue');
    }
    this.passed += 1;
    const at = left + c.delayMs + this.random() * c.jitterMs;
    if (c.reorder > 0 && this.random() < c.reorder) return at + this.random() * c.heldBackMs;
    this.latest = Math.max(this.latest, at);
    return this.latest;
  }

  #isLost() {
    const { loss, burst } = this.conditions;
    if (loss <= 0) return false;
    // Runs of `burst`, and between them as many that pass as make `loss` of all.
    const chance = this.bad ? 1 - 1 / burst : loss / ((1 - Math.min(loss, 0.999)) * burst);
    this.bad = burst > 1 ? this.random() < chance : this.random() < loss;
    return this.bad;
  }

  #lose(reason) {
    this.lost[reason] += 1;
    return null;
  }
}

// First in, first out, and what finds it full is lost.
export class Queue {
  constructor() {
    this.busyUntil = 0;
    this.waits = []; // { at, wait }
  }

  pass(now, bytes, rate, longest) {
    const wait = Math.max(0, this.busyUntil - now);
    if (wait > longest) return null;
    this.busyUntil = now + wait + (bytes + HEADERS) * 8_000 / rate;
    this.waits.push({ at: now, wait });
    if (this.waits.length > 200_000) this.waits.splice(0, 100_000);
    return this.busyUntil;
  }

  // How long `share` of what came since then waited at most.
  waited(since, share = 0.95) {
    const waits = this.waits.filter(({ at }) => at >= since).map(({ wait }) => wait).sort((a, b) => a - b);
    return waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] ?? 0;
  }
}

// A generator of numbers between 0 and 1 that a seed repeats.
export function mulberry32(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
