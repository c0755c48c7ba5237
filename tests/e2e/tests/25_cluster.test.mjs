// What becomes of a cluster when its parts fail: the scenarios of `faults.mjs` in their short form.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SCENARIOS, perform } from '../faults/all.mjs';
import { follow } from '../faults/scene.mjs';
import { canIsolate } from '../lib/netns.mjs';
import { sleep } from '../lib/wait.mjs';
import { checkOrder } from '../lib/webhook.mjs';

const skip = (await canIsolate()) ? false : 'nodes get network namespaces of their own, for which one must be root';

// These measure times of a few milliseconds, and have the machine for themselves; the others mostly wait.
const MEASURED = ['deaths', 'crowd', 'masses'];
const isMeasured = ({ name }) => MEASURED.includes(name);

for (const [title, concurrency, scenarios] of [
  ['three at a time', 3, SCENARIOS.filter((one) => !isMeasured(one))],
  ['one after the other', 1, SCENARIOS.filter(isMeasured)],
]) {
  describe(title, { concurrency }, () => {
    for (const scenario of scenarios) {
      test(`${scenario.name}: ${scenario.what}`, { skip }, async (t) => {
        const { rows, error } = await perform(scenario, { short: true, log: (line) => t.diagnostic(line) });
        for (const { measure, value, unit, target } of rows) t.diagnostic(`${measure}: ${value} ${unit} ${target && `(${target})`}`);
        if (error) throw error;
        assert.deepEqual(rows.filter((row) => row.met === false), []);
      });
    }
  });
}

test('the control: what the scenarios look for is found when it is there', async () => {
  const event = (name, session, timestamp, id) => ({ event: name, uniqueSessionId: session, timestamp, headers: { 'ringcast-event-id': `c-${id}` } });
  const good = [event('sessionCreated', 'a', 1, '1'), event('sessionCreated', 'b', 1, '2'), event('participantJoined', 'a', 2, '3')];
  assert.deepEqual(checkOrder(good), { twice: 0, disordered: [], missing: 0 });
  assert.equal(checkOrder([...good, good[0]]).twice, 1, 'the same once more');
  assert.equal(checkOrder([good[0], good[2]]).missing, 1, 'a hole');
  assert.equal(checkOrder([good[2], good[0], good[1]]).disordered.length, 1, 'in the wrong order');
  // A picture that stands still for a second.
  let frames = 0;
  const timer = setInterval(() => { frames += 1; }, 50);
  const watching = follow({ call: async () => ({ framesDecoded: frames }) }, 'x');
  await sleep(500);
  clearInterval(timer);
  await sleep(1_000);
  const { still } = await watching.stop();
  assert.ok(still >= 900 && still < 2_000, `${still} ms`);
});
