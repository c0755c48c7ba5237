import * as backlog from './backlog.mjs';
import * as clock from './clock.mjs';
import * as crowd from './crowd.mjs';
import * as cut from './cut.mjs';
import * as deaths from './deaths.mjs';
import * as freeze from './freeze.mjs';
import * as full from './full.mjs';
import * as grow from './grow.mjs';
import * as kill from './kill.mjs';
import * as killed from './killed.mjs';
import * as limits from './limits.mjs';
import * as line from './line.mjs';
import * as masses from './masses.mjs';
import * as power from './power.mjs';
import * as restarts from './restarts.mjs';
import * as spread from './spread.mjs';

export const SCENARIOS = [limits, spread, grow, kill, freeze, cut, deaths, restarts, crowd, masses, backlog, killed, power, full, line, clock];

// Runs one, and gives its figures and what went wrong: { rows, error }.
export async function perform(scenario, { short, log }) {
  const rows = [];
  const figure = (measure, value, unit, { target = '', met = null } = {}) => rows.push({ scenario: scenario.name, measure, value, unit, target, met });
  const error = await scenario.run({ short, figure, log }).then(() => null, (e) => e);
  return { rows, error };
}
