// A whole board as a page: panels where the board's JSON says, on Grafana's 24 columns, filled by a Prometheus server.
import { KINDS, text } from './charts.mjs';
import { ask } from './read.mjs';

const [COLUMNS, UNIT, GAP, HEADER, TITLE] = [24, 38, 8, 62, 30];
export const CAPTION = "drawn from the board's JSON and a Prometheus server, not by Grafana";

// { html, empty }: the page, `width` pixels wide, and the titles of panels that have nothing to show.
// `scope` is what `ask` wants to know: the values of variables, and the time that is shown.
export async function drawBoard(prometheus, board, { width, scope }) {
  const empty = new Set();
  const column = (width - GAP) / COLUMNS;
  const parts = await Promise.all(board.panels.map(async (panel) => {
    const { x, y, w, h } = panel.gridPos;
    const at = { left: GAP + x * column, top: HEADER + y * UNIT, width: w * column - GAP, height: h * UNIT - GAP };
    const style = Object.entries(at).map(([name, value]) => `${name}:${value.toFixed(1)}px`).join(';');
    if (panel.type === 'row') return `<h2 style="${style}">${text(panel.title)}</h2>`;
    const draw = KINDS[panel.type];
    if (!draw) throw new Error(`${board.title}: ${panel.title}: nobody can draw a ${panel.type}`);
    const series = await ask(prometheus, panel, scope);
    if (series.length === 0) empty.add(panel);
    const place = { width: at.width - 16, height: at.height - TITLE - 6, start: scope.start, end: scope.end, step: scope.step };
    const inside = series.length > 0 ? draw(panel, series, place) : `<p class="none">${text(panel.fieldConfig.defaults.noValue ?? 'No data')}</p>`;
    return `<section style="${style}"><h3>${text(panel.title)}</h3>${inside}</section>`;
  }));
  const bottom = Math.max(...board.panels.map(({ gridPos: { y, h } }) => y + h));
  const variables = board.templating.list.filter(({ type }) => type === 'query').map(({ label }) => `<span><small>${text(label)}</small> All</span>`);
  const header = `<header><h1>${text(board.title)}</h1>${variables.join('')}<em>${text(CAPTION)}</em></header>`;
  const html = `<!doctype html><meta charset="utf-8"><title>${text(board.title)}</title><style>${STYLE}</style><body style="width:${width}px;height:${HEADER + bottom * UNIT}px">${header}${parts.join('')}`;
  return { html, empty: board.panels.filter((panel) => empty.has(panel)).map((panel) => panel.title) };
}

const STYLE = `
body { margin: 0; position: relative; background: #111217; color: #ccccdc; font: 13px/1.3 Inter, system-ui, "DejaVu Sans", sans-serif; overflow: hidden; }
header { position: absolute; inset: 0 0 auto; height: ${HEADER - GAP}px; display: flex; align-items: center; gap: 14px; padding: 0 16px; background: #181b1f; border-bottom: 1px solid #24262c; }
header h1 { font-size: 18px; font-weight: 500; margin: 0 12px 0 0; }
header span { border: 1px solid #34363e; border-radius: 3px; padding: 4px 10px; }
header em { margin-left: auto; color: #9fa0ab; font-style: normal; font-size: 12px; }
small { color: #9fa0ab; }
h2 { position: absolute; margin: 0; font-size: 15px; font-weight: 500; line-height: 30px; padding-left: 6px; box-sizing: border-box; }
h2::before { content: "⌄ "; color: #9fa0ab; }
section { position: absolute; box-sizing: border-box; background: #181b1f; border: 1px solid #24262c; border-radius: 3px; padding: 0 7px; overflow: hidden; }
h3 { margin: 0; font-size: 13px; font-weight: 500; line-height: ${TITLE}px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.none { display: grid; place-items: center; height: 70%; color: #9fa0ab; margin: 0; }
svg { display: block; position: absolute; }
svg text { fill: #b0b1bc; font-size: 11px; }
.grid { stroke: #ccccdc; stroke-opacity: .08; }
.legend { position: absolute; left: 7px; right: 7px; bottom: 4px; width: calc(100% - 14px); border-collapse: collapse; font-size: 12px; table-layout: fixed; }
.legend tr { height: 21px; }
.legend th { text-align: left; font-weight: 400; padding: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.legend td { text-align: right; width: 84px; padding: 0 0 0 6px; white-space: nowrap; font-variant-numeric: tabular-nums; }
.legend thead { color: #6e9fff; }
.legend i { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin: 0 8px 3px 2px; }
.legend .hidden { color: #9fa0ab; font-weight: 400; padding-left: 8px; }
.stat { height: calc(100% - ${TITLE + 6}px); display: flex; flex-direction: column; justify-content: center; align-items: center; }
.stat p { margin: 0; font-weight: 500; text-align: center; line-height: 1.15; white-space: nowrap; }
.stat small { display: block; font-size: 13px; color: #ccccdc; }
.rows { width: 100%; border-collapse: collapse; font-size: 13px; table-layout: fixed; }
.rows th, .rows td { text-align: left; font-weight: 400; padding: 0 8px; height: 34px; border-bottom: 1px solid #24262c; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-variant-numeric: tabular-nums; }
.rows th { color: #6e9fff; }
.bars { width: 100%; border-collapse: collapse; font-size: 13px; }
.bars th { text-align: left; font-weight: 400; white-space: nowrap; padding-right: 12px; width: 1%; }
.bars td { text-align: right; white-space: nowrap; padding-left: 12px; width: 1%; font-variant-numeric: tabular-nums; }
.bars .bar { width: 98%; padding: 4px 0; }
.bars .bar i { display: block; height: 18px; min-width: 1px; box-sizing: border-box; }
`;
